"""The crops that a codec is trained on."""

import numpy as np
import pytest

from audioformer.training.codec.crops import MIN_RMS, CropSource

RATE = 24000
REAL = [np.full(RATE, 0.25, dtype=np.float32)]


def source(waveforms=REAL, length=2400, batch_size=8, **options) -> CropSource:
    return CropSource(waveforms, 3, length, RATE, batch_size, **({"level_db": (-20.0, -20.0)} | options))


def is_real(crops: np.ndarray) -> np.ndarray:
    return np.ptp(crops, axis=1) == 0


def test_the_share_of_synthetic_crops_is_that_of_the_setting():
    crops = source(batch_size=200, synthetic_share=0.3).draw(0)
    assert crops.shape == (200, 2400) and crops.dtype == np.float32
    assert 0.2 < 1 - is_real(crops).mean() < 0.4
    assert is_real(source().draw(0)).all()
    assert not is_real(source([], synthetic_share=1.0).draw(0)).any()


def test_crops_depend_on_the_step_alone_and_no_synthetic_one_comes_twice():
    own, again = source([], synthetic_share=1.0), source([], synthetic_share=1.0)
    drawn = np.concatenate([own.draw(step) for step in range(3)])
    np.testing.assert_array_equal(drawn[16:], again.draw(2))
    assert len(np.unique(drawn, axis=0)) == 24


def test_the_level_of_crops_is_between_the_bounds_and_peaks_stay_whole():
    time = np.arange(RATE) / RATE
    tone = (0.01 * np.sin(2 * np.pi * 500 * time)).astype(np.float32)
    crops = source([tone], batch_size=100, level_db=(-40.0, 0.0)).draw(0)
    levels = 20 * np.log10(np.sqrt(np.mean(crops**2, axis=1)))
    # A sine of full scale has a level of -3 dB: what would be louder stays there.
    assert -40.1 < levels.min() < -36 and levels.max() == pytest.approx(-3.01, abs=0.02)
    assert np.abs(crops).max() == pytest.approx(1.0, abs=1e-6)
    fixed = source([tone], level_db=(-20.0, -20.0)).draw(0)
    np.testing.assert_allclose(np.sqrt(np.mean(fixed**2, axis=1)), 0.1, rtol=1e-4)


def test_silence_stays_silent():
    noise = (MIN_RMS / 100 * np.random.default_rng(0).standard_normal(RATE)).astype(np.float32)
    for waveform in (np.zeros(RATE, dtype=np.float32), noise):
        crops = source([waveform], level_db=(-20.0, -20.0)).draw(0)
        assert np.isfinite(crops).all() and np.sqrt(np.mean(crops**2)) <= 0.0011
