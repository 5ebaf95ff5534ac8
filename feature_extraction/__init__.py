"""From audio to the inputs of models: feature extractors, and the codec behind one of them."""

from .feature_extraction_audioformer import AudioFormerFeatureExtractor
from .feature_extraction_beats import BeatsFeatureExtractor
from .feature_extraction_dasheng import DashengFeatureExtractor
from .feature_extraction_maskspec import MaskSpecFeatureExtractor
from .token_ids import codes_to_ids, ids_to_codes

__all__ = [
    "AudioFormerFeatureExtractor",
    "BeatsFeatureExtractor",
    "DashengFeatureExtractor",
    "MaskSpecFeatureExtractor",
    "codes_to_ids",
    "ids_to_codes",
]
