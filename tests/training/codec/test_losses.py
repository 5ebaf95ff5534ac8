"""Losses of the small codec are finite for silence, zero for equal sounds, and agree with formulas."""

import math

import pytest
import torch

from audioformer.training.codec.losses import MultiScaleLogMel, mel_filter_bank, scale_invariant_sdr


@pytest.fixture
def noise() -> torch.Tensor:
    return 0.1 * torch.randn(2, 4800, generator=torch.Generator().manual_seed(0))


def test_filters_cover_the_spectrum_with_no_empty_one() -> None:
    for bins, n_fft in ((16, 256), (80, 2048), (80, 256)):
        filters = mel_filter_bank(bins, n_fft, 24000)
        assert filters.shape == (n_fft // 2 + 1, bins)
        assert (filters >= 0).all() and (filters <= 1).all()
        assert (filters.sum(dim=0) > 0).all()
        assert (filters[1:-1].sum(dim=1) > 0).all()


def test_a_tone_excites_the_filter_of_its_frequency() -> None:
    filters = mel_filter_bank(64, 2048, 24000)
    mel = 2595 * math.log10(1 + 1000 / 700)
    highest = 2595 * math.log10(1 + 12000 / 700)
    expected = mel / highest * 65 - 1  # filter i is centered at the (i + 1)-th of 65 equal steps
    strongest = int(filters[round(1000 * 2048 / 24000)].argmax())
    assert abs(strongest - expected) <= 1


def test_log_mel_is_zero_on_equal_and_positive_on_unequal_sounds(noise: torch.Tensor) -> None:
    log_mel = MultiScaleLogMel()
    assert log_mel(noise, noise) == 0
    assert log_mel(noise.flip(0), noise) > 0


def test_log_mel_of_a_gain_is_its_logarithm(noise: torch.Tensor) -> None:
    log_mel = MultiScaleLogMel(floor=1e-9)
    torch.testing.assert_close(log_mel(2 * noise, noise), torch.tensor(math.log(2)), rtol=1e-4, atol=1e-4)


def test_log_mel_and_its_gradient_are_finite_on_silence(noise: torch.Tensor) -> None:
    log_mel = MultiScaleLogMel()
    for waveform, reference in (
        (torch.zeros(2, 4800), noise),
        (noise, torch.zeros(2, 4800)),
        (torch.zeros(2, 100),) * 2,
    ):
        waveform = waveform.clone().requires_grad_()
        loss = log_mel(waveform, reference)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(waveform.grad).all()


def test_scales_must_match() -> None:
    with pytest.raises(ValueError, match="got 1 and 2"):
        MultiScaleLogMel(window_lengths=(256,), num_mel_bins=(16, 32))


def test_scale_invariant_sdr_by_formula(noise: torch.Tensor) -> None:
    reference, other = noise - noise.mean(dim=-1, keepdim=True)
    other = other - (other @ reference) / (reference @ reference) * reference
    other = other * reference.norm() / other.norm()  # orthogonal noise of equal energy
    for share, expected in ((1.0, 0.0), (0.1, 20.0)):
        ratio = scale_invariant_sdr(5 * (reference + share * other), reference)
        torch.testing.assert_close(ratio, torch.tensor(expected), rtol=0, atol=1e-2)
