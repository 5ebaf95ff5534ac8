"""BEATs (arXiv 2212.09058): configuration, encoder, classifier, tokenizer, and conversion of released checkpoints."""

from .configuration_beats import BeatsConfig
from .modeling_beats import BeatsForAudioClassification, BeatsModel, BeatsModelOutput, BeatsPreTrainedModel
from .modeling_beats_tokenizer import BeatsTokenizer, BeatsTokenizerOutput

__all__ = [
    "BeatsConfig",
    "BeatsForAudioClassification",
    "BeatsModel",
    "BeatsModelOutput",
    "BeatsPreTrainedModel",
    "BeatsTokenizer",
    "BeatsTokenizerOutput",
]
