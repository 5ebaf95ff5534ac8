"""The contracts of every model, for the classes of Dasheng."""

from typing import Any

import torch
from transformers import PreTrainedModel

from audioformer.modeling_dasheng import (
    DashengConfig,
    DashengForAudioClassification,
    DashengForPreTraining,
    DashengModel,
)
from tests.model_contracts import BATCH_SIZE, PADDED_ROW, Inputs, ModelContracts

from .common import random_features, tiny_config


class TestDasheng(ModelContracts):
    model_classes: Any = (DashengModel, DashengForAudioClassification)
    loss_classes = (DashengForAudioClassification,)

    def make_config(self) -> DashengConfig:
        # Wide enough that the spread of a single vector is not one of chance.
        return tiny_config(num_labels=3, hidden_size=160)

    def make_inputs(self, config: DashengConfig) -> Inputs:
        return {"input_features": random_features(config, BATCH_SIZE, 20)}

    def make_padded_inputs(self, config: DashengConfig) -> tuple[Inputs, Inputs]:
        features = random_features(config, BATCH_SIZE, 23)
        mask = torch.ones(BATCH_SIZE, config.num_patches(23), dtype=torch.int64)
        mask[PADDED_ROW, config.num_patches(13) :] = 0
        alone = features[PADDED_ROW : PADDED_ROW + 1, :13]
        return {"input_features": features, "attention_mask": mask}, {"input_features": alone}

    def make_labels(self, model: PreTrainedModel, inputs: Inputs) -> torch.Tensor:
        return torch.arange(BATCH_SIZE) % 3

    def sequence_length(self, model: PreTrainedModel, inputs: Inputs) -> int:
        return model.config.num_patches(inputs["input_features"].shape[1])


class TestLongDasheng(TestDasheng):
    """Clips of several pieces."""

    def make_inputs(self, config: DashengConfig) -> Inputs:
        return {"input_features": random_features(config, BATCH_SIZE, 61)}

    def make_padded_inputs(self, config: DashengConfig) -> tuple[Inputs, Inputs]:
        features = random_features(config, BATCH_SIZE, 85)
        mask = torch.ones(BATCH_SIZE, config.num_patches(85), dtype=torch.int64)
        mask[PADDED_ROW, config.num_patches(55) :] = 0
        alone = features[PADDED_ROW : PADDED_ROW + 1, :55]
        return {"input_features": features, "attention_mask": mask}, {"input_features": alone}

    def test_hidden_states_and_attentions_have_their_shapes(self, model_class: type[PreTrainedModel]) -> None:
        model = self.build(model_class, "eager")
        config, inputs = model.config, self.make_inputs(model.config)
        with torch.no_grad():
            outputs = model(**inputs, output_hidden_states=True, output_attentions=True)
        assert {states.shape for states in outputs.hidden_states} == {(BATCH_SIZE, 30, config.hidden_size)}
        assert len(outputs.hidden_states) == config.num_hidden_layers + 1
        assert {one.shape for one in outputs.attentions} == {(BATCH_SIZE * 3, config.num_attention_heads, 12, 12)}


class TestLongDashengInWindows(TestLongDasheng):
    """Clips of several pieces that overlap."""

    def make_config(self) -> DashengConfig:
        return tiny_config(num_labels=3, hidden_size=160, window_hop=5)

    def test_hidden_states_and_attentions_have_their_shapes(self, model_class: type[PreTrainedModel]) -> None:
        model = self.build(model_class, "eager")
        with torch.no_grad():
            outputs = model(**self.make_inputs(model.config), output_hidden_states=True)
        assert {states.shape[1] for states in outputs.hidden_states} == {30}


class TestDashengForPreTraining(ModelContracts):
    model_classes = (DashengForPreTraining,)
    loss_classes = ()

    def make_config(self) -> DashengConfig:
        return tiny_config(hidden_size=160, decoder_hidden_size=64)

    def make_inputs(self, config: DashengConfig) -> Inputs:
        noise = torch.rand(BATCH_SIZE, 5, generator=torch.Generator().manual_seed(0))
        return {"input_features": random_features(config, BATCH_SIZE, 20), "noise": noise}

    def make_padded_inputs(self, config: DashengConfig) -> tuple[Inputs, Inputs]:
        features = random_features(config, BATCH_SIZE, 24)
        noise = torch.rand(BATCH_SIZE, 6, generator=torch.Generator().manual_seed(0))
        mask = torch.ones(BATCH_SIZE, 12, dtype=torch.int64)
        mask[PADDED_ROW, 8:] = 0
        row = slice(PADDED_ROW, PADDED_ROW + 1)
        alone = {"input_features": features[row, :16], "noise": noise[row, :4]}
        return {"input_features": features, "attention_mask": mask, "noise": noise}, alone

    def sequence_length(self, model: PreTrainedModel, inputs: Inputs) -> int:
        return 2  # a quarter of ten

    def _gradients(self, model: Any) -> tuple[Inputs, int]:
        runs: list[bool] = []
        for layer in (*model.dasheng.layers, *model.decoder.layers):
            for child in layer.children():
                child.register_forward_pre_hook(lambda *_: runs.append(True))
        torch.manual_seed(1)  # the same dropout
        model(**self.make_inputs(model.config)).loss.backward()
        gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
        return gradients, len(runs)
