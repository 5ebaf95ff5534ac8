"""What the generators share: lengths, noise of a spectral shape, curves, tones, and placing sounds in time.

Everything is float32, and slow curves are computed at a lower rate: an hour of sound should take seconds.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import fft

CONTROL_HOP = 64
"""Samples per point of a slow curve."""


def count_samples(duration_s: float, sampling_rate: int) -> int:
    """Number of samples of a sound, at least 1."""
    return max(1, round(duration_s * sampling_rate))


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draw a number whose logarithm is uniform between those of `low` and `high`."""
    return float(low * (high / low) ** rng.random())


def seconds(num_samples: int, sampling_rate: int) -> np.ndarray:
    """Time of each sample in seconds, float32 of shape `(num_samples,)`."""
    return np.arange(num_samples, dtype=np.float32) / np.float32(sampling_rate)


def normalized(waveform: np.ndarray) -> np.ndarray:
    """Scale a waveform to a peak of 1; silence stays silence."""
    peak = float(np.abs(waveform).max(initial=0.0))
    return waveform.astype(np.float32) if peak == 0 else (waveform / peak).astype(np.float32)


def draw_from(rng: np.random.Generator, makers: Sequence[Callable[..., np.ndarray]]) -> Callable[..., np.ndarray]:
    """Draw one of several functions."""
    return makers[int(rng.integers(len(makers)))]


def stretch(points: np.ndarray, num_samples: int) -> np.ndarray:
    """Interpolate a curve with one point per `CONTROL_HOP` samples to one value per sample.

    Args:
        points (`np.ndarray` of shape `(num_points,)`): At least `num_control_points(num_samples)` values.
        num_samples (`int`): Length of the result.
    """
    points = points.astype(np.float32)
    ramp = np.arange(CONTROL_HOP, dtype=np.float32) / CONTROL_HOP
    return (points[:-1, None] + np.diff(points)[:, None] * ramp).ravel()[:num_samples]


def num_control_points(num_samples: int) -> int:
    """Number of points that [`stretch`] needs."""
    return -(-num_samples // CONTROL_HOP) + 1


def control_times(num_samples: int, sampling_rate: int) -> np.ndarray:
    """Time of each point of a slow curve in seconds."""
    return np.arange(num_control_points(num_samples)) * (CONTROL_HOP / sampling_rate)


def random_curve(
    rng: np.random.Generator, num_samples: int, sampling_rate: int, rate_hz: float, low: float, high: float
) -> np.ndarray:
    """A smooth random curve between `low` and `high`, with about `rate_hz` turns per second, one value per sample."""
    return stretch(random_points(rng, num_samples, sampling_rate, rate_hz, low, high), num_samples)


def random_points(
    rng: np.random.Generator, num_samples: int, sampling_rate: int, rate_hz: float, low: float, high: float
) -> np.ndarray:
    """The same curve as points for [`stretch`]."""
    times = control_times(num_samples, sampling_rate) * rate_hz
    knots = rng.uniform(low, high, int(times[-1]) + 2)
    left = times.astype(int)
    # The weight of the next knot rises without a corner.
    weight = (1 - np.cos(np.pi * (times - left))) / 2
    return knots[left] * (1 - weight) + knots[left + 1] * weight


def shaped_noise(
    rng: np.random.Generator, num_samples: int, sampling_rate: int, gain: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    """Gaussian noise with a power spectrum, of RMS 1.

    Args:
        rng (`np.random.Generator`): Source of the noise.
        num_samples (`int`): Length.
        sampling_rate (`int`): In Hz.
        gain (function): Amplitudes at some frequencies in Hz, an array in and an array out.

    Returns:
        `np.ndarray`: Float32 of shape `(num_samples,)`. Its spectrum is drawn as a whole: there is no filter that
        would have to settle.
    """
    size = fft.next_fast_len(max(num_samples, 64), real=True)
    num_bins = size // 2 + 1
    spectrum = np.empty(2 * num_bins, dtype=np.float32)
    rng.standard_normal(dtype=np.float32, out=spectrum)
    bins = spectrum.view(np.complex64)
    # Spectral shapes are smooth on a logarithmic axis: a few hundred points say what they are.
    frequencies = np.geomspace(10, sampling_rate / 2, 300)
    frequencies[-1] = sampling_rate / 2
    indices = np.arange(num_bins, dtype=np.float32)
    gains = np.interp(indices * (sampling_rate / size), frequencies, gain(frequencies)).astype(np.float32)
    # Nothing below hearing, which would only take away from the range of values.
    gains[: int(20 * size / sampling_rate) + 1] = 0
    if not gains.any():
        gains[:] = 1
    bins *= gains
    noise = fft.irfft(bins, n=size)[:num_samples]
    return noise / max(float(np.sqrt(np.mean(np.square(noise)))), 1e-20)


def band(low_hz: float, high_hz: float, order: float = 2.0) -> Callable[[np.ndarray], np.ndarray]:
    """The gain of a band-pass filter with slopes of `order` times 6 dB per octave, for [`shaped_noise`]."""

    def gain(frequencies: np.ndarray) -> np.ndarray:
        rise = 1 / (1 + (low_hz / frequencies) ** (2 * order))
        fall = 1 / (1 + (frequencies / high_hz) ** (2 * order))
        return np.sqrt(rise * fall)

    return gain


def phase_of(frequency_hz: np.ndarray, sampling_rate: int, start: float = 0.0) -> np.ndarray:
    """Phase of an oscillation in periods, modulo 1, given its frequency at each sample."""
    # Single precision would be off by a period after some seconds.
    phase = np.cumsum(frequency_hz, dtype=np.float64)
    phase /= sampling_rate
    phase += start
    phase -= np.floor(phase)
    return phase.astype(np.float32)


def sine(phase: np.ndarray) -> np.ndarray:
    """Sine of a phase in periods."""
    return np.sin(np.float32(2 * np.pi) * phase)


def arch(position: np.ndarray) -> np.ndarray:
    """Half a sine over positions from 0 to 1. Rounding must not take it below 0, which has no roots."""
    return np.maximum(np.sin(np.float32(np.pi) * position), 0)


def harmonics_below(frequency_hz: np.ndarray, sampling_rate: int) -> int:
    """Number of harmonics that fit below the Nyquist frequency, at least 1."""
    return max(1, int(0.46 * sampling_rate / max(float(np.max(frequency_hz)), 1.0)))


def play_table(table: np.ndarray, phase: np.ndarray) -> np.ndarray:
    """One period of a waveform, repeated as a phase in periods says.

    Args:
        table (`np.ndarray` of shape `(table_size,)`): One period.
        phase (`np.ndarray` of shape `(num_samples,)`): In [0, 1].
    """
    closed = np.append(table, table[0]).astype(np.float32)
    position = phase * np.float32(len(table))
    left = np.minimum(position.astype(np.int32), len(table) - 1)
    return closed[left] + np.diff(closed)[left] * (position - left)


def harmonic_tone(amplitudes: np.ndarray, frequency_hz: np.ndarray, sampling_rate: int) -> np.ndarray:
    """A tone with harmonics; those above the Nyquist frequency are left out.

    Args:
        amplitudes (`np.ndarray` of shape `(num_harmonics,)`): From the fundamental upwards.
        frequency_hz (`np.ndarray` of shape `(num_samples,)`): The fundamental.
        sampling_rate (`int`): In Hz.
    """
    phase = phase_of(frequency_hz, sampling_rate)
    kept = amplitudes[: harmonics_below(frequency_hz, sampling_rate)]
    if len(kept) == 1:
        return sine(phase) * np.float32(kept[0])
    spectrum = np.zeros(1025, dtype=np.complex64)
    spectrum[1 : len(kept[:1023]) + 1] = -0.5j * 2048 * kept[:1023]
    return play_table(fft.irfft(spectrum), phase)


def fade(waveform: np.ndarray, sampling_rate: int, in_s: float = 0.003, out_s: float = 0.003) -> np.ndarray:
    """Fade a waveform in and out in place, so that its ends do not click."""
    for length_s, is_end in ((in_s, False), (out_s, True)):
        length = min(len(waveform), round(length_s * sampling_rate))
        if length > 0:
            ramp = np.sin(np.linspace(0, np.pi / 2, length, dtype=np.float32)) ** 2
            if is_end:
                waveform[-length:] *= ramp[::-1]
            else:
                waveform[:length] *= ramp
    return waveform


def place(target: np.ndarray, sound: np.ndarray, start: int, gain: float = 1.0) -> None:
    """Add a sound to a longer one in place, from sample `start`; what lies beyond the end is dropped."""
    length = min(len(sound), len(target) - start)
    if length > 0:
        target[start : start + length] += np.float32(gain) * sound[:length]


def poisson_times(rng: np.random.Generator, duration_s: float, rate_hz: float) -> np.ndarray:
    """Random times in seconds, `rate_hz` per second on average and at least one, in order."""
    return np.sort(rng.random(max(1, rng.poisson(rate_hz * duration_s)))) * duration_s


def echo(waveform: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Convolve a waveform with a response; the tail beyond the end of the waveform is dropped."""
    size = fft.next_fast_len(len(waveform) + len(response) - 1, real=True)
    product = fft.rfft(waveform.astype(np.float32), size)
    product *= fft.rfft(response.astype(np.float32), size)
    return fft.irfft(product, size)[: len(waveform)]
