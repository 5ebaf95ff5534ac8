"""Audio as files, bytes and arrays: finding it, reading it, and dividing it into windows."""

from .clips import AudioClips, list_audio_clips
from .reading import OpenAudio, load_audio, open_audio
from .windows import ReadingSettings, Window, plan_windows, read_window, window_starts

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
