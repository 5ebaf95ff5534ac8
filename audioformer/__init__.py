"""AudioFormer for `transformers`: EnCodec codes as text, masked-LM pre-training, audio classification.

Importing this package registers its classes with the Auto classes of `transformers`, so that
`AutoModel.from_pretrained`, `AutoFeatureExtractor.from_pretrained` and `pipeline("audio-classification")` know them.
Training lives in `audioformer.training` and is imported only when asked for.
"""

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForMaskedLM,
)

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.modeling_audioformer import (
    AudioFormerConfig,
    AudioFormerForAudioClassification,
    AudioFormerForMaskedLM,
    AudioFormerModel,
    AudioFormerPreTrainedModel,
    convert_roformer_state_dict,
)

__version__ = "0.1.0"

__all__ = [
    "AudioFormerConfig",
    "AudioFormerFeatureExtractor",
    "AudioFormerForAudioClassification",
    "AudioFormerForMaskedLM",
    "AudioFormerModel",
    "AudioFormerPreTrainedModel",
    "convert_roformer_state_dict",
    "__version__",
]


def _register() -> None:
    """Make the Auto classes know ours, and make every save carry the code that loads it without this package."""
    AutoConfig.register(AudioFormerConfig.model_type, AudioFormerConfig)
    AutoFeatureExtractor.register(AudioFormerConfig, AudioFormerFeatureExtractor)
    AutoModel.register(AudioFormerConfig, AudioFormerModel)
    AutoModelForMaskedLM.register(AudioFormerConfig, AudioFormerForMaskedLM)
    AutoModelForAudioClassification.register(AudioFormerConfig, AudioFormerForAudioClassification)

    AudioFormerConfig.register_for_auto_class()
    AudioFormerFeatureExtractor.register_for_auto_class()
    AudioFormerModel.register_for_auto_class("AutoModel")
    AudioFormerForMaskedLM.register_for_auto_class("AutoModelForMaskedLM")
    AudioFormerForAudioClassification.register_for_auto_class("AutoModelForAudioClassification")


_register()
