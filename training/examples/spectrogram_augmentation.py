"""Changes of training clips for models of spectrograms: level, place, mixtures, masks, and edges of the mel bins.

All draws come from seeds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..spectrogram_arguments import SpectrogramTrainingArguments

ROLL, MIX, MASK, GAIN, MIX_SPECTROGRAMS, HIDE, EDGES = 11, 12, 13, 14, 15, 16, 17
"""Separate the random numbers of the changes, which come from the same `draw_seed` of a clip."""

MAX_HIDDEN_SHARE = 0.5
"""Most of an axis that a mask of a fixed size hides, however short the clip is."""


@dataclass(frozen=True)
class BatchChanges:
    """What changes in the clips of a batch; changes of one clip alone are those of [`AudioExamples`].

    Args:
        mixup_alpha (`float`, defaults to 0): See [`mix_waveforms`]; 0 turns it off.
        mixup_probability (`float`, defaults to 1): Share of the clips that it mixes.
        mel_jitter (`tuple[float, float]`, *optional*): See [`draw_mel_edges`].
        spec_augment (`float`, defaults to 0): See [`mask_spectrogram`]; 0 turns it off.
        mask_frames, mask_bins (`int`, defaults to 0): See [`hide_stretches`]; 0 turns one off.
        spectrogram_mixup_alpha (`float`, defaults to 0): See [`mix_spectrograms`]; 0 turns it off.
    """

    mixup_alpha: float = 0.0
    mixup_probability: float = 1.0
    mel_jitter: tuple[float, float] | None = None
    spec_augment: float = 0.0
    mask_frames: int = 0
    mask_bins: int = 0
    spectrogram_mixup_alpha: float = 0.0

    @classmethod
    def of(cls, arguments: SpectrogramTrainingArguments) -> "BatchChanges":
        """The changes that the settings of a run ask for."""
        jitter = arguments.mel_jitter
        return cls(
            mixup_alpha=arguments.mixup_alpha,
            mixup_probability=arguments.mixup_probability,
            mel_jitter=None if jitter is None else (jitter[0], jitter[1]),
            spec_augment=arguments.spec_augment,
            mask_frames=arguments.mask_frames,
            mask_bins=arguments.mask_bins,
            spectrogram_mixup_alpha=arguments.spectrogram_mixup_alpha,
        )

    @property
    def changes_anything(self) -> bool:
        """Whether clips need seeds to be drawn from."""
        return self != BatchChanges(mixup_probability=self.mixup_probability)


def amplify_waveform(waveform: np.ndarray, low_db: float, high_db: float, rng: np.random.Generator) -> np.ndarray:
    """Amplify a clip by a random gain.

    Args:
        waveform (`np.ndarray` of shape `(num_samples,)`): The clip.
        low_db, high_db (`float`): The gain in dB is between these.
        rng (`np.random.Generator`): Draws the gain.
    """
    return waveform * np.float32(10 ** (rng.uniform(low_db, high_db) / 20))


def roll_waveform(waveform: np.ndarray, rng: np.random.Generator, max_samples: int | None = None) -> np.ndarray:
    """Let a clip begin at another of its samples; what precedes it follows at the end.

    Args:
        waveform (`np.ndarray` of shape `(num_samples,)`): The clip, of at least one sample.
        rng (`np.random.Generator`): Draws the sample.
        max_samples (`int`, *optional*): How far it is from the beginning at most, in either direction; by default it
            may be any sample.
    """
    if max_samples is None:
        return np.roll(waveform, -int(rng.integers(len(waveform))))
    return np.roll(waveform, int(rng.integers(-max_samples, max_samples + 1)))


def draw_mel_edges(
    mel_range: tuple[float, float], jitter: tuple[float, float], highest_hz: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Draw the edges of the mel bins of a clip, as the front end of PaSST (arXiv 2110.05069) does in training.

    Args:
        mel_range (`tuple[float, float]`): Lower edge of the first bin and upper edge of the last one in Hz.
        jitter (`tuple[float, float]`): Hz by which the lower edge rises at most, and by which the upper edge moves at
            most, in either direction.
        highest_hz (`float`): The upper edge does not go beyond, half of the sampling rate.
        rng (`np.random.Generator`): Draws both.
    """
    low, high = mel_range
    return low + rng.uniform(0, jitter[0]), min(high + rng.uniform(-jitter[1], jitter[1]), highest_hz)


def mix_waveforms(
    waveforms: Sequence[np.ndarray], seeds: Sequence[int], alpha: float, probability: float = 1.0
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Mix each clip with another of its batch, `share * own + (1 - share) * partner's` (mixup, arXiv 1710.09412).

    Waveforms are added as sounds are in the air; the mean of two log spectrograms is no sound. The shorter of two
    clips is extended by silence.

    Args:
        waveforms (sequence of `np.ndarray` of shape `(num_samples,)`): The clips of a batch.
        seeds (sequence of `int`): Seed of each clip.
        alpha (`float`): Shares come from Beta(alpha, alpha), and are at least one half: the own clip leads.
        probability (`float`, defaults to 1): Share of the clips that are mixed. Others have a share of 1.

    Returns:
        `tuple`: The mixed clips; partners, int64 of shape `(batch_size,)`, the index of each clip's partner; and
        shares, float32 of the same shape.
    """
    partners = np.empty(len(waveforms), dtype=np.int64)
    shares = np.empty(len(waveforms), dtype=np.float32)
    mixed = []
    for row, (waveform, seed) in enumerate(zip(waveforms, seeds, strict=True)):
        rng = np.random.default_rng([seed, MIX])
        partners[row], shares[row] = _draw_partner(rng, len(waveforms), alpha)
        if probability < 1 and rng.random() >= probability:
            shares[row] = 1.0
            mixed.append(waveform)
            continue
        partner = waveforms[partners[row]]
        clip = np.zeros(max(len(waveform), len(partner)), dtype=np.float32)
        clip[: len(waveform)] = shares[row] * waveform
        clip[: len(partner)] += (1 - shares[row]) * partner
        mixed.append(clip)
    return mixed, partners, shares


def mix_spectrograms(
    features: torch.Tensor, num_frames: Sequence[int], seeds: Sequence[int], alpha: float
) -> tuple[torch.Tensor, np.ndarray, np.ndarray]:
    """Mix the log spectrogram of each clip with that of another of its batch, as [`mix_waveforms`] does with sounds.

    Where the partner has no frames any more, a clip stays as it is, and it keeps its length: padding is no silence.

    Args:
        features (`torch.Tensor` of shape `(batch_size, num_frames, num_bins)`): Padded spectrograms.
        num_frames (sequence of `int`): Frames of each clip that are no padding.
        seeds (sequence of `int`): Seed of each clip.
        alpha (`float`): As in [`mix_waveforms`].

    Returns:
        `tuple`: The mixed spectrograms, partners and shares, as in [`mix_waveforms`].
    """
    partners = np.empty(len(features), dtype=np.int64)
    shares = np.empty(len(features), dtype=np.float32)
    mixed = features.clone()
    for row, seed in enumerate(seeds):
        rng = np.random.default_rng([seed, MIX_SPECTROGRAMS])
        partners[row], shares[row] = _draw_partner(rng, len(features), alpha)
        shared = min(num_frames[row], num_frames[partners[row]])
        own, other = features[row, :shared], features[partners[row], :shared]
        mixed[row, :shared] = float(shares[row]) * own + (1 - float(shares[row])) * other
    return mixed, partners, shares


def _draw_partner(rng: np.random.Generator, batch_size: int, alpha: float) -> tuple[int, float]:
    """Index of a clip's partner in its batch, and the share of the clip itself, at least one half."""
    partner, share = int(rng.integers(batch_size)), float(rng.beta(alpha, alpha))
    return partner, max(share, 1 - share)


def hide_stretches(
    features: torch.Tensor,
    max_frames: int,
    max_bins: int,
    values: torch.Tensor | None,
    rng: np.random.Generator,
) -> None:
    """Hide a stretch of frames and a band of bins of fixed largest sizes, in place (SpecAugment, arXiv 1904.08779).

    Args:
        features (`torch.Tensor` of shape `(num_frames, num_bins)`): A spectrogram without padding.
        max_frames, max_bins (`int`): Widths are drawn from 0 to these; never more than half of the axis.
        values (`torch.Tensor` of shape `(num_bins,)`, *optional*): What stands there instead, in each bin; by default
            the mean of the spectrogram.
        rng (`np.random.Generator`): Draws widths and places.
    """
    values = features.mean().expand(features.shape[1]).clone() if values is None else values
    for axis, largest in ((0, max_frames), (1, max_bins)):
        size = features.shape[axis]
        width = int(rng.integers(min(largest, int(MAX_HIDDEN_SHARE * size)) + 1))
        start = int(rng.integers(size - width + 1))
        hidden = features.narrow(axis, start, width)
        hidden.copy_((values if axis == 0 else values[start : start + width]).expand(hidden.shape))


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
