"""The AudioFormer model: configuration, encoder, heads, and conversion of RoFormer checkpoints."""

from .configuration_audioformer import AudioFormerConfig
from .convert_roformer import convert_roformer_state_dict
from .modeling_audioformer import (
    AudioFormerClassifierOutput,
    AudioFormerForAudioClassification,
    AudioFormerForMaskedLM,
    AudioFormerModel,
    AudioFormerPreTrainedModel,
)

__all__ = [
    "AudioFormerClassifierOutput",
    "AudioFormerConfig",
    "AudioFormerForAudioClassification",
    "AudioFormerForMaskedLM",
    "AudioFormerModel",
    "AudioFormerPreTrainedModel",
    "convert_roformer_state_dict",
]
