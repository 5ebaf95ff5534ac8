"""Audio as files, bytes and arrays: finding it, reading it, and dividing it into windows."""

from typing import TYPE_CHECKING

from audioformer.lazy import lazy_names

if TYPE_CHECKING:
    from .clips import AudioClips, list_audio_clips
    from .reading import OpenAudio, load_audio, open_audio
    from .windows import ReadingSettings, Window, plan_windows, read_window, window_starts

_MODULES = {
    "AudioClips": "clips",
    "OpenAudio": "reading",
    "ReadingSettings": "windows",
    "Window": "windows",
    "list_audio_clips": "clips",
    "load_audio": "reading",
    "open_audio": "reading",
    "plan_windows": "windows",
    "read_window": "windows",
    "window_starts": "windows",
}
"""Module of each public name, imported when the name is first used: only lists of clips need `datasets`."""

__all__ = [
    "AudioClips",
    "OpenAudio",
    "ReadingSettings",
    "Window",
    "list_audio_clips",
    "load_audio",
    "open_audio",
    "plan_windows",
    "read_window",
    "window_starts",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
