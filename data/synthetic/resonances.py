"""Resonances that move: filters with poles that change from frame to frame, as a vocal tract does."""

import numpy as np
from scipy import fft


def resonator_responses(
    frequencies_hz: np.ndarray, bandwidths_hz: np.ndarray, sampling_rate: int, fft_size: int
) -> np.ndarray:
    """Frequency responses of chains of two-pole resonators, each of gain 1 at 0 Hz (Klatt, 1980, Eq. 1).

    Args:
        frequencies_hz (`np.ndarray` of shape `(num_frames, num_resonators)`): Centre frequencies.
        bandwidths_hz (`np.ndarray` of the same shape): Widths of the peaks.
        sampling_rate (`int`): In Hz.
        fft_size (`int`): The responses are those at the bins of a transform of this size.

    Returns:
        `np.ndarray`: Complex64 of shape `(num_frames, fft_size // 2 + 1)`.
    """
    radius = np.exp(-np.pi * bandwidths_hz / sampling_rate)
    first = -2 * radius * np.cos(2 * np.pi * frequencies_hz / sampling_rate)
    second = radius**2
    # The polynomial of the whole chain, in double precision: its coefficients nearly cancel at low frequencies.
    polynomial = np.zeros((len(first), 2 * first.shape[1] + 1))
    polynomial[:, 0] = 1
    for index in range(first.shape[1]):
        shifted = polynomial.copy()
        shifted[:, 1:] += first[:, index, None] * polynomial[:, :-1]
        shifted[:, 2:] += second[:, index, None] * polynomial[:, :-2]
        polynomial = shifted
    angles = -2 * np.pi * np.arange(fft_size // 2 + 1) / fft_size
    powers = np.exp(1j * np.outer(np.arange(polynomial.shape[1]), angles))
    denominators = (polynomial @ powers.real) + 1j * (polynomial @ powers.imag)
    return (polynomial.sum(axis=1)[:, None] / denominators).astype(np.complex64)


def filter_frames(waveform: np.ndarray, responses: np.ndarray, hop: int) -> np.ndarray:
    """Filter a waveform with a response that changes every `hop` samples.

    Frames of `2 * hop` samples overlap by half and are faded into each other, so that no change is heard as a click.

    Args:
        waveform (`np.ndarray` of shape `(num_samples,)`): What to filter.
        responses (`np.ndarray` of shape `(num_frames, 2 * hop + 1)`): Complex; those at the bins of a transform of
            `4 * hop` samples, whose second half has room for the responses to decay. There must be
            `count_frames(num_samples, hop)` of them.
        hop (`int`): Samples from one frame to the next.

    Returns:
        `np.ndarray`: Float32 of shape `(num_samples,)`.
    """
    num_frames = count_frames(len(waveform), hop)
    padded = np.zeros((num_frames + 1) * hop, dtype=np.float32)
    padded[hop : hop + len(waveform)] = waveform
    blocks = padded.reshape(num_frames + 1, hop)
    window = (np.sin(np.pi * (np.arange(2 * hop) + 0.5) / (2 * hop)) ** 2).astype(np.float32)
    frames = np.concatenate([blocks[:-1], blocks[1:]], axis=1) * window
    filtered = fft.irfft(fft.rfft(frames, 4 * hop, axis=1) * responses, 4 * hop, axis=1)
    total = np.zeros((num_frames + 3, hop), dtype=np.float32)
    for part in range(4):
        total[part : part + num_frames] += filtered[:, part * hop : (part + 1) * hop]
    return total.ravel()[hop : hop + len(waveform)]


def count_frames(num_samples: int, hop: int) -> int:
    """Number of frames of [`filter_frames`]."""
    return -(-num_samples // hop) + 1


def frame_times(num_samples: int, hop: int, sampling_rate: int) -> np.ndarray:
    """Middle of each frame of [`filter_frames`] in seconds."""
    return np.arange(count_frames(num_samples, hop)) * (hop / sampling_rate)
