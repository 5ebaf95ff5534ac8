"""From audio to token ids: the feature extractor and the codec behind it."""

from .feature_extraction_audioformer import AudioFormerFeatureExtractor

__all__ = ["AudioFormerFeatureExtractor"]
