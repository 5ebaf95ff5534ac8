"""The record that every reader gives."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Clip:
    """One labelled piece of audio, in memory.

    Args:
        id (`str`): Name of the clip, unique in its data set.
        waveform (`np.ndarray` of shape `(samples,)`): Mono, float32, full scale 1.0.
        sampling_rate (`int`): Rate of `waveform` in Hz.
        label (`str`): Name of its class.
        fold (`int`, defaults to 0): Part of the data set it belongs to. Clips of one recording share a fold.
    """

    id: str
    waveform: np.ndarray
    sampling_rate: int
    label: str
    fold: int = 0

    @property
    def duration_s(self) -> float:
        return len(self.waveform) / self.sampling_rate
