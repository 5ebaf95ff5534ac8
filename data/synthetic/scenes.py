"""Scenes: one to three sources in a room, in front of a background, recorded at any level."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import fft

from .chirps import chirp
from .impacts import impact
from .modulated_noise import modulated_noise
from .rhythms import rhythm
from .shaping import count_samples, fade, log_uniform, normalized, place, shaped_noise
from .textures import random_spectrum, texture
from .voices import voice

Generator = Callable[[np.random.Generator, float, int], np.ndarray]

SOURCES: dict[str, Generator] = {
    "textures": texture,
    "impacts": impact,
    "chirps": chirp,
    "modulated_noise": modulated_noise,
    "rhythms": rhythm,
    "voices": voice,
}
"""What a scene mixes: each kind of sound, and the function that generates one."""

LEVELS_DBFS = (-40.0, 0.0)
"""Bounds of the peak of a scene."""

MIN_DURATION_S = 0.25
"""Shortest sound that is generated."""


def place_in_room(rng: np.random.Generator, waveform: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Add what a room and a microphone do to a sound: a tail of decaying noise, and an uneven frequency response."""
    length = count_samples(log_uniform(rng, 0.05, 0.8), sampling_rate)
    tail = rng.standard_normal(length, dtype=np.float32)
    # Energy falls by 60 dB over the tail.
    tail *= np.exp(np.linspace(0, -6.9, length, dtype=np.float32))
    response = np.zeros(length + count_samples(rng.uniform(0.001, 0.03), sampling_rate), dtype=np.float32)
    response[-length:] = tail * np.float32(10 ** rng.uniform(-1.5, 0.2) / np.sqrt(np.sum(np.square(tail))))
    response[0] = 1
    size = fft.next_fast_len(len(waveform) + len(response) - 1, real=True)
    product = fft.rfft(waveform, size)
    product *= fft.rfft(response, size)
    if rng.random() < 0.5:
        # A roll-off at high frequencies; it also has no delay, as the gain is real.
        cutoff = size / sampling_rate * log_uniform(rng, 2500, 0.5 * sampling_rate)
        product /= 1 + (np.arange(len(product), dtype=np.float32) / np.float32(cutoff)) ** 4
    return fft.irfft(product, size)[: len(waveform)]


def scene(
    rng: np.random.Generator, duration_s: float, sampling_rate: int, sources: Sequence[Generator] | None = None
) -> np.ndarray:
    """Mix one to three sources at random times with a background, in a room or not, at a random level.

    Args:
        rng (`np.random.Generator`): Draws everything.
        duration_s (`float`): Length in seconds.
        sampling_rate (`int`): In Hz.
        sources (sequence of functions, *optional*): Kinds of sound to draw from, by default all of `SOURCES`.

    Returns:
        `np.ndarray`: Float32 of shape `(num_samples,)`, with a peak between `LEVELS_DBFS`.
    """
    sources = list(SOURCES.values()) if sources is None else sources
    num_samples = count_samples(duration_s, sampling_rate)
    waveform = np.zeros(num_samples, dtype=np.float32)
    # Silence at the ends, of a digital kind: nothing sounds there. What is very short has no room for it.
    share = 0.3 if duration_s > 0.5 else 0.0
    lead_s, rest_s = (rng.uniform(0, share) * duration_s if rng.random() < 0.25 else 0.0 for _ in range(2))
    for _ in range(int(rng.choice(3, p=[0.55, 0.3, 0.15])) + 1):
        open_s = duration_s - lead_s - rest_s
        length_s = max(MIN_DURATION_S, open_s * (1.0 if rng.random() < 0.5 else rng.uniform(0.3, 1)))
        sound = sources[int(rng.integers(len(sources)))](rng, length_s, sampling_rate)
        start_s = lead_s + rng.uniform(0, max(0.0, open_s - length_s))
        sound = fade(sound, sampling_rate, log_uniform(rng, 0.002, 0.2), log_uniform(rng, 0.02, 0.3))
        place(waveform, sound, int(start_s * sampling_rate), 10 ** rng.uniform(-1, 0))
    waveform = normalized(waveform)
    if rng.random() < 0.5:
        waveform = normalized(place_in_room(rng, waveform, sampling_rate))
    if rng.random() < 0.6:
        background = shaped_noise(rng, num_samples, sampling_rate, random_spectrum(rng, sampling_rate))
        first, last = int(lead_s * sampling_rate), num_samples - int(rest_s * sampling_rate)
        place(waveform, fade(background[first:last], sampling_rate, 0.02, 0.05), first, 10 ** rng.uniform(-3.5, -1))
    return normalized(waveform) * np.float32(10 ** (rng.uniform(*LEVELS_DBFS) / 20))
