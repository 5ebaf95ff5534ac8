"""The two heads: losses against torch's own, label conventions, tied decoder."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F
from transformers import Trainer, TrainingArguments

from audioformer.modeling_audioformer import AudioFormerForAudioClassification, AudioFormerForMaskedLM
from audioformer.modeling_audioformer.classification_loss import (
    audio_classification_loss,
    classification_loss_name,
    lsep_loss,
    named_classification_loss,
)

from .common import random_ids, tiny_config


def classifier(**changes) -> AudioFormerForAudioClassification:
    torch.manual_seed(0)
    return AudioFormerForAudioClassification(tiny_config(**changes)).eval()


CLASSES = torch.tensor([2, 0, 1, 2])
MULTI_HOT = torch.tensor([[1, 0, 1], [0, 0, 0], [0, 1, 0], [1, 1, 1]])
VALUES = torch.tensor([0.5, -1.0, 2.0, 0.0])


@pytest.mark.parametrize(
    ("problem_type", "num_labels", "labels", "reference"),
    [
        ("single_label_classification", 3, CLASSES, lambda x, y: F.cross_entropy(x, y)),
        (None, 3, CLASSES, lambda x, y: F.cross_entropy(x, y)),
        (None, 3, CLASSES.int()[:, None], lambda x, y: F.cross_entropy(x, y[:, 0].long())),
        ("multi_label_classification", 3, MULTI_HOT, lambda x, y: F.binary_cross_entropy_with_logits(x, y.float())),
        ("multi_label_classification", 3, MULTI_HOT.float(), lambda x, y: F.binary_cross_entropy_with_logits(x, y)),
        (None, 3, MULTI_HOT.float(), lambda x, y: F.binary_cross_entropy_with_logits(x, y)),
        (None, 3, MULTI_HOT, lambda x, y: F.binary_cross_entropy_with_logits(x, y.float())),
        ("regression", 1, VALUES, lambda x, y: F.mse_loss(x[:, 0], y)),
        (None, 1, VALUES[:, None], lambda x, y: F.mse_loss(x, y)),
        ("regression", 3, MULTI_HOT.float(), lambda x, y: F.mse_loss(x, y)),
    ],
)
def test_loss_is_torchs_own(problem_type, num_labels, labels, reference):
    model = classifier(num_labels=num_labels, problem_type=problem_type)
    outputs = model(random_ids(model.config, 4, 9), labels=labels)
    torch.testing.assert_close(outputs.loss, reference(outputs.logits, labels))
    assert model.config.problem_type == problem_type  # derived for this batch, not stored for the next


def test_unknown_problem_type_is_refused_even_past_the_configuration():
    config = SimpleNamespace(problem_type="ranking", classification_loss=None, num_labels=3)
    with pytest.raises(ValueError, match="problem_type.*ranking"):
        audio_classification_loss(CLASSES, torch.zeros(4, 3), config)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"classification_loss": "lsep"}, "lsep"),
        ({"classification_loss": "bce"}, "bce"),
        ({"classification_loss": "cross_entropy"}, "cross_entropy"),
        ({"problem_type": "multi_label_classification"}, "bce"),
        ({"problem_type": "single_label_classification"}, "cross_entropy"),
        ({"problem_type": "regression"}, "regression"),
        ({"num_labels": 3}, "cross_entropy"),
        ({"num_labels": 1}, "regression"),
    ],
)
def test_the_loss_is_named_by_loss_then_problem_type_then_number_of_labels(settings, name):
    assert classification_loss_name(tiny_config(**settings)) == name


SHARES = torch.tensor([[0.7, 0.3, 0.0], [0.0, 1.0, 0.0], [0.2, 0.2, 0.6], [0.0, 0.5, 0.5]])


@pytest.mark.parametrize(
    ("name", "targets", "smoothing", "reference"),
    [
        ("cross_entropy", CLASSES, 0.2, lambda x, y: F.cross_entropy(x, y, label_smoothing=0.2)),
        ("cross_entropy", SHARES, 0.0, lambda x, y: -(y * x.log_softmax(-1)).sum(-1).mean()),
        ("cross_entropy", SHARES, 0.2, lambda x, y: -((0.8 * y + 0.2 / 3) * x.log_softmax(-1)).sum(-1).mean()),
        ("bce", MULTI_HOT, 0.2, lambda x, y: F.binary_cross_entropy_with_logits(x, y * 0.8 + 0.1)),
        ("bce", SHARES, 0.0, lambda x, y: F.binary_cross_entropy_with_logits(x, y)),
        ("lsep", MULTI_HOT, 0.0, lambda x, y: lsep_loss(x, y)),
        ("regression", SHARES, 0.0, lambda x, y: F.mse_loss(x, y)),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_named_losses_take_hard_soft_and_smoothed_targets(name, targets, smoothing, reference, dtype):
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    loss = named_classification_loss(logits, targets, name, label_smoothing=smoothing)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, reference(logits.float(), targets))


def test_bce_sums_over_the_classes_as_in_equation_6_if_asked_to():
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)).double()
    present = logits.sigmoid()
    clips = [
        -sum((p.log() if y else (1 - p).log()) for p, y in zip(row, labels, strict=True))
        for row, labels in zip(present, MULTI_HOT, strict=True)
    ]
    summed = named_classification_loss(logits, MULTI_HOT, "bce", bce_reduction="sum")
    assert summed.item() == pytest.approx(sum(clips).item() / 4, rel=1e-6)
    assert named_classification_loss(logits, MULTI_HOT, "bce").item() == pytest.approx(summed.item() / 3, rel=1e-6)
    for reduction in ("sum", "mean"):
        model = classifier(num_labels=3, classification_loss="bce", bce_reduction=reduction)
        outputs = model(random_ids(model.config, 4, 9), labels=MULTI_HOT)
        torch.testing.assert_close(
            outputs.loss, named_classification_loss(outputs.logits, MULTI_HOT, "bce", bce_reduction=reduction)
        )
    with pytest.raises(ValueError, match="`bce_reduction` must be 'mean' or 'sum', got 'none'"):
        named_classification_loss(logits, MULTI_HOT, "bce", bce_reduction="none")


@pytest.mark.parametrize("name", ["lsep", "regression"])
def test_losses_without_smoothing_refuse_it(name):
    with pytest.raises(ValueError, match=f"`label_smoothing` must be 0 for the loss '{name}', got 0.1"):
        named_classification_loss(torch.zeros(4, 3), MULTI_HOT, name, label_smoothing=0.1)


def test_unknown_loss_names_are_refused():
    with pytest.raises(ValueError, match="'lsep' or 'regression', got 'hinge'"):
        named_classification_loss(torch.zeros(4, 3), MULTI_HOT, "hinge")


def test_loss_function_can_be_replaced():
    model = classifier(num_labels=3)
    model.loss_function = lambda labels, logits, config, **kwargs: logits.sum() * 0 + 42
    assert model(random_ids(model.config, 4, 9), labels=CLASSES).loss == 42


def test_loss_is_computed_in_float32():
    model = classifier(num_labels=3).bfloat16()
    outputs = model(random_ids(model.config, 4, 9), labels=CLASSES)
    assert outputs.logits.dtype == torch.bfloat16
    assert outputs.loss.dtype == torch.float32


def test_classifier_reads_the_mean():
    model = classifier(num_labels=3)
    ids = random_ids(model.config, 4, 9)
    with torch.no_grad():
        expected = model.classifier(model.audioformer(ids).last_hidden_state.mean(1))
        torch.testing.assert_close(model(ids).logits, expected)


def test_classifier_dropout_defaults_to_that_of_the_encoder():
    assert classifier(hidden_dropout_prob=0.2).dropout.p == 0.2
    assert classifier(hidden_dropout_prob=0.2, classifier_dropout=0.0).dropout.p == 0.0


def test_trainer_divides_accumulated_losses(tmp_path):
    """The classifier's loss is a plain mean, whatever the signature of its forward suggests."""
    arguments = TrainingArguments(output_dir=tmp_path, report_to=[], use_cpu=True)
    assert Trainer(model=classifier(num_labels=3), args=arguments).model_accepts_loss_kwargs is False


def masked_lm(**changes) -> AudioFormerForMaskedLM:
    torch.manual_seed(0)
    return AudioFormerForMaskedLM(tiny_config(**changes)).eval()


def two_labels(ids: torch.Tensor) -> torch.Tensor:
    labels = torch.full_like(ids, -100)
    labels[0, 3], labels[2, 7] = ids[0, 3], ids[2, 7]
    return labels


def test_masked_lm_loss_counts_labelled_positions_only():
    model = masked_lm()
    ids = random_ids(model.config, 3, 12)
    outputs = model(ids, labels=two_labels(ids), return_full_logits=True)
    assert outputs.logits.shape == (3, 12, model.config.vocab_size)
    scores = outputs.logits.log_softmax(-1)
    expected = -(scores[0, 3, ids[0, 3]] + scores[2, 7, ids[2, 7]]) / 2
    torch.testing.assert_close(outputs.loss, expected)


def test_masked_lm_head_runs_where_labels_are():
    model = masked_lm()
    ids = random_ids(model.config, 3, 12)
    labels = two_labels(ids)
    seen = []
    model.lm_head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    sparse, full = model(ids, labels=labels), model(ids, labels=labels, return_full_logits=True)
    assert seen == [(2, model.config.hidden_size), (3, 12, model.config.hidden_size)]
    torch.testing.assert_close(sparse.logits, full.logits[labels != -100])
    assert model(ids).logits.shape == full.logits.shape
    dense = masked_lm(sparse_prediction=False)
    torch.testing.assert_close(dense(ids, labels=labels).logits, full.logits)
    with torch.no_grad():
        evaluated, asked = model(ids, labels=labels), model(ids, labels=labels, return_full_logits=False)
    torch.testing.assert_close(evaluated.logits, full.logits)
    torch.testing.assert_close(evaluated.loss, sparse.loss)
    torch.testing.assert_close(asked.logits, sparse.logits)


def test_masked_lm_gradients_are_those_of_all_positions():
    gradients = []
    for full in (False, True):
        model = masked_lm().double()
        ids = random_ids(model.config, 3, 12)
        model(ids, labels=two_labels(ids), return_full_logits=full).loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name], atol=1e-12, rtol=1e-9, msg=name)


def test_masked_lm_without_any_label_adds_nothing_to_a_larger_batch_and_is_refused_alone():
    model = masked_lm()
    ids = random_ids(model.config, 2, 6)
    labels = torch.full_like(ids, -100)
    with pytest.raises(ValueError, match=r"`labels` of shape \(2, 6\) are all -100"):
        model(ids, labels=labels)  # a mean of nothing
    loss = model(ids, labels=labels, num_items_in_batch=5).loss
    loss.backward()
    assert loss == 0 and all(not parameter.grad.any() for parameter in model.parameters())
