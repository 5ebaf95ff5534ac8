"""The contracts of every model, for the three classes of AudioFormer."""

import torch
from transformers import PreTrainedModel

from audioformer.modeling_audioformer import (
    AudioFormerConfig,
    AudioFormerForAudioClassification,
    AudioFormerForMaskedLM,
    AudioFormerModel,
)
from tests.model_contracts import BATCH_SIZE, PADDED_ROW, Inputs, ModelContracts

from .common import pad_row, random_ids, tiny_config


class TestAudioFormer(ModelContracts):
    model_classes = (AudioFormerModel, AudioFormerForMaskedLM, AudioFormerForAudioClassification)
    loss_classes = (AudioFormerForMaskedLM, AudioFormerForAudioClassification)
    tied_classes = (AudioFormerForMaskedLM,)
    token_classes = model_classes

    def make_config(self) -> AudioFormerConfig:
        return tiny_config(num_labels=3)

    def make_inputs(self, config: AudioFormerConfig) -> Inputs:
        return {"input_ids": random_ids(config, BATCH_SIZE, 9)}

    def make_padded_inputs(self, config: AudioFormerConfig) -> tuple[Inputs, Inputs]:
        padded = pad_row(random_ids(config, BATCH_SIZE, 15), config, PADDED_ROW, 6)
        return {"input_ids": padded}, {"input_ids": padded[PADDED_ROW : PADDED_ROW + 1, :6]}

    def make_labels(self, model: PreTrainedModel, inputs: Inputs) -> torch.Tensor:
        if isinstance(model, AudioFormerForMaskedLM):
            return inputs["input_ids"]
        return torch.arange(BATCH_SIZE) % 3
