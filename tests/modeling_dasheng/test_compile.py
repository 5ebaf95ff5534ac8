"""`torch.compile(fullgraph=True)` and `torch.export` find no graph break and compute the same."""

import pytest
import torch

from audioformer.modeling_dasheng import DashengForAudioClassification, DashengForPreTraining, DashengModel

from .common import perturbed, random_features, tiny_config

NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout": 0.0}


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
    ("model_class", "with_mask", "dynamic", "changes"),
    [
        (DashengModel, False, False, {}),
        (DashengModel, True, False, {"window_hop": 6}),
        (DashengForAudioClassification, True, True, {}),
    ],
)
def test_full_graph_gives_the_same_output(model_class, with_mask, dynamic, changes):
    model = build(model_class, **changes)
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic, backend="eager")
    for length in (16, 23, 61):  # the last one is read in pieces
        features = random_features(model.config, 3, length)
        arguments = {"attention_mask": mask_of(model.config, length)} if with_mask else {}
        with torch.no_grad():
            torch.testing.assert_close(compiled(features, **arguments)[0], model(features, **arguments)[0])


def test_pretraining_step_compiles_to_the_same_gradients_and_statistics():
    gradients, statistics = [], []
    features = random_features(tiny_config(), 3, 20)
    noise = torch.rand(3, 5, generator=torch.Generator().manual_seed(0))
    for backend in (None, "aot_eager"):
        model = build(DashengForPreTraining, **NO_DROPOUT).train()
        run = model if backend is None else torch.compile(model, fullgraph=True, backend=backend)
        run(features, attention_mask=mask_of(model.config, 20), noise=noise).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
        statistics.append(dict(model.named_buffers()))
    for first, second in (gradients, statistics):
        for name, value in first.items():
            torch.testing.assert_close(second[name], value, atol=1e-5, rtol=1e-4)


def test_exports_with_a_free_batch_and_length():
    model = build(DashengForAudioClassification)
    features, mask = random_features(model.config, 3, 16), mask_of(model.config, 16)
    # Frames and patches are tied: one is a multiple of the other. Above the number of positions there are pieces.
    patches = torch.export.Dim("patches", min=2, max=12)
    batch = torch.export.Dim("batch", min=2)
    exported = torch.export.export(
        model,
        (),
        {"input_features": features, "attention_mask": mask},
        dynamic_shapes={"input_features": {0: batch, 1: 2 * patches}, "attention_mask": {0: batch, 1: patches}},
        strict=False,
    )
    other = random_features(model.config, 2, 24)
    with torch.no_grad():
        outputs = exported.module()(input_features=other, attention_mask=torch.ones(2, 12, dtype=torch.long))
        torch.testing.assert_close(outputs.logits, model(other).logits)
