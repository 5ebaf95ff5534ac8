"""Changes of training clips for models of spectrograms: rolled, mixed in pairs, masked. All draws come from seeds."""

from collections.abc import Sequence

import numpy as np
import torch

ROLL, MIX, MASK = 11, 12, 13
"""Separate the random numbers of the changes, which come from the same `draw_seed` of a clip."""


def roll_waveform(waveform: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Let a clip begin at any of its samples; what precedes it follows at the end.

    Args:
        waveform (`np.ndarray` of shape `(num_samples,)`): The clip, of at least one sample.
        rng (`np.random.Generator`): Draws the sample.
    """
    return np.roll(waveform, -int(rng.integers(len(waveform))))


def mix_waveforms(
    waveforms: Sequence[np.ndarray], seeds: Sequence[int], alpha: float
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Mix each clip with another of its batch, `share * own + (1 - share) * partner's` (mixup, arXiv 1710.09412).

    Waveforms are added as sounds are in the air; the mean of two log spectrograms is no sound. The shorter of two
    clips is extended by silence.

    Args:
        waveforms (sequence of `np.ndarray` of shape `(num_samples,)`): The clips of a batch.
        seeds (sequence of `int`): Seed of each clip.
        alpha (`float`): Shares come from Beta(alpha, alpha), and are at least one half: the own clip leads.

    Returns:
        `tuple`: The mixed clips; partners, int64 of shape `(batch_size,)`, the index of each clip's partner; and
        shares, float32 of the same shape.
    """
    partners = np.empty(len(waveforms), dtype=np.int64)
    shares = np.empty(len(waveforms), dtype=np.float32)
    mixed = []
    for row, (waveform, seed) in enumerate(zip(waveforms, seeds, strict=True)):
        rng = np.random.default_rng([seed, MIX])
        partners[row] = rng.integers(len(waveforms))
        share = float(rng.beta(alpha, alpha))
        shares[row] = max(share, 1 - share)
        partner = waveforms[partners[row]]
        clip = np.zeros(max(len(waveform), len(partner)), dtype=np.float32)
        clip[: len(waveform)] = shares[row] * waveform
        clip[: len(partner)] += (1 - shares[row]) * partner
        mixed.append(clip)
    return mixed, partners, shares


def mask_spectrogram(features: torch.Tensor, share: float, rng: np.random.Generator) -> None:
    """Hide a stretch of frames and a band of bins, in place (SpecAugment, arXiv 1904.08779).

    One of each, of a random width from none to `share` of the axis, at a random place; the mean of the spectrogram
    stands in it. Number and width of the masks are ours: papers that state a ratio alone do not give them.

    Args:
        features (`torch.Tensor` of shape `(num_frames, num_bins)`): A spectrogram without padding.
        share (`float`): Largest share of the frames, and of the bins, that is hidden.
        rng (`np.random.Generator`): Draws widths and places.
    """
    mean = features.mean()
    for axis in (0, 1):
        size = features.shape[axis]
        width = int(rng.integers(int(share * size) + 1))
        start = int(rng.integers(size - width + 1))
        features.narrow(axis, start, width).fill_(mean)
