"""`torch.compile(fullgraph=True)` and `torch.export` find no graph break and compute the same."""

import pytest
import torch

from audioformer.modeling_audioformer import (
    AudioFormerForAudioClassification,
    AudioFormerForMaskedLM,
    AudioFormerModel,
)

from .common import pad_row, random_ids, tiny_config


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def build(model_class, **changes):
    torch.manual_seed(0)
    return model_class(tiny_config(num_labels=3, **changes)).eval()


def padded_ids(config, length: int = 14) -> torch.Tensor:
    return pad_row(random_ids(config, 3, length), config, row=1, length=length - 5)


# Masks are the encoder's business: the heads see none.
@pytest.mark.parametrize(
    ("model_class", "with_mask", "dynamic"),
    [
        (AudioFormerModel, False, False),
        (AudioFormerModel, False, True),
        (AudioFormerModel, True, False),
        (AudioFormerModel, True, True),
        (AudioFormerForMaskedLM, True, True),
        (AudioFormerForAudioClassification, False, True),
    ],
)
def test_full_graph_gives_the_same_output(model_class, with_mask, dynamic):
    model = build(model_class)
    compiled = torch.compile(model, fullgraph=True, dynamic=dynamic, backend="eager")
    for length in (14, 19):  # the second length runs through the recompiled or the dynamic graph
        ids = padded_ids(model.config, length)
        arguments = {"attention_mask": ids.ne(model.config.pad_token_id)} if with_mask else {}
        with torch.no_grad():
            torch.testing.assert_close(compiled(ids, **arguments)[0], model(ids, **arguments)[0])


def test_no_graph_breaks_are_counted():
    model = build(AudioFormerForAudioClassification)
    ids = padded_ids(model.config)
    for arguments in ({}, {"attention_mask": ids.ne(1).long()}, {"labels": torch.tensor([0, 2, 1])}):
        torch._dynamo.reset()
        explanation = torch._dynamo.explain(model)(input_ids=ids, **arguments)
        assert explanation.graph_break_count == 0, explanation.break_reasons


@pytest.mark.parametrize("model_class", [AudioFormerForMaskedLM, AudioFormerForAudioClassification])
def test_training_step_compiles_to_the_same_gradients(model_class):
    model = build(model_class, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0).train()
    ids = padded_ids(model.config)
    labels = ids if model_class is AudioFormerForMaskedLM else torch.tensor([0, 2, 1])
    model(ids, labels=labels).loss.backward()
    expected = {name: parameter.grad.clone() for name, parameter in model.named_parameters()}
    model.zero_grad()
    torch.compile(model, fullgraph=True, backend="aot_eager")(ids, labels=labels).loss.backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], atol=1e-5, rtol=1e-4)


def test_exports_with_a_free_batch_and_length():
    model = build(AudioFormerForAudioClassification)
    ids = padded_ids(model.config)
    mask = ids.ne(model.config.pad_token_id)
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    exported = torch.export.export(
        model,
        (),
        {"input_ids": ids, "attention_mask": mask},
        dynamic_shapes={"input_ids": free, "attention_mask": free},
        strict=False,
    )
    other = random_ids(model.config, 2, 23)
    with torch.no_grad():
        outputs = exported.module()(input_ids=other, attention_mask=torch.ones_like(other, dtype=torch.bool))
        torch.testing.assert_close(outputs.logits, model(other).logits)
