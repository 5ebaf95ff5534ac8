"""Sounds from integer arithmetic and sines, the same on every machine, for fixtures and their tests."""

import numpy as np


def noise(num_samples: int, seed: int = 1, amplitude: float = 0.1) -> np.ndarray:
    """White noise of a linear congruential generator, float32 of shape `(num_samples,)`."""
    state, values = seed, np.empty(num_samples)
    for index in range(num_samples):
        state = (1103515245 * state + 12345) % 2**31
        values[index] = state / 2**30 - 1
    return (amplitude * values).astype(np.float32)


def tone(num_samples: int, frequency: float = 440.0) -> np.ndarray:
    """A sine at half of full scale, at 16 kHz."""
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(num_samples) / 16000)).astype(np.float32)


def chirp(num_samples: int) -> np.ndarray:
    """A sine that rises from 50 Hz by 3 kHz per second, at 16 kHz."""
    time_s = np.arange(num_samples) / 16000
    return (0.3 * np.sin(2 * np.pi * (50 * time_s + 1500 * time_s**2))).astype(np.float32)


SOUNDS = {
    "noise": noise(5000),
    "quiet_noise": noise(5000, seed=2, amplitude=1e-4),
    "tone": tone(5000),
    "chirp": chirp(5000),
    "silence": np.zeros(3000, np.float32),
    "shortest": noise(2800, seed=3),
    "odd_length": chirp(3999),
}
"""Input of the filterbank."""
