"""Impacts: bodies that ring after a blow, each a sum of modes that decay (van den Doel and Pai, 1998)."""

from dataclasses import dataclass

import numpy as np

from .shaping import (
    band,
    count_samples,
    draw_from,
    echo,
    fade,
    log_uniform,
    normalized,
    place,
    poisson_times,
    random_curve,
    seconds,
    shaped_noise,
    sine,
)


@dataclass(frozen=True)
class Material:
    """What a body is made of; pairs are the bounds of a random value.

    Args:
        lowest_hz: Frequency of the lowest mode.
        ratios: Frequencies of the modes as multiples of the lowest; without them they are drawn.
        decay_s: Time in which the lowest mode falls to 1/e.
        damping: How much faster higher modes decay: their decay is divided by their ratio to this power.
        brightness: Octaves above the lowest mode over which the strengths of the modes fall to 1/e.
        blow: Strength of the noise of the blow itself.
    """

    lowest_hz: tuple[float, float]
    ratios: tuple[float, ...] | None
    decay_s: tuple[float, float]
    damping: tuple[float, float]
    brightness: tuple[float, float]
    blow: tuple[float, float]


BAR = (1.0, 2.756, 5.404, 8.933, 13.34)
MEMBRANE = (1.0, 1.594, 2.136, 2.296, 2.653, 2.918, 3.156, 3.501)
BELL = (0.5, 1.0, 1.183, 1.506, 2.0, 2.514, 2.662, 3.011, 4.166, 5.433, 6.796, 8.215)

MATERIALS = {
    "wood": Material((120, 1200), BAR, (0.015, 0.08), (0.3, 1.2), (1, 3), (0.1, 0.8)),
    "door": Material((60, 250), None, (0.02, 0.12), (0.4, 1.2), (1, 3), (0.2, 1)),
    "glass": Material((900, 4500), None, (0.05, 0.5), (0.2, 1), (1.5, 4), (0.05, 0.4)),
    "bell": Material((150, 1800), BELL, (0.4, 3), (0.3, 1.2), (1, 4), (0.01, 0.1)),
    "metal": Material((200, 3000), None, (0.1, 1.5), (0, 0.8), (2, 5), (0.05, 0.4)),
    "drum": Material((50, 300), MEMBRANE, (0.06, 0.4), (0.3, 1.2), (0.7, 2), (0.1, 0.6)),
    "plastic": Material((300, 2000), None, (0.006, 0.03), (0, 0.8), (1, 3), (0.2, 1)),
}


def strike(rng: np.random.Generator, sampling_rate: int, material: str | None = None) -> np.ndarray:
    """The sound of one body that is struck once, down to its end.

    Args:
        rng (`np.random.Generator`): Draws size, shape, hardness and the place of the blow.
        sampling_rate (`int`): In Hz.
        material (`str`, *optional*): One of `MATERIALS`; by default a random one.

    Returns:
        `np.ndarray`: Float32 of shape `(num_samples,)` with a peak of 1, at most 4 s long.
    """
    made_of = MATERIALS[material or str(rng.choice(list(MATERIALS)))]
    lowest = log_uniform(rng, *made_of.lowest_hz)
    if made_of.ratios is None:
        ratios = np.concatenate([[1.0], np.sort(rng.uniform(1.1, 12, rng.integers(5, 14)))])
    else:
        ratios = np.array(made_of.ratios) * rng.normal(1, 0.01, len(made_of.ratios))
    ratios = ratios[(ratios * lowest < 0.46 * sampling_rate) | (ratios == ratios.min())]
    decays_s = log_uniform(rng, *made_of.decay_s) / np.maximum(ratios, 0.5) ** rng.uniform(*made_of.damping)
    amplitudes = np.exp(-np.log2(np.maximum(ratios, 1)) / rng.uniform(*made_of.brightness))
    # The place of the blow excites some modes and not others.
    amplitudes *= np.abs(np.sin(np.pi * ratios * rng.uniform(0.1, 0.5))) + 0.05
    # A drum is lowest once the blow is over.
    bend = rng.uniform(0, 0.3) if material == "drum" else 0.0
    num_samples = count_samples(min(4.0, 7 * float(decays_s.max()) + 0.03), sampling_rate)
    times = seconds(num_samples, sampling_rate)
    ring = np.zeros(num_samples, dtype=np.float32)
    for ratio, decay_s, amplitude in zip(ratios, decays_s, amplitudes, strict=True):
        # What is below a thousandth needs no samples.
        part = times[: count_samples(7 * float(decay_s), sampling_rate)]
        cycles: np.ndarray = np.float32(ratio * lowest) * part
        if bend:
            cycles = cycles + np.float32(ratio * lowest * bend * 0.03) * (1 - np.exp(part / -np.float32(0.03)))
        ring[: len(part)] += np.float32(amplitude) * sine(cycles) * np.exp(part / -np.float32(decay_s))
    ring = normalized(ring)
    contact = count_samples(log_uniform(rng, 0.004, 0.04), sampling_rate)
    blow = shaped_noise(rng, contact, sampling_rate, band(lowest, max(4000.0, 3 * lowest), 1))
    blow *= np.exp(-5 * np.arange(contact, dtype=np.float32) / contact)
    place(ring, blow, 0, 0.4 * rng.uniform(*made_of.blow))
    return fade(normalized(ring), sampling_rate, 0.0003, 0.25 * num_samples / sampling_rate)


def blows(rng: np.random.Generator, duration_s: float, sampling_rate: int, material: str | None = None) -> np.ndarray:
    """One to eight blows of different strength on one or two bodies of a material, at random times."""
    waveform = np.zeros(count_samples(duration_s, sampling_rate), dtype=np.float32)
    material = material or str(rng.choice(list(MATERIALS)))
    sounds = [strike(rng, sampling_rate, material) for _ in range(rng.integers(1, 3))]
    for onset_s in rng.uniform(0, 0.85, rng.integers(1, 9)) * duration_s:
        sound = sounds[int(rng.integers(len(sounds)))]
        place(waveform, sound, int(onset_s * sampling_rate), rng.uniform(0.15, 1))
    return normalized(waveform)


def footsteps(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """Footsteps: a heel on a hard or soft floor, the toe after it, and the scuff of grains such as gravel."""
    num_samples = count_samples(duration_s, sampling_rate)
    waveform = np.zeros(num_samples, dtype=np.float32)
    period_s, grains = rng.uniform(0.3, 0.8), rng.random() < 0.5
    heel = strike(rng, sampling_rate, str(rng.choice(["door", "wood", "plastic"])))
    toe = strike(rng, sampling_rate, "door")
    low = log_uniform(rng, 300, 2500)
    onset_s = rng.uniform(0, min(0.3, 0.3 * duration_s))
    while onset_s < duration_s:
        start, strength = int(onset_s * sampling_rate), rng.uniform(0.6, 1)
        place(waveform, heel, start, strength)
        place(waveform, toe, start + int(rng.uniform(0.06, 0.14) * sampling_rate), 0.5 * strength)
        if grains:
            length = count_samples(rng.uniform(0.1, 0.25), sampling_rate)
            scuff = shaped_noise(rng, length, sampling_rate, band(low, 0.45 * sampling_rate, 1))
            scuff *= random_curve(rng, length, sampling_rate, 60, 0, 1) ** 3
            place(waveform, fade(scuff, sampling_rate, 0.02, 0.05), start, 0.3 * strength)
        onset_s += period_s * rng.normal(1, 0.05)
    return normalized(waveform)


def shatter(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """Something that breaks or spills: a blow, then pieces that fall ever more rarely."""
    num_samples = count_samples(duration_s, sampling_rate)
    waveform = np.zeros(num_samples, dtype=np.float32)
    material = str(rng.choice(["glass", "metal", "plastic", "wood"]))
    pieces = [strike(rng, sampling_rate, material) for _ in range(3)]
    start_s, spread_s = rng.uniform(0, 0.4) * duration_s, log_uniform(rng, 0.1, 1.0)
    burst = shaped_noise(rng, count_samples(0.3, sampling_rate), sampling_rate, band(800, 0.45 * sampling_rate, 1))
    burst *= np.exp(seconds(len(burst), sampling_rate) / -np.float32(rng.uniform(0.01, 0.06)))
    place(waveform, fade(burst, sampling_rate, 0.0005), int(start_s * sampling_rate), rng.uniform(0.05, 0.5))
    for onset_s in start_s + rng.exponential(spread_s, rng.integers(8, 40)):
        place(waveform, pieces[int(rng.integers(3))], int(onset_s * sampling_rate), rng.uniform(0.05, 0.6))
    place(waveform, pieces[0], int(start_s * sampling_rate))
    return normalized(waveform)


def bouncing(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """Something that bounces: blows that follow each other faster and softer."""
    waveform = np.zeros(count_samples(duration_s, sampling_rate), dtype=np.float32)
    sound = strike(rng, sampling_rate)
    onset_s, gap_s, elasticity = rng.uniform(0, 0.3) * duration_s, rng.uniform(0.15, 0.6), rng.uniform(0.6, 0.93)
    strength = 1.0
    while onset_s < duration_s and gap_s > 0.008:
        place(waveform, sound, int(onset_s * sampling_rate), strength)
        onset_s, gap_s, strength = onset_s + gap_s, gap_s * elasticity, strength * elasticity
    return normalized(waveform)


def scraping(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """Scraping or rolling: a body that is excited by many small contacts, in strokes."""
    num_samples = count_samples(duration_s, sampling_rate)
    body = strike(rng, sampling_rate)[: count_samples(0.5, sampling_rate)]
    contacts = np.zeros(num_samples, dtype=np.float32)
    onsets = (poisson_times(rng, duration_s, log_uniform(rng, 60, 2000)) * sampling_rate).astype(int)
    np.add.at(contacts, np.minimum(onsets, num_samples - 1), rng.standard_normal(len(onsets)).astype(np.float32))
    contacts *= random_curve(rng, num_samples, sampling_rate, log_uniform(rng, 0.5, 5), 0, 1) ** 2
    return normalized(echo(contacts, fade(body, sampling_rate, 0, 0.1)))


IMPACTS = (blows, blows, footsteps, shatter, bouncing, scraping)


def impact(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """One of `IMPACTS`, float32 of shape `(num_samples,)` with a peak of 1."""
    return draw_from(rng, IMPACTS)(rng, duration_s, sampling_rate)
