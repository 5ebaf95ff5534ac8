"""The cepstra that the encoder of the small codec learns."""

import numpy as np
import torch

from audioformer.training.codec.cepstra import WINDOWS, CepstralTargets

RATE, HOP = 24000, 320


def noise(batch_size: int = 8, num_frames: int = 40) -> torch.Tensor:
    return 0.1 * torch.randn(batch_size, num_frames * HOP, generator=torch.Generator().manual_seed(0))


def test_every_code_has_standardized_coefficients() -> None:
    cepstra = CepstralTargets(RATE, HOP)
    audio = noise()
    cepstra.standardize(audio)
    targets = cepstra(audio)
    assert targets.shape == (8, 40, cepstra.size) == (8, 40, 104)
    torch.testing.assert_close(targets.flatten(0, 1).mean(dim=0), torch.zeros(104), rtol=0, atol=1e-4)
    torch.testing.assert_close(targets.flatten(0, 1).std(dim=0), torch.ones(104), rtol=0, atol=1e-3)


def test_what_follows_a_code_does_not_change_it() -> None:
    cepstra = CepstralTargets(RATE, HOP)
    audio = noise(1)
    changed = audio.clone()
    changed[:, 10 * HOP :] = 0.9
    torch.testing.assert_close(cepstra(audio)[:, :10], cepstra(changed)[:, :10])
    assert not torch.allclose(cepstra(audio)[:, 10], cepstra(changed)[:, 10])


def test_coefficients_change_with_level_as_a_cepstrum_does() -> None:
    """A gain adds a constant to log spectra, which is in the coefficient of order zero alone."""
    cepstra = CepstralTargets(RATE, HOP, floor=0.0)
    audio = noise(1)
    difference = (cepstra(10 * audio) - cepstra(audio))[0, 5:]
    start = 0
    for _, num_filters, num_coefficients, count in WINDOWS:
        for _ in range(count):
            part = difference[:, start : start + num_coefficients]
            expected = torch.full((35,), float(np.log(10) * np.sqrt(num_filters)))
            torch.testing.assert_close(part[:, 0], expected, rtol=1e-3, atol=0)
            assert part[:, 1:].abs().max() < 1e-2
            start += num_coefficients
