"""From audio to token ids: the feature extractor, the codec behind it, and a reader of audio files."""

from .audio_io import load_audio
from .feature_extraction_audioformer import AudioFormerFeatureExtractor
from .token_ids import codes_to_ids, ids_to_codes

__all__ = ["AudioFormerFeatureExtractor", "codes_to_ids", "ids_to_codes", "load_audio"]
