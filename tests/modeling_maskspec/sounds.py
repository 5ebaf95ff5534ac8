"""Sounds at 32 kHz and images that are the same on every machine, for fixtures and their tests."""

import numpy as np

from tests.modeling_beats.sounds import noise


def chirp(num_samples: int, hz_per_s: float = 3000.0) -> np.ndarray:
    """A sine that rises from 50 Hz, at 32 kHz."""
    time_s = np.arange(num_samples) / 32000
    return (0.3 * np.sin(2 * np.pi * (50 * time_s + hz_per_s / 2 * time_s**2))).astype(np.float32)


def ten_seconds() -> np.ndarray:
    """A chirp up to 15 kHz and noise, which comes again every second."""
    return chirp(320_000, 1500.0) + np.tile(noise(32_000, seed=7, amplitude=0.05), 10)


def image(num_frames: int, seed: int) -> np.ndarray:
    """Values of a normalized spectrogram, float32 of shape `(num_frames, 128)`."""
    return noise(num_frames * 128, seed, amplitude=2.0).reshape(num_frames, 128)


SOUNDS = {
    "noise": noise(6000),
    "quiet_noise": noise(6000, seed=2, amplitude=1e-3),
    "chirp": chirp(6000, 60_000.0) + noise(6000, seed=4, amplitude=1e-2),
    "silence": np.zeros(5200, np.float32),
    "odd_length": noise(5441, seed=3, amplitude=0.02),
}
"""Input of the front end."""
