"""Rhythms: short sounds in a pattern that repeats, and melodies."""

import numpy as np

from .chirps import syllable
from .impacts import strike
from .shaping import (
    band,
    count_samples,
    draw_from,
    fade,
    harmonic_tone,
    log_uniform,
    normalized,
    place,
    seconds,
    shaped_noise,
)
from .voices import bark, speech

SCALES = ((0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10), (0, 2, 4, 7, 9), tuple(range(12)))
"""Degrees of scales in semitones: major, minor, five tones, and all."""


def hiss(rng: np.random.Generator, sampling_rate: int) -> np.ndarray:
    """A short burst of noise, such as a cymbal, a shaker or a puff."""
    length = count_samples(log_uniform(rng, 0.02, 0.5), sampling_rate)
    low = log_uniform(rng, 200, 0.25 * sampling_rate)
    sound = shaped_noise(rng, length, sampling_rate, band(low, min(4 * low, 0.45 * sampling_rate), 1.5))
    sound *= np.exp(-rng.uniform(2, 8) * np.arange(length, dtype=np.float32) / length)
    return normalized(fade(sound, sampling_rate, log_uniform(rng, 0.0005, 0.02), 0.01))


def note(
    rng: np.random.Generator,
    pitch_hz: float,
    length_s: float,
    amplitudes: np.ndarray,
    plucked: bool,
    sampling_rate: int,
) -> np.ndarray:
    """One note with harmonics, plucked or held."""
    num_samples = count_samples(length_s, sampling_rate)
    times = seconds(num_samples, sampling_rate)
    pitch = pitch_hz * (1 + (0.0 if plucked else rng.uniform(0, 0.008)) * np.sin(np.float32(2 * np.pi * 5.5) * times))
    tone = harmonic_tone(amplitudes, pitch, sampling_rate)
    if plucked:
        tone *= np.exp(-times / np.float32(0.35 * length_s))
    return fade(tone, sampling_rate, 0.004 if plucked else min(0.05, 0.2 * length_s), min(0.05, 0.3 * length_s))


def short_sound(rng: np.random.Generator, sampling_rate: int) -> np.ndarray:
    """Any sound of less than a second."""
    kind = rng.integers(6)
    if kind < 2:
        return fade(strike(rng, sampling_rate)[: count_samples(0.8, sampling_rate)], sampling_rate, 0, 0.1)
    if kind == 2:
        return hiss(rng, sampling_rate)
    if kind == 3:
        low = log_uniform(rng, 200, 3000)
        return normalized(syllable(rng, log_uniform(rng, 0.03, 0.4), sampling_rate, low, 3 * low))
    if kind == 4:
        sound = draw_from(rng, (bark, speech))(rng, 0.45, sampling_rate)
        return fade(sound, sampling_rate, 0.005, 0.05)
    amplitudes = rng.uniform(0.1, 0.7) ** np.arange(10)
    return normalized(note(rng, log_uniform(rng, 80, 1500), rng.uniform(0.1, 0.6), amplitudes, True, sampling_rate))


def pattern(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """One to four sounds, each in a pattern of its own that repeats, at a tempo that is steady or changes."""
    waveform = np.zeros(count_samples(duration_s, sampling_rate), dtype=np.float32)
    step_s, drift = log_uniform(rng, 0.08, 0.5), 1.0 if rng.random() < 0.6 else rng.uniform(0.93, 1.07)
    num_steps = int(duration_s / 0.03) + 1
    gaps_s = np.clip(step_s * drift ** np.arange(num_steps), 0.03, 2)
    onsets_s = np.concatenate([[0.0], np.cumsum(gaps_s)])
    period, jitter_s = int(rng.choice([2, 3, 4, 6, 8, 12, 16])), step_s * rng.choice([0, 0.02, 0.1])
    for _ in range(rng.integers(1, 5)):
        sound, level = short_sound(rng, sampling_rate), rng.uniform(0.3, 1)
        hits = rng.random(period) < rng.uniform(0.15, 0.8)
        hits[int(rng.integers(period))] = True
        accents = rng.uniform(0.5, 1, period)
        for index in np.flatnonzero((onsets_s < duration_s) & np.resize(hits, len(onsets_s))):
            start = int(max(0.0, onsets_s[index] + jitter_s * rng.standard_normal()) * sampling_rate)
            place(waveform, sound, start, level * accents[index % period])
    if not waveform.any():
        place(waveform, sound, 0)
    return normalized(waveform)


def melody(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """Notes of a scale, alone or in chords, of an instrument with random harmonics."""
    waveform = np.zeros(count_samples(duration_s, sampling_rate), dtype=np.float32)
    scale = SCALES[int(rng.integers(len(SCALES)))]
    base_hz, beat_s, plucked = log_uniform(rng, 70, 700), log_uniform(rng, 0.12, 0.8), bool(rng.random() < 0.5)
    amplitudes = rng.exponential(1, 20) * rng.uniform(0.4, 0.95) ** np.arange(20)
    chord = int(rng.choice([1, 1, 2, 3]))
    degree, time_s = int(rng.integers(len(scale))), 0.0
    while time_s < duration_s:
        length_s = beat_s * float(rng.choice([0.5, 1, 1, 2]))
        if time_s == 0 or rng.random() < 0.9:
            for voice in range(chord):
                octave, step = divmod(degree + 2 * voice, len(scale))
                pitch_hz = base_hz * 2 ** (octave + scale[step] / 12)
                if pitch_hz < 0.2 * sampling_rate:
                    ring_s = length_s * (1.5 if plucked else 1.0)
                    sound = note(rng, pitch_hz, ring_s, amplitudes, plucked, sampling_rate)
                    place(waveform, sound, int(time_s * sampling_rate), rng.uniform(0.7, 1))
        degree = int(np.clip(degree + rng.integers(-3, 4), -len(scale), 2 * len(scale)))
        time_s += length_s
    return normalized(waveform)


RHYTHMS = (pattern, pattern, melody)


def rhythm(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """One of `RHYTHMS`, float32 of shape `(num_samples,)` with a peak of 1."""
    return draw_from(rng, RHYTHMS)(rng, duration_s, sampling_rate)
