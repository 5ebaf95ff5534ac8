"""Data sets: how to read them, their audio and codes, what they contain, and how they are divided."""

from typing import TYPE_CHECKING

from audioformer.lazy import lazy_names

if TYPE_CHECKING:
    from .audio import AudioClips, ReadingSettings, list_audio_clips, load_audio
    from .clip import Clip
    from .clips import Clips
    from .codes.cache import encode_listing
    from .codes.encoded import EncodedClips, load_codes
    from .listing import ListedClip, Listing
    from .readers import read_listing
    from .report import DataReport
    from .synthetic import SOUND_EVENTS, SyntheticClips, synthesize_sound_events

_MODULES = {
    "AudioClips": "audio",
    "Clip": "clip",
    "Clips": "clips",
    "DataReport": "report",
    "EncodedClips": "codes.encoded",
    "ListedClip": "listing",
    "Listing": "listing",
    "ReadingSettings": "audio",
    "SOUND_EVENTS": "synthetic",
    "SyntheticClips": "synthetic",
    "encode_listing": "codes.cache",
    "list_audio_clips": "audio",
    "load_audio": "audio",
    "load_codes": "codes.encoded",
    "read_listing": "readers",
    "synthesize_sound_events": "synthetic",
}
"""Module of each public name, imported when the name is first used: reading a file needs no `datasets`."""

__all__ = [
    "SOUND_EVENTS",
    "AudioClips",
    "Clip",
    "Clips",
    "DataReport",
    "EncodedClips",
    "ListedClip",
    "Listing",
    "ReadingSettings",
    "SyntheticClips",
    "encode_listing",
    "list_audio_clips",
    "load_audio",
    "load_codes",
    "read_listing",
    "synthesize_sound_events",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
