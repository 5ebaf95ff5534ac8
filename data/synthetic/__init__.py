"""Sound that is generated from a seed: a small labelled set, and clips without end."""

from .clips import KINDS, SyntheticClips
from .events import SOUND_EVENTS, synthesize_sound_events

__all__ = ["KINDS", "SOUND_EVENTS", "SyntheticClips", "synthesize_sound_events"]
