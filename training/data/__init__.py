"""Readers of data sets: each gives the same `Clip` records, whatever the layout on disk."""

from audioformer.training.data.clip import Clip
from audioformer.training.data.esc50 import read_esc50
from audioformer.training.data.sound_events import SOUND_EVENTS, synthesize_sound_events

__all__ = ["SOUND_EVENTS", "Clip", "read_esc50", "synthesize_sound_events"]
