"""Dasheng (arXiv 2406.06992): configuration, encoder, classifier, pre-training, and conversion of released weights."""

from .configuration_dasheng import DashengConfig
from .modeling_dasheng import DashengForAudioClassification, DashengModel, DashengModelOutput, DashengPreTrainedModel
from .modeling_dasheng_pretraining import DashengForPreTraining, DashengForPreTrainingOutput

__all__ = [
    "DashengConfig",
    "DashengForAudioClassification",
    "DashengForPreTraining",
    "DashengForPreTrainingOutput",
    "DashengModel",
    "DashengModelOutput",
    "DashengPreTrainedModel",
]
