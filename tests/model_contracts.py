"""What every model of this package promises, as tests that a family inherits.

transformers' own suite (`tests/transformers_suite.py`) asks for much of this too, in its own way and only where it has
been fetched. These tests need nothing but the model.
"""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

Inputs = dict[str, torch.Tensor]

BATCH_SIZE = 4
PADDED_ROW = 1
"""Row of `ModelContracts.make_padded_inputs` that carries padding."""


class ModelContracts:
    """Inherit in a class whose name starts with `Test`, name the classes, and say how to make inputs.

    Attributes:
        model_classes (`tuple[type[PreTrainedModel], ...]`): Every class of the family. Tests run once per class.
        loss_classes (`tuple[type[PreTrainedModel], ...]`): Those that compute a loss from labels.
        tied_classes (`tuple[type[PreTrainedModel], ...]`): Those whose output layer is the input embedding.
        token_classes (`tuple[type[PreTrainedModel], ...]`): Those with a vocabulary that can be resized.
        learning_rate (`float`): For the test that learns one batch by heart.
        num_steps (`int`): Steps of that test.
    """

    model_classes: tuple[type[PreTrainedModel], ...]
    loss_classes: tuple[type[PreTrainedModel], ...]
    tied_classes: tuple[type[PreTrainedModel], ...] = ()
    token_classes: tuple[type[PreTrainedModel], ...] = ()
    learning_rate = 5e-3
    num_steps = 60

    def make_config(self) -> PreTrainedConfig:
        """A tiny configuration, with dropout as in training."""
        raise NotImplementedError

    def make_inputs(self, config: PreTrainedConfig) -> Inputs:
        """Inputs of `BATCH_SIZE` clips without padding; the first dimension of every tensor is the clip."""
        raise NotImplementedError

    def make_padded_inputs(self, config: PreTrainedConfig) -> tuple[Inputs, Inputs]:
        """Inputs of which row `PADDED_ROW` ends in padding, and the same clip alone and without padding."""
        raise NotImplementedError

    def make_labels(self, model: PreTrainedModel, inputs: Inputs) -> torch.Tensor:
        """Labels for the loss of `model`, one of `loss_classes`."""
        raise NotImplementedError

    def sequence_length(self, model: PreTrainedModel, inputs: Inputs) -> int:
        """Positions of the encoder."""
        return inputs["input_ids"].shape[1]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        arguments = {
            "model_class": self.model_classes,
            "loss_class": self.loss_classes,
            "tied_class": self.tied_classes,
            "token_class": self.token_classes,
        }
        for argument, classes in arguments.items():
            if argument in metafunc.fixturenames:
                metafunc.parametrize(argument, classes, ids=lambda model_class: model_class.__name__)

    def build(self, model_class: type[PreTrainedModel], attention: str = "sdpa") -> Any:
        torch.manual_seed(0)
        return model_class._from_config(self.make_config(), attn_implementation=attention).eval()

    def test_saving_and_loading_restores_weights_and_outputs(
        self, model_class: type[PreTrainedModel], tmp_path: Path
    ) -> None:
        model = self.build(model_class)
        with torch.no_grad():  # away from the initial values, so that a weight initialized again is noticed
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.save_pretrained(tmp_path)
        loaded, info = model_class.from_pretrained(tmp_path, output_loading_info=True)
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        inputs = self.make_inputs(model.config)
        with torch.no_grad():
            assert_same(loaded.eval()(**inputs), model(**inputs), tolerance=0)

    def test_evaluation_is_deterministic(self, model_class: type[PreTrainedModel]) -> None:
        first, second = self.build(model_class), self.build(model_class)
        inputs = self.make_inputs(first.config)
        with torch.no_grad():
            expected = first(**inputs)
            assert_same(first(**inputs), expected, tolerance=0)
            assert_same(second(**inputs), expected, tolerance=0)

    def test_a_batch_equals_its_members(self, model_class: type[PreTrainedModel]) -> None:
        model = self.build(model_class)
        inputs = self.make_inputs(model.config)
        with torch.no_grad():
            together = model(**inputs)
            for row in range(BATCH_SIZE):
                alone = model(**{name: value[row : row + 1] for name, value in inputs.items()})
                for name, value in tensors(alone).items():
                    close(value[0], tensors(together)[name][row], name)

    @pytest.mark.parametrize("attention", ["eager", "sdpa"])
    def test_padding_has_no_influence(self, model_class: type[PreTrainedModel], attention: str) -> None:
        model = self.build(model_class, attention)
        padded, alone = self.make_padded_inputs(model.config)
        with torch.no_grad():
            batch, single = tensors(model(**padded)), tensors(model(**alone))
        for name, expected in single.items():
            actual = batch[name][PADDED_ROW]
            if actual.shape != expected[0].shape:  # a value per position: compare those that are not padding
                actual = actual[: len(expected[0])]
            close(actual, expected[0], name)

    def test_tuple_outputs_equal_dict_outputs(self, model_class: type[PreTrainedModel]) -> None:
        model = self.build(model_class, "eager")
        inputs = self.make_inputs(model.config)
        wanted: dict[str, Any] = {"output_hidden_states": True, "output_attentions": True}
        if model_class in self.loss_classes:
            wanted["labels"] = self.make_labels(model, inputs)
        with torch.no_grad():
            as_dict = model(**inputs, **wanted)
            as_tuple = model(**inputs, **wanted, return_dict=False)
        assert isinstance(as_tuple, tuple) and len(as_tuple) == len(as_dict)
        for name, actual in zip(as_dict, as_tuple, strict=True):
            torch.testing.assert_close(actual, as_dict[name], atol=0, rtol=0)

    def test_hidden_states_and_attentions_have_their_shapes(self, model_class: type[PreTrainedModel]) -> None:
        model = self.build(model_class, "eager")
        config, inputs = model.config, self.make_inputs(model.config)
        with torch.no_grad():
            outputs = model(**inputs, output_hidden_states=True, output_attentions=True)
        length = self.sequence_length(model, inputs)
        assert len(outputs.hidden_states) == config.num_hidden_layers + 1
        assert len(outputs.attentions) == config.num_hidden_layers
        for states in outputs.hidden_states:
            assert states.shape == (BATCH_SIZE, length, config.hidden_size)
        for probabilities in outputs.attentions:
            assert probabilities.shape == (BATCH_SIZE, config.num_attention_heads, length, length)
            torch.testing.assert_close(probabilities.sum(-1), torch.ones(probabilities.shape[:-1]))

    @pytest.mark.parametrize("use_reentrant", [False, True])
    def test_gradient_checkpointing_changes_no_gradient(
        self, model_class: type[PreTrainedModel], use_reentrant: bool
    ) -> None:
        plain, model = self.build(model_class).train(), self.build(model_class).train()
        model.activation_checkpointing_enable({"use_reentrant": use_reentrant})
        model.enable_input_require_grads()  # the reentrant mode needs an input that has a gradient
        expected, once = self._gradients(plain)
        actual, twice = self._gradients(model)
        assert twice == 2 * once > 0  # each layer runs again on the way back
        assert actual.keys() == expected.keys()
        for name, gradient in expected.items():
            close(actual[name], gradient, name)

    def _gradients(self, model: Any) -> tuple[Inputs, int]:
        """The gradient of each parameter, and how many modules inside the encoder layers ran for it."""
        runs = []
        for layer in model.modules():
            if isinstance(layer, GradientCheckpointingLayer):
                for child in layer.children():
                    child.register_forward_pre_hook(lambda *_: runs.append(True))
        inputs = self.make_inputs(model.config)
        torch.manual_seed(1)  # the same dropout
        if isinstance(model, self.loss_classes):
            loss = model(**inputs, labels=self.make_labels(model, inputs)).loss
        else:
            loss = model(**inputs).last_hidden_state[:, 0].square().mean()
        loss.backward()
        gradients = {name: value.grad for name, value in model.named_parameters() if value.grad is not None}
        return gradients, len(runs)

    def test_eager_equals_sdpa(self, model_class: type[PreTrainedModel]) -> None:
        eager, sdpa = self.build(model_class, "eager"), self.build(model_class, "sdpa")
        with torch.no_grad():
            full = self.make_inputs(eager.config)
            assert_same(eager(**full), sdpa(**full), tolerance=1e-5)
            _, alone = self.make_padded_inputs(eager.config)
            assert_same(eager(**alone), sdpa(**alone), tolerance=1e-5)
        assert {eager.config._attn_implementation, sdpa.config._attn_implementation} == {"eager", "sdpa"}

    def test_init_weights_fills_every_weight_and_buffer(self, model_class: type[PreTrainedModel]) -> None:
        """`from_pretrained` builds on the meta device: what `_init_weights` forgets would stay raw memory."""
        expected = self.build(model_class)
        with torch.device("meta"):
            model = model_class(self.make_config())
        model.to_empty(device="cpu")
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.data.fill_(float("nan") if tensor.is_floating_point() else -99)
        torch.manual_seed(0)
        model.init_weights()
        for (name, actual), (_, built) in zip(model.named_buffers(), expected.named_buffers(), strict=True):
            torch.testing.assert_close(actual, built, msg=name)
        for (name, actual), (_, built) in zip(model.named_parameters(), expected.named_parameters(), strict=True):
            assert torch.isfinite(actual).all(), name
            # Random values differ; constants and the spread do not.
            if built.unique().numel() == 1:
                assert torch.equal(actual, built), name
            else:
                assert actual.std().item() == pytest.approx(built.std().item(), rel=0.25), name
                assert abs(actual.mean() - built.mean()) < 0.25 * built.std(), name

    def test_tied_weights_stay_one_tensor(self, tied_class: type[PreTrainedModel], tmp_path: Path) -> None:
        model = self.build(tied_class)
        model.save_pretrained(tmp_path)
        resized = copy.deepcopy(model)
        resized.resize_token_embeddings(model.config.vocab_size + 3)
        for variant in (model, tied_class.from_pretrained(tmp_path), resized):
            assert variant.get_output_embeddings().weight is variant.get_input_embeddings().weight
        config = self.make_config()
        config.tie_word_embeddings = False
        untied = tied_class(config)
        assert untied.get_output_embeddings().weight is not untied.get_input_embeddings().weight

    def test_resizing_keeps_known_embeddings(self, token_class: type[PreTrainedModel]) -> None:
        model = self.build(token_class)
        inputs, size = self.make_inputs(model.config), model.config.vocab_size
        before = model.get_input_embeddings().weight.detach().clone()
        base = getattr(model, model.base_model_prefix, model)
        with torch.no_grad():
            expected = base(**inputs)
            model.resize_token_embeddings(size + 5)
            assert_same(base(**inputs), expected, tolerance=1e-6)
            model(**{**inputs, "input_ids": torch.full_like(inputs["input_ids"], size + 4)})
        assert model.config.vocab_size == size + 5
        assert torch.equal(model.get_input_embeddings().weight[:size], before)

    def test_one_batch_is_learned_by_heart(self, loss_class: type[PreTrainedModel]) -> None:
        model = self.build(loss_class)  # in evaluation mode: without dropout
        inputs = self.make_inputs(model.config)
        labels = self.make_labels(model, inputs)
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.learning_rate)
        losses = []
        for _ in range(self.num_steps):
            loss = model(**inputs, labels=labels).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[-1] < 0.1 * losses[0], losses[:: len(losses) // 5]


def tensors(outputs: Any) -> Inputs:
    """The fields of a model's output that are tensors and not the loss."""
    return {name: value for name, value in outputs.items() if isinstance(value, torch.Tensor) and value.ndim}


def close(actual: torch.Tensor, expected: torch.Tensor, name: str, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(
        actual, expected, atol=tolerance, rtol=tolerance, msg=lambda message: f"{name}: {message}"
    )


def assert_same(actual: Any, expected: Any, tolerance: float) -> None:
    """Compare all tensors of two outputs of a model."""
    first, second = tensors(actual), tensors(expected)
    assert first and first.keys() == second.keys()
    for name, value in first.items():
        close(value, second[name], name, tolerance)
