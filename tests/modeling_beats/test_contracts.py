"""The contracts of every model, for the classes of BEATs."""

import torch
from transformers import PreTrainedModel

from audioformer.modeling_beats import (
    BeatsConfig,
    BeatsForAudioClassification,
    BeatsForMaskedAudioModeling,
    BeatsModel,
)
from tests.model_contracts import BATCH_SIZE, PADDED_ROW, Inputs, ModelContracts

from .common import random_features, tiny_config


class TestBeats(ModelContracts):
    model_classes = (BeatsModel, BeatsForAudioClassification)
    loss_classes = (BeatsForAudioClassification,)

    def make_config(self) -> BeatsConfig:
        # One head, because the spread of a dozen initial values would be one of chance.
        return tiny_config(num_labels=3, num_attention_heads=1)

    def make_inputs(self, config: BeatsConfig) -> Inputs:
        return {"input_features": random_features(config, BATCH_SIZE, 20)}

    def make_padded_inputs(self, config: BeatsConfig) -> tuple[Inputs, Inputs]:
        features = random_features(config, BATCH_SIZE, 27)
        mask = torch.ones(BATCH_SIZE, config.num_patches(27), dtype=torch.int64)
        mask[PADDED_ROW, config.num_patches(11) :] = 0
        alone = features[PADDED_ROW : PADDED_ROW + 1, :11]
        return {"input_features": features, "attention_mask": mask}, {"input_features": alone}

    def make_labels(self, model: PreTrainedModel, inputs: Inputs) -> torch.Tensor:
        return torch.arange(BATCH_SIZE) % 3

    def sequence_length(self, model: PreTrainedModel, inputs: Inputs) -> int:
        return model.config.num_patches(inputs["input_features"].shape[1])


class TestMaskedAudioModeling(TestBeats):
    """The noise that decides what is hidden belongs to the inputs."""

    model_classes = (BeatsForMaskedAudioModeling,)
    loss_classes = (BeatsForMaskedAudioModeling,)

    def make_config(self) -> BeatsConfig:
        return tiny_config(num_attention_heads=1, mask_filler="learned", predictor_layers=1)

    def make_inputs(self, config: BeatsConfig) -> Inputs:
        return {**super().make_inputs(config), "noise": _noise(config.num_patches(20))}

    def make_padded_inputs(self, config: BeatsConfig) -> tuple[Inputs, Inputs]:
        padded, alone = super().make_padded_inputs(config)
        noise = _noise(config.num_patches(27))
        return {**padded, "noise": noise}, {
            **alone,
            "noise": noise[PADDED_ROW : PADDED_ROW + 1, : config.num_patches(11)],
        }

    def make_labels(self, model: PreTrainedModel, inputs: Inputs) -> torch.Tensor:
        rows, columns = torch.arange(BATCH_SIZE)[:, None], torch.arange(inputs["noise"].shape[1])
        return (rows + columns) % 3

    def sequence_length(self, model: PreTrainedModel, inputs: Inputs) -> int:
        return model.config.num_kept(super().sequence_length(model, inputs))


def _noise(num_patches: int) -> torch.Tensor:
    return torch.rand(BATCH_SIZE, num_patches, generator=torch.Generator().manual_seed(0))
