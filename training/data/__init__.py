"""Data sets: how they lie on a disk, their codes, what they really hold, and how they are divided."""

from audioformer.training.data.clip import Clip
from audioformer.training.data.code_store import encode_listing
from audioformer.training.data.encoded import EncodedData, load_codes
from audioformer.training.data.esc50 import read_esc50
from audioformer.training.data.listing import ListedClip, Listing
from audioformer.training.data.readers import read_listing
from audioformer.training.data.report import DataReport
from audioformer.training.data.sound_events import SOUND_EVENTS, synthesize_sound_events

__all__ = [
    "SOUND_EVENTS",
    "Clip",
    "DataReport",
    "EncodedData",
    "ListedClip",
    "Listing",
    "encode_listing",
    "load_codes",
    "read_esc50",
    "read_listing",
    "synthesize_sound_events",
]
