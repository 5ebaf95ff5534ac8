"""Audio as files, bytes and arrays: finding it, reading it, and dividing it into windows."""

from .reading import OpenAudio, load_audio, open_audio

__all__ = ["OpenAudio", "load_audio", "open_audio"]
