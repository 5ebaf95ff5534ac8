"""Data sets: how to read them, their audio and codes, what they contain, and how they are divided."""

from .audio import AudioClips, ReadingSettings, list_audio_clips, load_audio
from .clip import Clip
from .clips import Clips
from .codes.cache import encode_listing
from .codes.encoded import EncodedClips, load_codes
from .listing import ListedClip, Listing
from .readers import read_listing
from .report import DataReport
from .synthetic import SOUND_EVENTS, synthesize_sound_events

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
    "encode_listing",
    "list_audio_clips",
    "load_audio",
    "load_codes",
    "read_listing",
    "synthesize_sound_events",
]
