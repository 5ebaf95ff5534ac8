"""Chirps: tones whose pitch and level move, such as those of birds, insects, sirens and alarms."""

import numpy as np

from .shaping import (
    arch,
    band,
    count_samples,
    draw_from,
    fade,
    harmonic_tone,
    log_uniform,
    normalized,
    place,
    random_curve,
    seconds,
    shaped_noise,
)


def syllable(
    rng: np.random.Generator, duration_s: float, sampling_rate: int, low_hz: float, high_hz: float
) -> np.ndarray:
    """One sweep between two frequencies: straight, arched, or trembling, with few or no harmonics."""
    num_samples = count_samples(duration_s, sampling_rate)
    position = np.linspace(0, 1, num_samples, dtype=np.float32)
    start, end, peak = (log_uniform(rng, low_hz, high_hz) for _ in range(3))
    octaves = np.log2(end / start) * position
    if rng.random() < 0.4:
        octaves = octaves + np.log2(peak / start) * np.sin(np.pi * position)
    if rng.random() < 0.35:
        octaves = octaves + rng.uniform(0.02, 0.25) * np.sin(2 * np.pi * rng.uniform(15, 70) * duration_s * position)
    frequency = np.clip(start * 2**octaves, 0.5 * low_hz, min(2 * high_hz, 0.45 * sampling_rate))
    amplitudes = rng.uniform(0, 0.5) ** np.arange(4) if rng.random() < 0.4 else np.ones(1)
    tone = harmonic_tone(amplitudes, frequency, sampling_rate)
    tone *= arch(position ** rng.uniform(0.3, 1.5)) ** rng.uniform(0.4, 2)
    return fade(tone, sampling_rate)


def birds(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """Birdsong: phrases of one to four syllables, repeated with small changes of time and level."""
    waveform = np.zeros(count_samples(duration_s, sampling_rate), dtype=np.float32)
    low = log_uniform(rng, 800, 0.22 * sampling_rate)
    high = min(low * rng.uniform(1.2, 3), 0.42 * sampling_rate)
    lengths_s = np.exp(rng.uniform(np.log(0.02), np.log(0.4), rng.integers(1, 5)))
    phrase = [syllable(rng, length_s, sampling_rate, low, high) for length_s in lengths_s]
    gap_s, pause_s = log_uniform(rng, 0.01, 0.2), log_uniform(rng, 0.1, 1.5)
    repeats = rng.integers(1, 8)
    onset_s = rng.uniform(0, min(0.3 * duration_s, pause_s))
    while onset_s < duration_s:
        for _ in range(repeats):
            for sound in phrase:
                place(waveform, sound, int(onset_s * sampling_rate), rng.uniform(0.6, 1))
                onset_s += len(sound) / sampling_rate + gap_s * rng.uniform(0.8, 1.2)
        onset_s += pause_s * rng.uniform(0.5, 1.5)
    return normalized(waveform)


def insects(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """Crickets and cicadas: a high carrier in pulses, in groups with pauses; or a buzz that flies by."""
    num_samples = count_samples(duration_s, sampling_rate)
    times = seconds(num_samples, sampling_rate)
    if rng.random() < 0.25:
        wings_hz = log_uniform(rng, 90, 500) * random_curve(rng, num_samples, sampling_rate, 2, 0.85, 1.15)
        tone = harmonic_tone(np.arange(1, 40) ** -rng.uniform(0.6, 1.4), wings_hz, sampling_rate)
        return normalized(tone * random_curve(rng, num_samples, sampling_rate, 1, 0.05, 1))
    carrier_hz = log_uniform(rng, 2000, 0.4 * sampling_rate)
    if rng.random() < 0.6:
        carrier = harmonic_tone(np.ones(1), np.full(num_samples, carrier_hz, dtype=np.float32), sampling_rate)
    else:
        carrier = shaped_noise(rng, num_samples, sampling_rate, band(0.8 * carrier_hz, 1.15 * carrier_hz, 4))
    pulses_hz, groups_hz, share = log_uniform(rng, 12, 120), log_uniform(rng, 0.4, 5), rng.uniform(0.15, 1)
    pulses = arch((times * pulses_hz) % 1) ** rng.uniform(1, 4)
    # The first group is not missed where there is only room for one.
    start = rng.random() if duration_s * groups_hz > 1 else 0.0
    group = (times * groups_hz + start) % 1 / share
    in_group = np.where(group < 1, arch(np.minimum(group, 1)) ** 0.5, 0) if share < 0.85 else 1
    return normalized(carrier * pulses * in_group)


def siren(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """A siren: a pitch that rises and falls in turn, smoothly, in ramps, or in two steps."""
    num_samples = count_samples(duration_s, sampling_rate)
    cycle = (seconds(num_samples, sampling_rate) * log_uniform(rng, 0.15, 6) + rng.random()) % 1
    shape = rng.integers(4)
    if shape == 0:
        move = (1 - np.cos(2 * np.pi * cycle)) / 2
    elif shape == 1:
        turn = rng.uniform(0.1, 0.9)
        move = np.minimum(cycle / turn, (1 - cycle) / (1 - turn))
    elif shape == 2:
        move = cycle
    else:
        move = (cycle > 0.5).astype(np.float32)
    frequency = log_uniform(rng, 250, 1500) * 2 ** (rng.uniform(0.2, 1.6) * move)
    tone = harmonic_tone(rng.uniform(0.1, 0.8) ** np.arange(12), frequency, sampling_rate)
    return normalized(tone * random_curve(rng, num_samples, sampling_rate, 0.5, rng.uniform(0.2, 1), 1))


def alarm(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """An alarm or telephone: beeps of one to three pitches in groups, or a bell that is struck many times a second."""
    num_samples = count_samples(duration_s, sampling_rate)
    waveform = np.zeros(num_samples, dtype=np.float32)
    base = log_uniform(rng, 400, 3500)
    pitches = base * 2 ** (rng.integers(-7, 8, rng.integers(1, 4)) / 12)
    beep_s, gap_s = log_uniform(rng, 0.03, 0.4), log_uniform(rng, 0.02, 0.3)
    # A square wave has odd harmonics.
    amplitudes = (
        (np.arange(1, 16) % 2) / np.arange(1, 16) if rng.random() < 0.5 else rng.uniform(0, 0.6) ** np.arange(8)
    )
    length = count_samples(beep_s, sampling_rate)
    beeps = [
        fade(harmonic_tone(amplitudes, np.full(length, pitch, dtype=np.float32), sampling_rate), sampling_rate)
        for pitch in pitches
    ]
    if rng.random() < 0.3:
        beeps = [beep * np.exp(-seconds(length, sampling_rate) / np.float32(beep_s / 3)) for beep in beeps]
    group, pause_s = rng.integers(1, 7), log_uniform(rng, 0.1, 1.5)
    onset_s, count = rng.uniform(0, min(0.3, 0.2 * duration_s)), 0
    while onset_s < duration_s:
        place(waveform, beeps[count % len(beeps)], int(onset_s * sampling_rate))
        count += 1
        onset_s += beep_s + gap_s + (pause_s if count % group == 0 else 0)
    return normalized(waveform)


def whistle(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """Whistling, howling or a theremin: a tone that glides without pause, with vibrato and some breath."""
    num_samples = count_samples(duration_s, sampling_rate)
    times = seconds(num_samples, sampling_rate)
    octaves = random_curve(rng, num_samples, sampling_rate, log_uniform(rng, 0.4, 4), 0, rng.uniform(0.1, 1.5))
    vibrato = rng.uniform(0, 0.04) * np.sin(2 * np.pi * rng.uniform(4, 8) * times)
    frequency = np.minimum(log_uniform(rng, 200, 2500) * 2 ** (octaves + vibrato), 0.45 * sampling_rate)
    tone = harmonic_tone(rng.uniform(0, 0.5) ** np.arange(6), frequency, sampling_rate)
    level = np.sqrt(random_curve(rng, num_samples, sampling_rate, log_uniform(rng, 0.5, 4), 0, 1))
    breath = shaped_noise(rng, num_samples, sampling_rate, band(500, 6000, 1)) * rng.uniform(0, 0.1)
    return normalized((tone + breath) * level)


CHIRPS = (birds, birds, insects, siren, alarm, whistle)


def chirp(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """One of `CHIRPS`, float32 of shape `(num_samples,)` with a peak of 1."""
    return draw_from(rng, CHIRPS)(rng, duration_s, sampling_rate)
