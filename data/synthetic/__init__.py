"""Sound that is generated from a seed: a small labelled set, and clips without end."""

from .events import SOUND_EVENTS, synthesize_sound_events

__all__ = ["SOUND_EVENTS", "synthesize_sound_events"]
