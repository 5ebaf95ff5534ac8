"""The contracts of every model, for the classes of MaskSpec."""

import torch
from transformers import PreTrainedModel

from audioformer.modeling_maskspec import MaskSpecConfig, MaskSpecForAudioClassification, MaskSpecModel
from tests.model_contracts import BATCH_SIZE, PADDED_ROW, Inputs, ModelContracts

from .common import random_features, tiny_config


class TestMaskSpec(ModelContracts):
    model_classes = (MaskSpecModel, MaskSpecForAudioClassification)
    loss_classes = (MaskSpecForAudioClassification,)

    def make_config(self) -> MaskSpecConfig:
        # The spread of fewer initial values of the cls token would be one of chance.
        return tiny_config(num_labels=3, hidden_size=256)

    def make_inputs(self, config: MaskSpecConfig) -> Inputs:
        return {"input_features": random_features(config, BATCH_SIZE, 20)}

    def make_padded_inputs(self, config: MaskSpecConfig) -> tuple[Inputs, Inputs]:
        features = random_features(config, BATCH_SIZE, 27)
        mask = torch.ones(BATCH_SIZE, config.num_patches(27), dtype=torch.int64)
        mask[PADDED_ROW, config.num_patches(11) :] = 0
        alone = features[PADDED_ROW : PADDED_ROW + 1, :11]
        return {"input_features": features, "attention_mask": mask}, {"input_features": alone}

    def make_labels(self, model: PreTrainedModel, inputs: Inputs) -> torch.Tensor:
        return torch.arange(BATCH_SIZE) % 3

    def sequence_length(self, model: PreTrainedModel, inputs: Inputs) -> int:
        return 1 + model.config.num_patches(inputs["input_features"].shape[1])  # the cls token
