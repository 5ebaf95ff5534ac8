"""Voices: syllables as of speech, laughter, cries, barks and other calls. They mean nothing in any language."""

import numpy as np

from .shaping import band, count_samples, draw_from, fade, log_uniform, normalized, shaped_noise
from .vocal_tract import Score, Speaker, sing

VOWELS_HZ = (
    (270.0, 2290.0, 3010.0),
    (390.0, 1990.0, 2550.0),
    (530.0, 1840.0, 2480.0),
    (660.0, 1720.0, 2410.0),
    (730.0, 1090.0, 2440.0),
    (570.0, 840.0, 2410.0),
    (440.0, 1020.0, 2240.0),
    (300.0, 870.0, 2240.0),
    (640.0, 1190.0, 2390.0),
    (490.0, 1350.0, 1690.0),
)
"""First three formants of ten vowels: the means of men in Peterson and Barney (1952), Table II."""

OPEN_VOWELS_HZ = VOWELS_HZ[2:6] + VOWELS_HZ[8:9]

PLACES = (
    ((400.0, 900.0, 2300.0), (400.0, 1800.0)),
    ((350.0, 1800.0, 2700.0), (2800.0, 7000.0)),
    ((350.0, 2000.0, 2300.0), (1400.0, 3200.0)),
)
"""Where lips, tongue tip and tongue back close: formants that vowels come from, and the band of the burst in Hz."""

FRICATIVES_HZ = ((4500.0, 9500.0), (2200.0, 6000.0), (1200.0, 9000.0), (900.0, 3000.0))
"""Bands of the noise of fricatives, as in see, she, fee and loch."""


def random_speaker(rng: np.random.Generator) -> Speaker:
    """A man, a woman or a child, by pitch and by length of the vocal tract."""
    kind = rng.integers(3)
    low, high, tract = ((75, 160, 1.0), (150, 270, 1.16), (220, 400, 1.35))[kind]
    return Speaker(
        pitch_hz=log_uniform(rng, low, high),
        tract=float(np.clip(rng.normal(tract, 0.06), 0.85, 1.6)),
        open_share=rng.uniform(0.4, 0.8),
        breath=log_uniform(rng, 0.01, 0.3),
        jitter=log_uniform(rng, 0.003, 0.025),
        roughness=rng.uniform(0, 0.4) if rng.random() < 0.2 else 0.0,
    )


def _mouth_noise(
    rng: np.random.Generator, band_hz: tuple[float, float], duration_s: float, sampling_rate: int, in_s: float
) -> np.ndarray:
    top = 0.47 * sampling_rate
    low, high = min(band_hz[0], 0.5 * top), min(band_hz[1], top)
    noise = shaped_noise(rng, count_samples(duration_s, sampling_rate), sampling_rate, band(low, high, 2))
    return fade(noise, sampling_rate, in_s, 0.4 * duration_s)


def _consonant(rng: np.random.Generator, score: Score, time_s: float, tract: float, sampling_rate: int) -> float:
    """Add a consonant that begins at `time_s`; return when its vowel begins."""
    kind = rng.choice(["none", "plosive", "voiced_plosive", "fricative", "nasal", "glide"])
    formants, burst_hz = PLACES[int(rng.integers(len(PLACES)))]
    if kind == "none":
        return time_s
    if kind == "fricative":
        length_s, level = rng.uniform(0.06, 0.16), log_uniform(rng, 0.01, 0.12)
        noise_hz = FRICATIVES_HZ[int(rng.integers(len(FRICATIVES_HZ)))]
        noise = _mouth_noise(rng, (noise_hz[0] * tract, noise_hz[1] * tract), length_s, sampling_rate, 0.4 * length_s)
        score.noises.append((time_s, level * noise))
        score.voicing.append((time_s + length_s, float(rng.choice([0.0, 0.25]))))
    elif kind in ("plosive", "voiced_plosive"):
        closure_s = rng.uniform(0.03, 0.09)
        noise = _mouth_noise(
            rng, (burst_hz[0] * tract, burst_hz[1] * tract), rng.uniform(0.006, 0.025), sampling_rate, 0
        )
        score.noises.append((time_s + closure_s, log_uniform(rng, 0.02, 0.15) * noise))
        score.voicing.append((time_s + closure_s, 0.1 if kind == "voiced_plosive" else 0.0))
        length_s = closure_s + (0.01 if kind == "voiced_plosive" else rng.uniform(0.02, 0.08))
        if kind == "plosive":
            score.whisper += [
                (time_s + closure_s, 0.0),
                (time_s + closure_s + 0.01, 0.3),
                (time_s + length_s + 0.02, 0.0),
            ]
    elif kind == "nasal":
        length_s = rng.uniform(0.04, 0.1)
        formants = (250.0, *formants[1:])
        score.voicing += [(time_s + 0.01, 0.35), (time_s + length_s, 0.4)]
    else:
        length_s = rng.uniform(0.03, 0.08)
        formants = VOWELS_HZ[int(rng.choice([0, 7, 9]))]
        score.voicing.append((time_s + length_s, 0.6))
    score.formants.append((time_s + length_s, formants))
    return time_s + length_s


def speech(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """Phrases of syllables by one speaker: consonant, vowel, sometimes a second one, with the melody of a sentence."""
    speaker = random_speaker(rng)
    score = Score(formants=[(0.0, VOWELS_HZ[8])])
    syllable_s = 1 / rng.uniform(2.5, 7)
    # How far the vowels of this speaker are from the neutral one: clear or mumbled.
    clarity, liveliness = rng.uniform(0.5, 1.1), rng.uniform(0.02, 0.3)
    neutral = np.array([500.0, 1500.0, 2500.0])
    time_s = rng.uniform(0, min(0.2, 0.2 * duration_s))
    while time_s < duration_s:
        num_syllables = int(rng.integers(1, 10))
        for index in range(num_syllables):
            score.voicing.append((time_s, 0.0))
            start_s = _consonant(rng, score, time_s, speaker.tract, sampling_rate)
            vowel_s = max(0.05, syllable_s * rng.lognormal(0, 0.25) - (start_s - time_s))
            strength = rng.uniform(0.5, 1) * (1 - 0.4 * index / num_syllables)
            vowels = [np.array(VOWELS_HZ[int(rng.integers(len(VOWELS_HZ)))]) for _ in range(2)]
            first, last = (tuple(neutral + clarity * (vowel - neutral)) for vowel in vowels)
            middle_s, end_s = start_s + min(0.05, 0.3 * vowel_s), start_s + vowel_s
            score.formants += [(middle_s, first), (end_s - 0.01, last if rng.random() < 0.3 else first)]
            score.voicing += [(start_s + 0.015, strength), (end_s - 0.025, 0.8 * strength), (end_s, 0.0)]
            melody = 0.15 - 0.35 * index / num_syllables
            score.octaves.append((start_s + 0.5 * vowel_s, melody + liveliness * rng.standard_normal()))
            time_s = end_s + 0.005
        time_s += log_uniform(rng, 0.08, 0.8)
    return normalized(sing(rng, speaker, score, count_samples(duration_s, sampling_rate), sampling_rate))


def laughter(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """Laughter: short breathy syllables of one vowel whose pitch and strength fall, again and again."""
    person = random_speaker(rng)
    speaker = Speaker(person.pitch_hz * rng.uniform(1.2, 2), person.tract, 0.7, rng.uniform(0.1, 0.5), person.jitter)
    score = Score(formants=[(0.0, OPEN_VOWELS_HZ[int(rng.integers(len(OPEN_VOWELS_HZ)))])])
    time_s, syllable_s = rng.uniform(0, min(0.2, 0.2 * duration_s)), rng.uniform(0.13, 0.26)
    while time_s < duration_s:
        count = int(rng.integers(3, 12))
        for index in range(count):
            strength = 1 - 0.8 * index / count
            voiced_s = time_s + 0.45 * syllable_s
            score.whisper += [(time_s, 0.0), (time_s + 0.02, 0.3 * strength), (voiced_s + 0.02, 0.0)]
            score.voicing += [(voiced_s, 0.0), (voiced_s + 0.02, strength), (time_s + 0.95 * syllable_s, 0.0)]
            score.octaves += [(voiced_s, 0.3 - 0.6 * index / count), (time_s + syllable_s, 0.1 - 0.6 * index / count)]
            time_s += syllable_s * rng.normal(1, 0.05)
        time_s += rng.uniform(0.2, 0.9)
    return normalized(sing(rng, speaker, score, count_samples(duration_s, sampling_rate), sampling_rate))


def _calls(
    rng: np.random.Generator,
    speaker: Speaker,
    duration_s: float,
    sampling_rate: int,
    length_s: tuple[float, float],
    pause_s: tuple[float, float],
    arch_octaves: float,
    fall_octaves: float,
) -> np.ndarray:
    """Repeat a call: the mouth opens and closes, the pitch makes an arch and falls."""
    score = Score(formants=[])
    closed = VOWELS_HZ[int(rng.choice([0, 6, 7]))]
    opened = OPEN_VOWELS_HZ[int(rng.integers(len(OPEN_VOWELS_HZ)))]
    opening, usual_s = rng.uniform(0.1, 0.6), log_uniform(rng, *length_s)
    time_s = rng.uniform(0, min(0.3, 0.2 * duration_s))
    while time_s < duration_s:
        call_s = usual_s * rng.lognormal(0, 0.15)
        peak_s, end_s, strength = time_s + opening * call_s, time_s + call_s, rng.uniform(0.6, 1)
        score.formants += [(time_s, closed), (peak_s, opened), (end_s, closed)]
        attack_s = min(0.03, 0.2 * call_s)
        score.voicing += [
            (time_s, 0.0),
            (time_s + attack_s, strength),
            (time_s + 0.7 * call_s, strength),
            (end_s, 0.0),
        ]
        score.octaves += [(time_s, 0.0), (peak_s, arch_octaves * rng.uniform(0.7, 1.3)), (end_s, -fall_octaves)]
        time_s = end_s + log_uniform(rng, *pause_s)
    return normalized(sing(rng, speaker, score, count_samples(duration_s, sampling_rate), sampling_rate))


def cry(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """The cries of a small child, long and high, sometimes rough."""
    speaker = Speaker(
        log_uniform(rng, 300, 600), rng.uniform(1.3, 1.8), 0.6, log_uniform(rng, 0.02, 0.3), 0.01, rng.uniform(0, 0.7)
    )
    arch, fall = rng.uniform(0.05, 0.6), rng.uniform(0, 0.5)
    return _calls(rng, speaker, duration_s, sampling_rate, (0.3, 1.6), (0.15, 0.7), arch, fall)


def bark(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """Barks: short, rough and breathy, of a large or a small animal."""
    size = rng.random()
    speaker = Speaker(
        pitch_hz=600 * 0.2**size * rng.uniform(0.8, 1.25),
        tract=1.6 - 0.9 * size,
        breath=rng.uniform(0.1, 0.8),
        jitter=0.03,
        roughness=rng.uniform(0, 0.9),
    )
    arch, fall = rng.uniform(0.2, 0.8), rng.uniform(0.2, 1)
    return _calls(rng, speaker, duration_s, sampling_rate, (0.07, 0.25), (0.1, 1.2), arch, fall)


def animal(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """Other calls, as of cats, cows, sheep, crows or frogs: any size, length and roughness."""
    speaker = Speaker(
        log_uniform(rng, 45, 800),
        log_uniform(rng, 0.55, 1.8),
        rng.uniform(0.3, 0.9),
        log_uniform(rng, 0.01, 0.8),
        log_uniform(rng, 0.003, 0.06),
        rng.uniform(0, 0.9) if rng.random() < 0.5 else 0.0,
    )
    arch, fall = rng.uniform(-0.3, 0.7), rng.uniform(-0.3, 0.6)
    return _calls(rng, speaker, duration_s, sampling_rate, (0.15, 2.0), (0.1, 1.5), arch, fall)


VOICES = (speech, speech, speech, laughter, cry, bark, animal)


def voice(rng: np.random.Generator, duration_s: float, sampling_rate: int) -> np.ndarray:
    """One of `VOICES`, float32 of shape `(num_samples,)` with a peak of 1."""
    return draw_from(rng, VOICES)(rng, duration_s, sampling_rate)
