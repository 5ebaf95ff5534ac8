"""A voice: pulses of the glottis and breath, through the moving formants of a vocal tract."""

from dataclasses import dataclass, field

import numpy as np
from scipy import fft

from .resonances import filter_frames, frame_times, resonator_responses
from .shaping import control_times, phase_of, place, play_table, stretch

BANDWIDTHS_HZ = (70.0, 100.0, 150.0, 220.0)
"""Widths of the first four formants; those above stay where a tube closed at one end has them."""


@dataclass(frozen=True)
class Speaker:
    """What stays the same in a voice.

    Args:
        pitch_hz (`float`): Middle frequency of the glottal pulses.
        tract (`float`, defaults to 1.0): Factor of all formants: 1 for a tract of 17 cm, more for a shorter one.
        open_share (`float`, defaults to 0.6): Share of a period in which the glottis is open, in (0, 1).
        breath (`float`, defaults to 0.05): Strength of breath while the voice sounds.
        jitter (`float`, defaults to 0.01): Standard deviation of the pitch from one instant to the next, relative.
        roughness (`float`, defaults to 0.0): How much weaker every second pulse is, in [0, 1].
    """

    pitch_hz: float
    tract: float = 1.0
    open_share: float = 0.6
    breath: float = 0.05
    jitter: float = 0.01
    roughness: float = 0.0


@dataclass
class Score:
    """What a voice does: knots in time, joined by straight lines, and noises of the mouth.

    Args:
        formants: Pairs of a time in seconds and the frequencies of the first three formants in Hz, for `tract` 1.
        voicing: Pairs of a time and the strength of the glottal pulses.
        whisper: Pairs of a time and the strength of breath without voice.
        octaves: Pairs of a time and the pitch in octaves above that of the speaker.
        noises: Pairs of a time and a waveform that does not pass through the tract.
    """

    formants: list[tuple[float, tuple[float, float, float]]] = field(default_factory=list)
    voicing: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, 0.0)])
    whisper: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, 0.0)])
    octaves: list[tuple[float, float]] = field(default_factory=lambda: [(0.0, 0.0)])
    noises: list[tuple[float, np.ndarray]] = field(default_factory=list)


def glottal_period(open_share: float, num_harmonics: int) -> np.ndarray:
    """One period of the derivative of the glottal flow, without harmonics that the sampling rate has no room for.

    The flow rises as half a cosine and falls as a quarter of one (Rosenberg, 1971, pulse C).

    Args:
        open_share (`float`): Share of the period in which the glottis is open.
        num_harmonics (`int`): Harmonics to keep.

    Returns:
        `np.ndarray`: Float32 of shape `(2048,)` with a standard deviation of 1.
    """
    position = np.arange(2048) / 2048
    rise, fall = 0.66 * open_share, 0.34 * open_share
    flow = np.where(
        position < rise,
        (1 - np.cos(np.pi * position / rise)) / 2,
        np.where(position < rise + fall, np.cos(np.pi / 2 * (position - rise) / fall), 0),
    )
    spectrum = fft.rfft(np.diff(flow, append=flow[0]))
    spectrum[0] = 0
    spectrum[num_harmonics + 1 :] = 0
    period = fft.irfft(spectrum)
    return (period / period.std()).astype(np.float32)


def _curve(knots: list[tuple[float, float]], times: np.ndarray) -> np.ndarray:
    return np.interp(times, [time for time, _ in knots], [value for _, value in knots])


def sing(rng: np.random.Generator, speaker: Speaker, score: Score, num_samples: int, sampling_rate: int) -> np.ndarray:
    """Let a voice sound.

    Args:
        rng (`np.random.Generator`): Source of jitter and breath.
        speaker ([`Speaker`]): Whose voice.
        score ([`Score`]): What it does; at least one knot of formants.
        num_samples (`int`): Length.
        sampling_rate (`int`): In Hz.

    Returns:
        `np.ndarray`: Float32 of shape `(num_samples,)`, of any level.
    """
    times = control_times(num_samples, sampling_rate)
    pitch = speaker.pitch_hz * 2 ** _curve(score.octaves, times)
    pitch = np.clip(pitch * (1 + speaker.jitter * rng.standard_normal(len(times))), 20, 0.2 * sampling_rate)
    phase = phase_of(stretch(pitch, num_samples), sampling_rate)
    period = glottal_period(speaker.open_share, int(0.46 * sampling_rate / pitch.max()))
    pulses = play_table(period, phase)
    if speaker.roughness:
        # Halves of the period of every second pulse, faded into each other by the cosine.
        half = phase_of(stretch(pitch / 2, num_samples), sampling_rate)
        pulses *= 1 - speaker.roughness * (0.5 - 0.5 * np.cos(np.float32(2 * np.pi) * half))
    voicing = stretch(_curve(score.voicing, times), num_samples)
    whisper = stretch(_curve(score.whisper, times), num_samples)
    # Air flows while the glottis is open.
    flow = speaker.breath * voicing * (0.3 + 0.7 * (phase < speaker.open_share)) + whisper
    source = pulses * voicing + rng.standard_normal(num_samples, dtype=np.float32) * flow

    hop = int(2 ** np.round(np.log2(0.02 * sampling_rate)))
    frames = frame_times(num_samples, hop, sampling_rate)
    tracks = [_curve([(time, formants[index]) for time, formants in score.formants], frames) for index in range(3)]
    moving = np.stack([*tracks, np.full(len(frames), 3500.0)], axis=1) * speaker.tract
    moving = np.minimum(moving, 0.45 * sampling_rate)
    responses = resonator_responses(moving, np.array(BANDWIDTHS_HZ) * np.ones_like(moving), sampling_rate, 4 * hop)
    responses *= _upper_formants(speaker.tract, sampling_rate, 4 * hop)
    waveform = filter_frames(source, responses, hop)
    loudest = max(float(np.abs(waveform).max()), 1e-9)
    waveform /= loudest
    for onset_s, noise in score.noises:
        place(waveform, noise, int(onset_s * sampling_rate))
    return waveform


def _upper_formants(tract: float, sampling_rate: int, fft_size: int) -> np.ndarray:
    upper = np.arange(4500, 0.47 * sampling_rate / tract, 1000) * tract
    response = np.ones(fft_size // 2 + 1, dtype=np.complex64)
    for frequency in upper:
        one = np.array([[frequency]])
        response *= resonator_responses(one, 0.07 * one, sampling_rate, fft_size)[0]
    return response
