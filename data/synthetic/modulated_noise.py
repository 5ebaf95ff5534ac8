"""Modulated noise: machines, whose noise and pulses repeat: engines, helicopters, saws, clocks, fans and pumps."""

import numpy as np

from .impacts import strike
from .shaping import (
    arch,
    band,
    count_samples,
    draw_from,
    echo,
    fade,
    harmonic_tone,
    log_uniform,
    normalized,
    phase_of,
    place,
    play_table,
    random_curve,
    seconds,
    shaped_noise,
)
from .textures import random_spectrum


def pulsating(
    rng: np.random.Generator, duration_s: float, sampling_rate: int, rate_hz: float | None = None
) -> np.ndarray:
    """Noise whose level rises and falls `rate_hz` times a second (by default 0.7 to 60), as of a pump or a saw."""
    num_samples = count_samples(duration_s, sampling_rate)
    rate_hz = log_uniform(rng, 0.7, 60) if rate_hz is None else rate_hz
    carrier = shaped_noise(rng, num_samples, sampling_rate, random_spectrum(rng, sampling_rate))
    cycle = (seconds(num_samples, sampling_rate) * np.float32(rate_hz) + np.float32(rng.random())) % 1
    # The maximum comes early or late in the cycle; both ends are soft.
    bump = arch(cycle ** rng.uniform(0.4, 1.6)) ** rng.uniform(0.7, 4)
    return normalized(carrier * (1 - rng.uniform(0.5, 1) * (1 - bump)))


def engine(
    rng: np.random.Generator, duration_s: float, sampling_rate: int, rate_hz: float | None = None
) -> np.ndarray:
    """A combustion engine: `rate_hz` ignitions a second (by default 12 to 150) of unequal cylinders, in an exhaust."""
    num_samples = count_samples(duration_s, sampling_rate)
    speed = random_curve(rng, num_samples, sampling_rate, log_uniform(rng, 0.2, 2), 1, rng.uniform(1, 1.6))
    if rate_hz is None:
        rate = log_uniform(rng, 12, 150) * speed
    else:
        rate = np.full(num_samples, rate_hz, dtype=np.float32)
    cylinders = int(rng.choice([1, 2, 3, 4, 6]))
    points = 256
    cycle = np.arange(points * cylinders) % points / points
    table = np.exp(-cycle / rng.uniform(0.04, 0.2)) * np.repeat(rng.uniform(0.7, 1.3, cylinders), points)
    table -= table.mean()
    phase = phase_of(rate / cylinders, sampling_rate)
    pulses = play_table(table, phase)
    grit = shaped_noise(rng, num_samples, sampling_rate, band(100, log_uniform(rng, 600, 6000), 1))
    source = pulses + rng.uniform(0.1, 1) * grit * (pulses - pulses.min())
    length = count_samples(0.03, sampling_rate)
    exhaust = shaped_noise(rng, length, sampling_rate, band(60, log_uniform(rng, 400, 4000), 1))
    exhaust *= np.exp(-seconds(length, sampling_rate) / log_uniform(rng, 0.001, 0.008))
    return normalized(echo(source, exhaust))


def helicopter(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """A rotor: thumps of low noise, 6 to 30 a second, above the whine of a turbine, coming or going."""
    num_samples = count_samples(duration_s, sampling_rate)
    times = seconds(num_samples, sampling_rate)
    cycle = (times * np.float32(log_uniform(rng, 6, 30))) % 1
    thump = np.exp(-(((cycle - 0.3) / rng.uniform(0.06, 0.2)) ** 2))
    low = shaped_noise(rng, num_samples, sampling_rate, band(30, log_uniform(rng, 150, 900), 1.5))
    high = shaped_noise(rng, num_samples, sampling_rate, band(400, 5000, 1))
    whine_hz = np.full(num_samples, log_uniform(rng, 400, 4000), dtype=np.float32)
    waveform = low * (0.1 + thump) + rng.uniform(0.02, 0.3) * high * (0.3 + thump)
    waveform += rng.uniform(0, 0.1) * harmonic_tone(np.array([1, 0.4, 0.2]), whine_hz, sampling_rate)
    return normalized(waveform * random_curve(rng, num_samples, sampling_rate, 0.4, rng.uniform(0.1, 1), 1))


def saw(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """A motor tool: a buzz with many harmonics and rough noise, whose pitch gives way under load."""
    num_samples = count_samples(duration_s, sampling_rate)
    load = random_curve(rng, num_samples, sampling_rate, log_uniform(rng, 0.3, 3), 0, 1)
    frequency = log_uniform(rng, 60, 500) * (1 - rng.uniform(0, 0.4) * load)
    buzz = harmonic_tone(np.arange(1, 60) ** -rng.uniform(0.4, 1.3), frequency, sampling_rate)
    rough = shaped_noise(rng, num_samples, sampling_rate, random_spectrum(rng, sampling_rate))
    return normalized((buzz + rng.uniform(0.1, 1.2) * rough * np.abs(buzz)) * (0.3 + 0.7 * load))


def clock(rng: np.random.Generator, duration_s: float, sampling_rate: int, rate_hz: float | None = None) -> np.ndarray:
    """Clicks at even times, in turn of two sorts: a clock, a metronome, a ratchet, a printer.

    Args:
        rng (`np.random.Generator`): Draws the sounds.
        duration_s (`float`): Length in seconds.
        sampling_rate (`int`): In Hz.
        rate_hz (`float`, *optional*): Clicks per second, by default 1 to 25.
    """
    waveform = np.zeros(count_samples(duration_s, sampling_rate), dtype=np.float32)
    rate_hz = log_uniform(rng, 1, 25) if rate_hz is None else rate_hz
    clicks = [strike(rng, sampling_rate, str(rng.choice(["plastic", "wood", "glass", "metal"]))) for _ in range(2)]
    clicks = [fade(click[: count_samples(0.08, sampling_rate)], sampling_rate, 0, 0.02) for click in clicks]
    second = rng.uniform(0.3, 1)
    onsets_s = np.arange(rng.uniform(0, min(0.5 / rate_hz, 0.3 * duration_s)), duration_s, 1 / rate_hz)
    for index, onset_s in enumerate(onsets_s):
        gain = (second if index % 2 else 1) * rng.uniform(0.9, 1)
        place(waveform, clicks[index % 2], int(onset_s * sampling_rate), gain)
    return normalized(waveform)


def hum(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """A fan, a vacuum cleaner or a transformer: steady harmonics in a stream of air."""
    num_samples = count_samples(duration_s, sampling_rate)
    frequency = log_uniform(rng, 40, 400) * random_curve(rng, num_samples, sampling_rate, 0.5, 0.98, 1.02)
    amplitudes = rng.exponential(1, 24) * np.arange(1, 25) ** -rng.uniform(0.3, 1.5)
    tone = harmonic_tone(amplitudes, frequency, sampling_rate)
    air = shaped_noise(rng, num_samples, sampling_rate, random_spectrum(rng, sampling_rate))
    return normalized(tone + log_uniform(rng, 0.05, 3) * air)


MACHINES = (pulsating, engine, helicopter, saw, clock, hum)


def modulated_noise(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """One of `MACHINES`, float32 of shape `(num_samples,)` with a peak of 1."""
    return draw_from(rng, MACHINES)(rng, duration_s, sampling_rate)
