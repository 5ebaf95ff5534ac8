"""MPC equals Eq. 8 written out term by term, on one and on two processes, and edge cases are finite or zero."""

import doctest
import math
from decimal import Decimal
from pathlib import Path

import pytest
import torch
from torch import distributed, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from audioformer.training.losses import MultiPositiveContrastiveLoss, multi_positive_contrastive

from ..processes import run_on_two_processes


def cosine(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return sum(first * second) / (sum(first * first).sqrt() * sum(second * second).sqrt())


def written_out(anchors: torch.Tensor, positives: torch.Tensor, temperature: float) -> torch.Tensor:
    """Eq. 8 term by term; codebook 1 of a clip is its anchor."""
    clips = [[anchor, *own.detach()] for anchor, own in zip(anchors, positives, strict=True)]
    total = 0.0
    for d, clip in enumerate(clips):
        away = sum(
            torch.exp(cosine(clip[0], c) / temperature) for a, other in enumerate(clips) if a != d for c in other
        )
        towards = sum(torch.exp(-cosine(clip[0], c) / temperature) for c in clip[1:])
        total = total + torch.log(1 + away * towards)
    return total / len(clips)


def batch(batch_size: int = 4, num_codebooks: int = 4, hidden_size: int = 5) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    anchors = 2 * torch.randn(batch_size, hidden_size, generator=generator, dtype=torch.float64)
    positives = torch.randn(batch_size, num_codebooks - 1, hidden_size, generator=generator, dtype=torch.float64)
    # Related to the anchor, as vectors of one clip are; otherwise every loss lies in softplus' linear part.
    return anchors.requires_grad_(), positives + anchors.detach().unsqueeze(1)


@pytest.mark.parametrize("temperature", [0.03, 0.05, 1.0])
@pytest.mark.parametrize("num_codebooks", [2, 4])
def test_equals_the_equation_in_value_and_gradient(temperature: float, num_codebooks: int) -> None:
    anchors, positives = batch(num_codebooks=num_codebooks)
    loss = MultiPositiveContrastiveLoss(temperature)(anchors, positives)
    expected = written_out(anchors, positives, temperature)
    assert loss.dtype == torch.float64 and loss.shape == ()
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-14)
    gradients = [torch.autograd.grad(value, anchors)[0] for value in (loss, expected)]
    assert gradients[1].abs().max() > 1e-4
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-14)


def test_gradient_equals_finite_differences() -> None:
    anchors, positives = batch()
    assert torch.autograd.gradcheck(lambda vectors: MultiPositiveContrastiveLoss(0.2)(vectors, positives), anchors)


def test_one_positive_is_cross_entropy_over_the_candidates() -> None:
    anchors, positives = batch(num_codebooks=2)
    candidates = torch.cat([positives[:, 0], anchors])
    scores = F.cosine_similarity(anchors.unsqueeze(1), candidates, dim=-1) / 0.05
    scores = scores.masked_fill(torch.eye(4, 8, dtype=torch.bool).roll(4, dims=1), -math.inf)
    expected = F.cross_entropy(scores, torch.arange(4))
    torch.testing.assert_close(MultiPositiveContrastiveLoss()(anchors, positives), expected, rtol=1e-12, atol=0)


def test_gradients_reach_the_anchors_as_negatives_and_never_the_positives() -> None:
    anchors, positives = batch(batch_size=2)
    positives.requires_grad_()
    loss = MultiPositiveContrastiveLoss(temperature=1.0)(anchors, positives)
    loss.backward()
    assert positives.grad is None
    cut = anchors.detach().clone().requires_grad_()
    joined = torch.stack([cut[0], cut[1].detach()])
    MultiPositiveContrastiveLoss(temperature=1.0)(joined, positives).backward()
    # Whether the second anchor is trained does not matter to the first one's gradient.
    torch.testing.assert_close(cut.grad[0], anchors.grad[0])
    assert (cut.grad[1] == 0).all() and anchors.grad[1].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.05, 0.0025])
def test_a_batch_of_one_is_exactly_zero(dtype: torch.dtype, temperature: float) -> None:
    anchors, positives = batch(batch_size=1)
    anchors = anchors.detach().to(dtype).requires_grad_()
    with torch.autograd.set_detect_anomaly(True):
        loss = MultiPositiveContrastiveLoss(temperature)(anchors, positives.to(dtype))
        loss.backward()
    assert loss == 0 and (anchors.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype, autocast: bool) -> None:
    anchors, positives = batch(batch_size=6, hidden_size=32)
    low, positives = anchors.detach().to(dtype).requires_grad_(), positives.to(dtype)
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        loss = MultiPositiveContrastiveLoss(0.2)(low, positives)
    assert loss.dtype == torch.float32 and loss > 0.1
    expected = MultiPositiveContrastiveLoss(0.2)(low.detach().double(), positives.double())
    torch.testing.assert_close(loss.double(), expected, rtol=1e-5, atol=0)
    loss.backward()
    assert low.grad.dtype == dtype and low.grad.isfinite().all() and low.grad.any()


@pytest.mark.parametrize("gap", [19.0, 20.5, 39.5, 40.5])
def test_exact_on_both_sides_of_the_linear_part(gap: float) -> None:
    anchors = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    loss = MultiPositiveContrastiveLoss(2 / gap)(anchors, -anchors.unsqueeze(1))
    # The own positive lies opposite, the other clip's positive on the anchor and its anchor opposite.
    half = Decimal(gap / 2)
    expected = (1 + (half.exp() + (-half).exp()) * half.exp()).ln()
    assert loss.item() == pytest.approx(float(expected), rel=1e-14, abs=0)


def test_scaled_similarities_of_400_stay_finite() -> None:
    anchors = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    positives = torch.tensor([[[-1.0, 0.0]], [[1.0, 0.0]]])
    loss = MultiPositiveContrastiveLoss(temperature=0.0025)(anchors, positives)
    # Both positives point away (-400) and the other clip's lies on the anchor (400): log(1 + e^800).
    assert loss.item() == pytest.approx(800.0)
    loss.backward()
    assert anchors.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_zero_vectors_are_at_similarity_zero_and_get_no_gradient(dtype: torch.dtype) -> None:
    anchors, positives = batch()
    anchors = anchors.detach().to(dtype)
    anchors[1], positives[2] = 0, 0
    anchors.requires_grad_()
    loss = MultiPositiveContrastiveLoss()(anchors, positives.to(dtype))
    loss.backward()
    assert anchors.grad.isfinite().all() and (anchors.grad[1] == 0).all() and anchors.grad[[0, 2, 3]].any(dim=1).all()
    everything = torch.zeros(3, 5, dtype=dtype, requires_grad=True)
    loss = MultiPositiveContrastiveLoss()(everything, torch.zeros(3, 2, 5, dtype=dtype))
    loss.backward()
    # 2 other clips with 3 codebooks each, times 2 positives, each term e^0.
    assert loss.item() == pytest.approx(math.log(1 + 6 * 2)) and (everything.grad == 0).all()


def test_a_diverged_model_shows() -> None:
    anchors, positives = batch()
    positives[2, 1, 0] = float("nan")
    assert MultiPositiveContrastiveLoss()(anchors, positives).isnan()


def test_lengths_of_vectors_do_not_matter() -> None:
    anchors, positives = batch()
    lengths = torch.tensor([1e-6, 1.0, 30.0, 1e6], dtype=torch.float64)
    scaled = MultiPositiveContrastiveLoss()(anchors * lengths[:, None], positives * lengths.flip(0)[:, None, None])
    torch.testing.assert_close(scaled, MultiPositiveContrastiveLoss()(anchors, positives), rtol=1e-12, atol=0)


def test_compiles_into_one_graph() -> None:
    anchors, positives = batch()
    compiled = torch.compile(MultiPositiveContrastiveLoss(), fullgraph=True, backend="aot_eager")
    loss, expected = compiled(anchors, positives), MultiPositiveContrastiveLoss()(anchors, positives)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, anchors), torch.autograd.grad(expected, anchors))


@pytest.mark.parametrize("temperature", [0, -0.05, math.nan, math.inf])
def test_refuses_temperatures(temperature: float) -> None:
    with pytest.raises(ValueError, match=f"above 0, got {temperature}"):
        MultiPositiveContrastiveLoss(temperature=temperature)


@pytest.mark.parametrize(
    ("anchors", "positives", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 1, 3), r"\(2, num_codebooks - 1, 3\).*got \(3, 1, 3\)"),
        (torch.zeros(2, 3), torch.zeros(2, 1, 4), r"\(2, num_codebooks - 1, 3\).*got \(2, 1, 4\)"),
        (torch.zeros(2, 3), torch.zeros(2, 3), r"got \(2, 3\)"),
        (torch.zeros(2, 3), torch.zeros(2, 0, 3), r"none of them 0.*got \(2, 0, 3\)"),
        (torch.zeros(2, 1, 3), torch.zeros(2, 1, 3), r"\(batch_size, hidden_size\).*got \(2, 1, 3\)"),
        (torch.zeros(0, 3), torch.zeros(0, 1, 3), r"got \(0, 3\)"),
        (torch.zeros(2, 3).long(), torch.zeros(2, 1, 3), r"floating point, got torch.int64 and torch.float32"),
    ],
)
def test_refuses_shapes_and_types(anchors: torch.Tensor, positives: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MultiPositiveContrastiveLoss()(anchors, positives)


def test_settings() -> None:
    assert repr(MultiPositiveContrastiveLoss()) == (
        "MultiPositiveContrastiveLoss(temperature=0.05, gather_across_devices=False)"
    )


def test_the_example_runs() -> None:
    result = doctest.testmod(multi_positive_contrastive)
    assert result.attempted > 5 and result.failed == 0


def test_gathering_without_processes_changes_nothing() -> None:
    anchors, positives = batch()
    gathered, alone = (MultiPositiveContrastiveLoss(gather_across_devices=flag)(anchors, positives) for flag in (1, 0))
    assert gathered == alone
    assert torch.equal(torch.autograd.grad(gathered, anchors)[0], torch.autograd.grad(alone, anchors)[0])


SPLITS = {"equal": (3, 3), "unequal": (1, 5), "largest first": (4, 2)}
"""Clips per process, of six."""


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 5)).double()


def clips() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    features = torch.randn(6, 7, generator=generator, dtype=torch.float64)
    return features, torch.randn(6, 3, 5, generator=generator, dtype=torch.float64)


def on_one_of_two_processes(folder: Path) -> None:
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    features, positives = clips()
    results: dict[str, object] = {}
    for name, sizes in SPLITS.items():
        own = slice(0, sizes[0]) if rank == 0 else slice(sizes[0], 6)
        for gather in (True, False):
            parallel = DistributedDataParallel(model())
            loss = MultiPositiveContrastiveLoss(0.2, gather_across_devices=gather)(
                parallel(features[own]), positives[own]
            )
            loss.backward()
            results[f"{name}, {gather}"] = (
                loss.item(),
                [parameter.grad.clone() for parameter in parallel.parameters()],
            )
    try:
        MultiPositiveContrastiveLoss(gather_across_devices=True)(torch.zeros(1, 4 + rank), torch.zeros(1, 2, 4 + rank))
    except ValueError as error:
        results["mismatch"] = str(error)
    torch.save(results, folder / f"{rank}.pt")


def test_two_processes_equal_one_with_the_joined_batch(tmp_path: Path) -> None:
    run_on_two_processes(on_one_of_two_processes, tmp_path)
    results = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    alone = model()
    features, positives = clips()
    loss = MultiPositiveContrastiveLoss(0.2)(alone(features), positives)
    loss.backward()
    expected = [parameter.grad for parameter in alone.parameters()]
    for name in SPLITS:
        for result in results:
            value, gradients = result[f"{name}, True"]
            assert value == pytest.approx(loss.item(), rel=1e-12)
            torch.testing.assert_close(gradients, expected, rtol=1e-9, atol=1e-12)
            # Without gathering there are fewer negatives, so this comparison can fail.
            value, gradients = result[f"{name}, False"]
            assert abs(value - loss.item()) > 1e-2
            assert (gradients[0] - expected[0]).abs().max() > 1e-3
    for result in results:
        assert "(1, 3, 4), (1, 3, 5)" in result["mismatch"]
