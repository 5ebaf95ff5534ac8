"""`torch.compile(fullgraph=True)` and `torch.export` find no graph break and compute the same."""

import pytest
import torch

from audioformer.modeling_beats import (
    BeatsForAudioClassification,
    BeatsForMaskedAudioModeling,
    BeatsModel,
)

from .common import perturbed, random_features, tiny_config


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def build(model_class, **changes):
    torch.manual_seed(0)
    return perturbed(model_class(tiny_config(num_labels=3, **changes)))


def mask_of(config, num_frames: int) -> torch.Tensor:
    mask = torch.ones(3, config.num_patches(num_frames), dtype=torch.long)
    mask[1, 4:] = 0
    return mask


@pytest.mark.parametrize(
    ("model_class", "with_mask", "dynamic"),
    [(BeatsModel, False, False), (BeatsModel, True, False), (BeatsForAudioClassification, True, True)],
)
def test_full_graph_gives_the_same_output(model_class, with_mask, dynamic):
    model = build(model_class)
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic, backend="eager")
    for length in (16, 28):  # the second length runs through the recompiled or the dynamic graph
        features = random_features(model.config, 3, length)
        arguments = {"attention_mask": mask_of(model.config, length)} if with_mask else {}
        with torch.no_grad():
            torch.testing.assert_close(compiled(features, **arguments)[0], model(features, **arguments)[0])


def test_full_graph_on_kept_patches():
    model = build(BeatsModel)
    features, kept = random_features(model.config, 2, 20), torch.tensor([[0, 3, 8], [1, 5, -1]])
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        expected = model(features, kept_patches=kept).last_hidden_state
        torch.testing.assert_close(compiled(features, kept_patches=kept).last_hidden_state, expected)


def test_full_graph_of_masked_audio_modelling():
    model = build(BeatsForMaskedAudioModeling)
    features, noise, mask = random_features(model.config, 3, 20), torch.rand(3, 10), mask_of(model.config, 20)
    labels = torch.randint(16, (3, 10))
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    with torch.no_grad():
        expected = model(features, mask, labels=labels, noise=noise)
        torch.testing.assert_close(compiled(features, mask, labels=labels, noise=noise).loss, expected.loss)


def test_training_step_compiles_to_the_same_gradients():
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}
    model = build(BeatsForAudioClassification, layer_gradient_scale=0.6, **dropout).train()
    features, labels = random_features(model.config, 3, 16), torch.tensor([0, 2, 1])
    model(features, labels=labels).loss.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    torch.compile(model, fullgraph=True, backend="aot_eager")(features, labels=labels).loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-4)


def test_exports_with_a_free_batch_and_length():
    model = build(BeatsForAudioClassification)
    features, mask = random_features(model.config, 3, 16), mask_of(model.config, 16)
    # Frames and patches are tied: one is a multiple of the other.
    steps = torch.export.Dim("steps", min=2)
    batch = torch.export.Dim("batch", min=2)
    exported = torch.export.export(
        model,
        (),
        {"input_features": features, "attention_mask": mask},
        dynamic_shapes={"input_features": {0: batch, 1: 4 * steps}, "attention_mask": {0: batch, 1: 2 * steps}},
        strict=False,
    )
    other = random_features(model.config, 2, 24)
    with torch.no_grad():
        outputs = exported.module()(input_features=other, attention_mask=torch.ones(2, 12, dtype=torch.long))
        torch.testing.assert_close(outputs.logits, model(other).logits)
