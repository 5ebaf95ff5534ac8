"""LSEP equals Eq. 7 written out pair by pair, and is finite or zero where Eq. 7 itself overflows."""

import doctest
from decimal import Decimal

import pytest
import torch
from torch.nn import functional as F

from audioformer.training.losses import LSEPLoss, lsep


def written_out(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Eq. 7 term by term."""
    total = torch.zeros((), dtype=logits.dtype)
    for scores, truth in zip(logits, labels.tolist(), strict=True):
        pairs = torch.zeros((), dtype=logits.dtype)
        for j, absent in enumerate(truth):
            for i, present in enumerate(truth):
                if absent == 0 and present == 1:
                    pairs = pairs + torch.exp(scores[j]) * torch.exp(-scores[i])
        total = total + torch.log(1 + pairs)
    return total / len(logits)


def batch(scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(6, 7, generator=generator, dtype=torch.float64)
    labels = (torch.rand(6, 7, generator=generator) < 0.3).long()
    labels[0], labels[1], labels[2] = 0, 1, torch.eye(7, dtype=torch.long)[4]
    return logits.requires_grad_(), labels


@pytest.mark.parametrize("scale", [0.1, 3.0, 12.0])
def test_equals_the_equation_in_value_and_gradient(scale: float) -> None:
    logits, labels = batch(scale)
    loss, expected = LSEPLoss()(logits, labels), written_out(logits, labels)
    assert loss.dtype == torch.float64 and loss.shape == ()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-14)
    gradients = [torch.autograd.grad(value, logits)[0] for value in (loss, expected)]
    assert gradients[1].abs().max() > 1e-3
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("gap", [19.0, 20.5, 36.0, 39.5, 40.5, 700.0])
def test_exact_on_both_sides_of_the_linear_part(gap: float) -> None:
    loss = LSEPLoss()(torch.tensor([[0.0, gap]], dtype=torch.float64), torch.tensor([[1, 0]]))
    assert loss.item() == pytest.approx(float((1 + Decimal(gap).exp()).ln()), rel=1e-15, abs=0)


def test_gradient_equals_finite_differences() -> None:
    logits, labels = batch()
    assert torch.autograd.gradcheck(lambda scores: LSEPLoss()(scores, labels), logits)


def test_one_positive_per_clip_is_cross_entropy() -> None:
    logits, _ = batch()
    classes = torch.tensor([0, 3, 6, 2, 2, 5])
    expected = F.cross_entropy(logits, classes)
    torch.testing.assert_close(LSEPLoss()(logits, F.one_hot(classes, 7)), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.bool, torch.int8, torch.int64, torch.float16, torch.bfloat16, torch.float64])
def test_labels_of_any_dtype(dtype: torch.dtype) -> None:
    logits, labels = batch()
    assert LSEPLoss()(logits, labels.to(dtype)) == LSEPLoss()(logits, labels)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits, labels = batch()
    low = logits.detach().to(dtype).requires_grad_()
    loss = LSEPLoss()(low, labels)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.double(), LSEPLoss()(low.detach().double(), labels), rtol=1e-6, atol=0)
    loss.backward()
    assert low.grad.dtype == dtype and low.grad.isfinite().all() and low.grad.any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_finite_and_right_for_logits_of_400(dtype: torch.dtype) -> None:
    logits = torch.tensor(
        [[400, -400, 0, 400], [-400, 400, 400, -400], [400] * 4, [-400] * 4], dtype=dtype, requires_grad=True
    )
    labels = torch.tensor([[0, 1, 1, 0], [0, 1, 1, 0], [1, 1, 0, 0], [1, 0, 0, 0]])
    # e^800 overflows a double, so the pairs are summed in decimals.
    expected = Decimal(0)
    for scores, truth in zip(logits.tolist(), labels.tolist(), strict=True):
        gaps = [
            b - a for b, x in zip(scores, truth, strict=True) if not x for a, y in zip(scores, truth, strict=True) if y
        ]
        expected += (1 + sum(Decimal(gap).exp() for gap in gaps)).ln() / 4
    loss = LSEPLoss()(logits, labels)
    assert loss.item() == pytest.approx(float(expected), rel=1e-6)
    loss.backward()
    assert logits.grad.isfinite().all()
    # A quarter (of four clips): shared by the first clip's two highest absent classes, and for its lowest present one.
    assert logits.grad[0].tolist() == pytest.approx([0.125, -0.25, 0.0, 0.125], abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1.0, 400.0])
def test_clips_without_positives_or_negatives_are_exactly_zero(dtype: torch.dtype, scale: float) -> None:
    generator = torch.Generator().manual_seed(1)
    logits = (scale * torch.randn(3, 5, generator=generator)).to(dtype).requires_grad_()
    labels = torch.tensor([[0] * 5, [1] * 5, [0] * 5])
    with torch.autograd.set_detect_anomaly(True):
        loss = LSEPLoss()(logits, labels)
        loss.backward()
    assert loss == 0 and (logits.grad == 0).all()


def test_such_clips_count_in_the_mean_and_leave_the_others_alone() -> None:
    logits, labels = batch()
    labels = labels[2:].clone()
    labels[:, 0], labels[:, 1] = 1, 0
    alone = LSEPLoss()(logits[2:], labels)
    together = LSEPLoss()(logits, torch.cat([torch.zeros(1, 7), torch.ones(1, 7), labels]))
    torch.testing.assert_close(together, alone * 4 / 6, rtol=1e-12, atol=0)
    gradient = torch.autograd.grad(together, logits)[0]
    assert (gradient[:2] == 0).all() and gradient[2:].any(dim=1).all()


def test_zero_logits_and_a_single_clip() -> None:
    logits = torch.zeros(1, 3, dtype=torch.float64)
    labels = torch.tensor([[1, 1, 0]])
    torch.testing.assert_close(LSEPLoss()(logits, labels), torch.tensor(3.0, dtype=torch.float64).log())


def test_a_diverged_model_shows() -> None:
    logits, labels = batch()
    logits = logits.detach().clone()
    logits[3, 2] = float("nan")
    assert LSEPLoss()(logits, labels).isnan()


def test_compiles_into_one_graph() -> None:
    logits, labels = batch()
    compiled = torch.compile(LSEPLoss(), fullgraph=True, backend="aot_eager")
    loss, expected = compiled(logits, labels), LSEPLoss()(logits, labels)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, logits), torch.autograd.grad(expected, logits))


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 4), r"\(2, 3\).*got \(2, 4\)"),
        (torch.zeros(2, 3), torch.zeros(2).long(), r"\(2, 3\).*got \(2,\)"),
        (torch.zeros(3), torch.zeros(3), r"\(batch_size, num_labels\).*got \(3,\)"),
        (torch.zeros(0, 3), torch.zeros(0, 3), r"got \(0, 3\)"),
        (torch.zeros(2, 3).long(), torch.zeros(2, 3), r"floating point, got torch.int64"),
        (torch.zeros(2, 3), torch.tensor([[0.0, 1.0, 0.5], [0.0, 0.0, 2.0]]), r"0 \(absent\).*got \[0.5, 2.0\]"),
        (torch.zeros(1, 2), torch.tensor([[1, -100]]), r"got \[-100\]"),
        (torch.zeros(1, 2), torch.tensor([[1.0, float("nan")]]), r"got \[nan\]"),
    ],
)
def test_refuses(logits: torch.Tensor, labels: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LSEPLoss()(logits, labels)


def test_the_example_runs() -> None:
    result = doctest.testmod(lsep)
    assert result.attempted > 5 and result.failed == 0
