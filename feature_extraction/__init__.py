"""From audio to token ids: the feature extractor and the codec behind it."""

from .feature_extraction_audioformer import AudioFormerFeatureExtractor
from .token_ids import codes_to_ids, ids_to_codes

__all__ = ["AudioFormerFeatureExtractor", "codes_to_ids", "ids_to_codes"]
