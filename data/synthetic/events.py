"""A small labelled set of synthetic sound events, generated from a seed, for machines without access to data.

Four of the eight classes form pairs that differ only in temporal order (a rising and a falling sweep, knocks that
speed up and knocks that slow down), so counting codes is not enough to tell them apart.
"""

from collections.abc import Callable

import numpy as np

from ..clip import Clip

SAMPLING_RATE = 24000
"""Sampling rate of the synthetic clips in Hz."""


def _times(duration_s: float) -> np.ndarray:
    return np.arange(int(duration_s * SAMPLING_RATE)) / SAMPLING_RATE


def _tone(frequency_hz: np.ndarray) -> np.ndarray:
    """Generate a tone with three harmonics; `frequency_hz`, of shape `(num_samples,)`, is its fundamental."""
    phase = 2 * np.pi * np.cumsum(frequency_hz) / SAMPLING_RATE
    return np.sin(phase) + 0.4 * np.sin(2 * phase) + 0.2 * np.sin(3 * phase)


def _rising_sweep(rng: np.random.Generator, duration_s: float) -> np.ndarray:
    low, octaves = rng.uniform(200, 500), rng.uniform(2.0, 3.5)
    return _tone(low * 2 ** (octaves * _times(duration_s) / duration_s))


def _falling_sweep(rng: np.random.Generator, duration_s: float) -> np.ndarray:
    return _rising_sweep(rng, duration_s)[::-1].copy()


def _siren(rng: np.random.Generator, duration_s: float) -> np.ndarray:
    center, rate_hz = rng.uniform(500, 1100), rng.uniform(1.5, 4.0)
    return _tone(center * (1 + 0.4 * np.sin(2 * np.pi * rate_hz * _times(duration_s))))


def _knocks(rng: np.random.Generator, duration_s: float, onsets_s: np.ndarray) -> np.ndarray:
    """Generate short, decaying bursts of noise at `onsets_s`."""
    waveform = np.zeros(int(duration_s * SAMPLING_RATE))
    decay = np.exp(-_times(0.06) / rng.uniform(0.006, 0.015))
    for onset_s in onsets_s:
        start = int(onset_s * SAMPLING_RATE)
        length = min(len(decay), len(waveform) - start)
        waveform[start : start + length] += rng.standard_normal(length) * decay[:length]
    return waveform


def _knocks_speeding_up(rng: np.random.Generator, duration_s: float) -> np.ndarray:
    gaps_s = np.geomspace(rng.uniform(0.3, 0.45), rng.uniform(0.03, 0.06), 24)
    onsets_s = np.cumsum(gaps_s) * (duration_s - 0.05) / gaps_s.sum()
    return _knocks(rng, duration_s, onsets_s)


def _knocks_slowing_down(rng: np.random.Generator, duration_s: float) -> np.ndarray:
    gaps_s = np.geomspace(rng.uniform(0.03, 0.06), rng.uniform(0.3, 0.45), 24)
    onsets_s = (np.cumsum(gaps_s) - gaps_s[0]) * (duration_s - 0.05) / gaps_s.sum()
    return _knocks(rng, duration_s, onsets_s)


def _rain(rng: np.random.Generator, duration_s: float) -> np.ndarray:
    noise = rng.standard_normal(len(_times(duration_s)))
    drops = rng.random(len(noise)) < rng.uniform(30, 120) / SAMPLING_RATE
    return 0.5 * noise + np.convolve(drops * 12.0, np.exp(-_times(0.01) / 0.0015), mode="same")


def _bell(rng: np.random.Generator, duration_s: float) -> np.ndarray:
    base, times = rng.uniform(300, 900), _times(duration_s)
    partials = [(1.0, 1.0), (2.76, 0.6), (5.4, 0.4), (8.93, 0.2)]
    ring = sum(a * np.sin(2 * np.pi * base * r * times) * np.exp(-times * (1 + r) * 0.9) for r, a in partials)
    return np.asarray(ring)


def _beeps(rng: np.random.Generator, duration_s: float) -> np.ndarray:
    times, rate_hz = _times(duration_s), rng.uniform(2.5, 6.0)
    return _tone(np.full(len(times), rng.uniform(900, 2500))) * (np.sin(2 * np.pi * rate_hz * times) > 0)


SOUND_EVENTS: dict[str, Callable[[np.random.Generator, float], np.ndarray]] = {
    "rising_sweep": _rising_sweep,
    "falling_sweep": _falling_sweep,
    "siren": _siren,
    "knocks_speeding_up": _knocks_speeding_up,
    "knocks_slowing_down": _knocks_slowing_down,
    "rain": _rain,
    "bell": _bell,
    "beeps": _beeps,
}
"""Each class and the function that generates one example of it, given a length in seconds."""


def synthesize_sound_events(clips_per_class: int, seed: int = 0, duration_s: float = 2.0) -> list[Clip]:
    """Generate a balanced set of synthetic sound events.

    Pitch, tempo, level (over a range of 20 dB), length (by up to 20 %) and background noise vary from clip to clip.
    `fold` cycles from 0 to 4, so that each fold is a balanced fifth of the set.

    Args:
        clips_per_class (`int`): Clips per class, at least 1; there are eight classes.
        seed (`int`, defaults to 0): Determines all samples.
        duration_s (`float`, defaults to 2.0): Mean length of a clip in seconds, at least 0.5.

    Returns:
        `list[Clip]`: Clips at 24,000 Hz, ordered by class.

    Raises:
        ValueError: If `clips_per_class` or `duration_s` is too small.
    """
    if clips_per_class < 1:
        raise ValueError(f"clips_per_class must be at least 1, got {clips_per_class}")
    if duration_s < 0.5:
        raise ValueError(f"duration_s must be at least 0.5 s, got {duration_s}")
    clips = []
    for class_index, (label, make) in enumerate(SOUND_EVENTS.items()):
        for index in range(clips_per_class):
            rng = np.random.default_rng([seed, class_index, index])
            event = make(rng, duration_s * rng.uniform(0.8, 1.2))
            event *= 10 ** rng.uniform(-1.2, -0.2) / np.abs(event).max()
            event += 10 ** rng.uniform(-3.5, -2.3) * rng.standard_normal(len(event))
            waveform = np.clip(event, -1.0, 1.0).astype(np.float32)
            clips.append(Clip(f"{label}-{index:03d}", waveform, SAMPLING_RATE, label, fold=index % 5))
    return clips
