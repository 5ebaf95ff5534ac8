"""Mel-frequency cepstral coefficients of clips, the features of a baseline that hears no codes."""

from functools import lru_cache

import numpy as np
from scipy.fft import dct
from transformers.audio_utils import mel_filter_bank, power_to_db, window_function

SAMPLING_RATE = 22050
"""Rate in Hz that clips are resampled to."""
FRAME_LENGTH, HOP_LENGTH = 2048, 512
"""Samples of a frame and from one to the next: 93 and 23 ms."""
NUM_MELS, NUM_COEFFICIENTS = 128, 20
QUANTILES = (0.0, 0.1, 0.5, 0.9, 1.0)
TOP_DB = 80.0
"""Range in decibels below the loudest value of a clip; quieter values are raised to its lower end."""


def mfcc(waveform: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> np.ndarray:
    """
    Mel-frequency cepstral coefficients: the cosine transform of the logarithm of a mel spectrogram.

    Args:
        waveform (`np.ndarray` of shape `(num_samples,)`):
            Mono samples. Half a frame of silence is added at both ends.
        sampling_rate (`int`, *optional*, defaults to 22050):
            Sampling rate in Hz.

    Returns:
        `np.ndarray` of shape `(20, num_frames)`, float64.

    Raises:
        `ValueError`: if the waveform is not one-dimensional, is empty, or has samples that are not finite.
    """
    waveform = np.asarray(waveform, dtype=np.float64)
    if waveform.ndim != 1 or not waveform.size:
        raise ValueError(f"`waveform` must have the shape (num_samples,), at least one, got {waveform.shape}.")
    if not np.isfinite(waveform).all():
        raise ValueError("`waveform` must consist of finite samples, got NaN or infinity.")
    padded = np.pad(waveform, FRAME_LENGTH // 2)
    padded = np.pad(padded, (0, max(0, FRAME_LENGTH - len(padded))))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME_LENGTH)[::HOP_LENGTH]
    # All frames at once: `spectrogram` of transformers transforms them one by one, which takes many times as long.
    power = np.abs(np.fft.rfft(frames * window_function(FRAME_LENGTH, "hann"))) ** 2
    decibels = power_to_db((power @ mel_filters(sampling_rate)).T, min_value=1e-10, db_range=TOP_DB)
    return dct(decibels, axis=0, type=2, norm="ortho")[:NUM_COEFFICIENTS]


@lru_cache(maxsize=4)
def mel_filters(sampling_rate: int) -> np.ndarray:
    """Weights of the frequency bins in each mel band, float64 of shape `(1025, 128)`."""
    return mel_filter_bank(
        num_frequency_bins=FRAME_LENGTH // 2 + 1,
        num_mel_filters=NUM_MELS,
        min_frequency=0.0,
        max_frequency=sampling_rate / 2,
        sampling_rate=sampling_rate,
        norm="slaney",
        mel_scale="slaney",
    )


def mfcc_statistics(waveform: np.ndarray, sampling_rate: int = SAMPLING_RATE) -> np.ndarray:
    """
    What is left of the coefficients without the order of the frames: how each is distributed, and its changes.

    Args:
        waveform (`np.ndarray` of shape `(num_samples,)`):
            Mono samples.
        sampling_rate (`int`, *optional*, defaults to 22050):
            Sampling rate in Hz.

    Returns:
        `np.ndarray` of shape `(180,)`, float64: means and standard deviations over the frames of the 20 coefficients,
        then those of their differences from frame to frame (zero for a single frame), then the smallest value, the
        10th, 50th and 90th percentile, and the largest value of each coefficient.

    Raises:
        `ValueError`: as [`mfcc`].
    """
    coefficients = mfcc(waveform, sampling_rate)
    changes = np.diff(coefficients, axis=1, prepend=coefficients[:, :1])
    moments = [part(values, axis=1) for values in (coefficients, changes) for part in (np.mean, np.std)]
    return np.concatenate([*moments, *np.quantile(coefficients, QUANTILES, axis=1)])
