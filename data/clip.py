"""A labelled clip in memory."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Clip:
    """One labelled clip, with its waveform.

    Args:
        id (`str`): Name of the clip, unique in its data set.
        waveform (`np.ndarray` of shape `(num_samples,)`): Mono float32 samples in [-1, 1].
        sampling_rate (`int`): Sampling rate of `waveform` in Hz.
        label (`str`): Name of its class.
        fold (`int`, defaults to 0): Fold for cross-validation. Clips of one recording share a fold.
    """

    id: str
    waveform: np.ndarray
    sampling_rate: int
    label: str
    fold: int = 0

    @property
    def duration_s(self) -> float:
        """Length in seconds."""
        return len(self.waveform) / self.sampling_rate
