"""Data sets: how they lie on a disk, their codes, what they really hold, and how they are divided."""

from .audio import load_audio
from .clip import Clip
from .codes.cache import encode_listing
from .codes.encoded import EncodedData, load_codes
from .listing import ListedClip, Listing
from .readers import read_listing
from .report import DataReport
from .synthetic import SOUND_EVENTS, synthesize_sound_events

__all__ = [
    "SOUND_EVENTS",
    "Clip",
    "DataReport",
    "EncodedData",
    "ListedClip",
    "Listing",
    "encode_listing",
    "load_audio",
    "load_codes",
    "read_listing",
    "synthesize_sound_events",
]
