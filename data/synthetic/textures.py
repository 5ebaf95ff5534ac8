"""Textures: sounds whose statistics stay the same, such as noise, wind, rain, water and crackling fire."""

from collections.abc import Callable

import numpy as np

from .resonances import count_frames, filter_frames, frame_times, resonator_responses
from .shaping import (
    band,
    count_samples,
    draw_from,
    echo,
    log_uniform,
    normalized,
    place,
    poisson_times,
    random_curve,
    seconds,
    shaped_noise,
    sine,
)


def random_spectrum(rng: np.random.Generator, sampling_rate: int) -> Callable[[np.ndarray], np.ndarray]:
    """A random spectral shape for noise: a slope, edges, and up to four broad or narrow peaks."""
    slope = rng.uniform(-1.6, 0.3)
    nyquist = sampling_rate / 2
    low = log_uniform(rng, 20, 600)
    edges = band(low, log_uniform(rng, max(4 * low, 1500), nyquist), rng.uniform(1, 4))
    centers = [log_uniform(rng, 80, 0.8 * nyquist) for _ in range(rng.integers(0, 5))]
    widths, gains = rng.uniform(0.05, 0.8, len(centers)), 10 ** rng.uniform(0, 1.5, len(centers))

    def gain(frequencies: np.ndarray) -> np.ndarray:
        shape = (frequencies / 1000) ** slope
        for center, width, height in zip(centers, widths, gains, strict=True):
            shape = shape * (1 + height * np.exp(-0.5 * (np.log2(frequencies / center) / width) ** 2))
        return shape * edges(frequencies)

    return gain


def noise(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """Noise of a random spectral shape, at a level that wavers or not."""
    num_samples = count_samples(duration_s, sampling_rate)
    waveform = shaped_noise(rng, num_samples, sampling_rate, random_spectrum(rng, sampling_rate))
    if rng.random() < 0.5:
        waveform *= random_curve(rng, num_samples, sampling_rate, log_uniform(rng, 0.2, 8), rng.uniform(0.1, 0.9), 1)
    return normalized(waveform)


def wind(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """Wind: gusts of low noise whose one or two resonances, whistling or not, rise with its force."""
    num_samples, hop = count_samples(duration_s, sampling_rate), 512
    force = random_curve(rng, num_samples, sampling_rate, log_uniform(rng, 0.3, 2), rng.uniform(0.02, 0.4), 1)
    slope = rng.uniform(-0.9, -0.3)
    source = shaped_noise(rng, num_samples, sampling_rate, lambda frequencies: frequencies**slope) * force
    times = frame_times(num_samples, hop, sampling_rate)
    force_of_frames = np.interp(times, seconds(num_samples, sampling_rate)[::64], force[::64])
    count = rng.integers(1, 3)
    lowest = np.array([log_uniform(rng, 150, 700) * (1 + 1.5 * index) for index in range(count)])
    frequencies = np.minimum(lowest * 2 ** (rng.uniform(0.3, 1.6) * force_of_frames[:, None]), 0.4 * sampling_rate)
    bandwidths = np.tile(log_uniform(rng, 0.06, 1) * lowest, (count_frames(num_samples, hop), 1))
    return normalized(filter_frames(source, resonator_responses(frequencies, bandwidths, sampling_rate, 4 * hop), hop))


def rain(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """Rain: a bed of noise and drops, some hundreds a second, on three kinds of surface."""
    num_samples = count_samples(duration_s, sampling_rate)
    low = log_uniform(rng, 400, 3000)
    bed = shaped_noise(rng, num_samples, sampling_rate, band(low, 0.45 * sampling_rate, 1))
    waveform = bed * rng.uniform(0.02, 0.5)
    grain_times = seconds(count_samples(0.02, sampling_rate), sampling_rate)
    for _ in range(3):
        drops = np.zeros(num_samples, dtype=np.float32)
        count = max(1, rng.poisson(log_uniform(rng, 4, 300) * duration_s))
        np.add.at(drops, rng.integers(0, num_samples, count), rng.lognormal(0, 0.8, count).astype(np.float32))
        frequency = log_uniform(rng, 500, 0.4 * sampling_rate)
        grain = sine(frequency * grain_times + rng.random()) * np.exp(-grain_times / log_uniform(rng, 0.0006, 0.006))
        waveform += rng.uniform(0.2, 1.5) * echo(drops, grain)
    return normalized(waveform)


def water(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """Water: bubbles, each a decaying tone that rises (van den Doel, 2005), above a murmur of noise."""
    num_samples = count_samples(duration_s, sampling_rate)
    center = log_uniform(rng, 200, 1500)
    waveform = rng.uniform(0, 0.3) * shaped_noise(rng, num_samples, sampling_rate, band(center, 4 * center, 1))
    spread = rng.uniform(0.2, 0.8)
    for onset_s in poisson_times(rng, duration_s, log_uniform(rng, 4, 60)):
        frequency = float(np.clip(center * rng.lognormal(0, spread), 100, 0.35 * sampling_rate))
        # Large bubbles are low and ring longer.
        decay_s = float(np.clip(rng.uniform(4, 14) / frequency, 0.003, 0.06))
        times = seconds(count_samples(5 * decay_s, sampling_rate), sampling_rate)
        rise = rng.uniform(0, 0.25) / decay_s
        bubble = sine(frequency * times * (1 + 0.5 * rise * times)) * np.exp(-times / decay_s)
        place(waveform, bubble, int(onset_s * sampling_rate), rng.lognormal(0, 0.6))
    return normalized(waveform)


def crackle(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """Crackling, as of fire, paper or a record: clicks of very different strength, in bursts, above a rumble."""
    num_samples = count_samples(duration_s, sampling_rate)
    clicks = np.zeros(num_samples, dtype=np.float32)
    for onset_s in poisson_times(rng, duration_s, log_uniform(rng, 1, 25)):
        burst = rng.geometric(rng.uniform(0.1, 0.9))
        positions = (onset_s + np.cumsum(rng.exponential(0.01, burst))) * sampling_rate
        positions = positions[positions < num_samples].astype(int)
        np.add.at(clicks, positions, (rng.pareto(1.7, len(positions)) + 0.2).astype(np.float32))
    if not clicks.any():
        clicks[num_samples // 2] = 1
    clicks = np.minimum(clicks, 30)
    length = count_samples(0.03, sampling_rate)
    response = shaped_noise(rng, length, sampling_rate, random_spectrum(rng, sampling_rate))
    response *= np.exp(-seconds(length, sampling_rate) / log_uniform(rng, 0.0004, 0.005))
    slope = rng.uniform(-1.2, -0.5)
    rumble = shaped_noise(rng, num_samples, sampling_rate, lambda frequencies: frequencies**slope)
    waveform = normalized(echo(clicks, response))
    return normalized(waveform + rng.uniform(0, 0.05) * rumble)


TEXTURES = (noise, wind, rain, water, crackle)


def texture(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """One of `TEXTURES`, float32 of shape `(num_samples,)` with a peak of 1."""
    return draw_from(rng, TEXTURES)(rng, duration_s, sampling_rate)
