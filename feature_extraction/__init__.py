"""From audio to token ids: the feature extractor, the codec behind it, and a reader of audio files."""

from .audio_io import load_audio
from .feature_extraction_audioformer import AudioFormerFeatureExtractor

__all__ = ["AudioFormerFeatureExtractor", "load_audio"]
