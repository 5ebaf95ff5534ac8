"""BEATs (arXiv 2212.09058): configuration, encoder, classifier, pre-training, tokenizers, and conversion of released
checkpoints."""

from .configuration_beats import BeatsConfig
from .modeling_beats import BeatsForAudioClassification, BeatsModel, BeatsModelOutput, BeatsPreTrainedModel
from .modeling_beats_distillation import BeatsDistillationOutput, BeatsForTokenizerDistillation
from .modeling_beats_pretraining import BeatsForMaskedAudioModeling, BeatsMaskedAudioModelingOutput
from .modeling_beats_tokenizer import BeatsRandomProjectionTokenizer, BeatsTokenizer, BeatsTokenizerOutput

__all__ = [
    "BeatsConfig",
    "BeatsDistillationOutput",
    "BeatsForAudioClassification",
    "BeatsForMaskedAudioModeling",
    "BeatsForTokenizerDistillation",
    "BeatsMaskedAudioModelingOutput",
    "BeatsModel",
    "BeatsModelOutput",
    "BeatsPreTrainedModel",
    "BeatsRandomProjectionTokenizer",
    "BeatsTokenizer",
    "BeatsTokenizerOutput",
]
