"""Changed copies of waveforms."""

import numpy as np

from audioformer.experiments.augmentation import augment


def test_copies_differ_stay_in_range_and_follow_the_generator():
    waveform = (0.5 * np.sin(np.arange(24000) * 0.1)).astype(np.float32)
    first, again, other = (augment(waveform, np.random.default_rng(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.float32 and np.abs(first).max() <= 1.0
    assert len(first) != len(other)
    for copy in (first, other):
        assert 24000 * 2 ** (-1 / 3) - 2 < len(copy) < 24000 * 2 ** (1 / 3) + 2


def test_pitch_moves_with_speed():
    waveform = (0.5 * np.sin(np.arange(24000) * 0.1)).astype(np.float32)
    for seed in range(5):
        copy = augment(waveform, np.random.default_rng(seed))
        frequency = np.abs(np.fft.rfft(copy)).argmax() * 2 * np.pi / len(copy)
        np.testing.assert_allclose(frequency, 0.1 * 24000 / len(copy), rtol=0.02)


def test_silence_and_the_shortest_clip_are_fine():
    for samples in (1, 2, 100):
        copy = augment(np.zeros(samples, dtype=np.float32), np.random.default_rng(0))
        assert len(copy) >= 1 and np.isfinite(copy).all()
