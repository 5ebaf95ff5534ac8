"""MaskSpec (arXiv 2204.12768): configuration, encoder, classifier, pre-training, conversion of released weights."""

from .configuration_maskspec import MaskSpecConfig
from .modeling_maskspec import (
    MaskSpecForAudioClassification,
    MaskSpecModel,
    MaskSpecModelOutput,
    MaskSpecPreTrainedModel,
)
from .modeling_maskspec_pretraining import MaskSpecForPreTraining, MaskSpecForPreTrainingOutput

__all__ = [
    "MaskSpecConfig",
    "MaskSpecForAudioClassification",
    "MaskSpecForPreTraining",
    "MaskSpecForPreTrainingOutput",
    "MaskSpecModel",
    "MaskSpecModelOutput",
    "MaskSpecPreTrainedModel",
]
