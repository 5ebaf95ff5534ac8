"""Feature extractor of BEATs: waveforms to normalized log-mel spectrograms."""

import copy
from typing import Any

import numpy as np
import torch

from .kaldi_filterbank import KaldiFilterbank
from .spectrograms import SpectrogramFeatureExtractor, check_counts, with_silence


# Saved folders name the class. Should transformers bring a `BeatsFeatureExtractor` of its own, it would be found first
# under that name; `BeatsFeatureExtractor` below is the name for people.
class AudioFormerBeatsFeatureExtractor(SpectrogramFeatureExtractor[KaldiFilterbank]):
    r"""
    Constructs a BEATs feature extractor: audio -> Kaldi filterbank -> normalized log-mel spectrogram.

    A clip of `num_samples` samples at 16 kHz becomes `num_frames = 1 + (num_samples - 400) // 160` frames of 128 log
    energies, `(x - mean) / (2 * std)`. The model joins 16 frames and 16 bins into a patch; clips shorter than a patch
    (2800 samples) are extended by silence. Shorter clips of a batch are padded, and `attention_mask` says which
    patches are real: a clip has the same scores alone and in any batch.

    Args:
        feature_size (`int`, *optional*, defaults to 128):
            Number of mel bins.
        sampling_rate (`int`, *optional*, defaults to 16000):
            Rate in Hz that audio is resampled to.
        padding_value (`float`, *optional*, defaults to 0.0):
            Value of padded frames, after normalization.
        mean (`float`, *optional*, defaults to 15.41663):
            Mean of the log energies; the default is that of AudioSet (arXiv 2212.09058, Table 4).
        std (`float`, *optional*, defaults to 6.55582):
            Standard deviation of the log energies. Spectrograms are divided by twice this.
        patch_size (`int`, *optional*, defaults to 16):
            Frames and mel bins per patch of the model.
        official_padding (`bool`, *optional*, defaults to `False`):
            Whether to pad waveforms instead of spectrograms and to make the mask by the rule of the authors' code, for
            parity. That rule ties a patch to two of its sixteen frames, so that a padded clip has other scores than
            the same clip alone.
        return_attention_mask (`bool`, *optional*, defaults to `True`):
            Whether to return `attention_mask`.
        normalize (`str`, *optional*):
            `"rms"` multiplies each clip, after resampling, so that its root mean square is `target_rms`: spectrograms
            then do not depend on how loud a recording is. By default they do, as in the paper.
        target_rms (`float`, *optional*, defaults to 0.1):
            Root mean square after `normalize="rms"`, in amplitude, where 1 is full scale.
        min_rms (`float`, *optional*, defaults to 0.001):
            A clip whose root mean square is lower is amplified as one of this level.

    Raises:
        ValueError: If a setting is out of range.

    Example:

    ```python
    >>> from audioformer.feature_extraction import BeatsFeatureExtractor

    >>> extractor = BeatsFeatureExtractor()
    >>> inputs = extractor([first_clip, second_clip], sampling_rate=44100, return_tensors="pt")
    >>> inputs["input_features"].shape, inputs["attention_mask"].shape  # 10 s
    (torch.Size([2, 998, 128]), torch.Size([2, 496]))
    ```"""

    def __init__(
        self,
        feature_size: int = 128,
        sampling_rate: int = 16_000,
        padding_value: float = 0.0,
        mean: float = 15.41663,
        std: float = 6.55582,
        patch_size: int = 16,
        official_padding: bool = False,
        return_attention_mask: bool = True,
        normalize: str | None = None,
        target_rms: float = 0.1,
        min_rms: float = 0.001,
        **kwargs: Any,
    ):
        super().__init__(
            feature_size=feature_size,
            sampling_rate=sampling_rate,
            padding_value=padding_value,
            return_attention_mask=return_attention_mask,
            normalize=normalize,
            target_rms=target_rms,
            min_rms=min_rms,
            **kwargs,
        )
        check_counts(patch_size=patch_size)
        if feature_size % patch_size:
            raise ValueError(f"`feature_size` must be a multiple of `patch_size` ({patch_size}), got {feature_size}.")
        self.mean, self.std = _check_scale(mean, std)
        self.patch_size = patch_size
        self.official_padding = official_padding

    def make_spectrogram(self) -> KaldiFilterbank:
        """A new filterbank, on the CPU."""
        # Frames of 25 ms every 10 ms.
        lengths = {"frame_length": self.sampling_rate // 40, "hop_length": self.sampling_rate // 100}
        return KaldiFilterbank(self.feature_size, self.sampling_rate, **lengths)

    @property
    def filterbank(self) -> KaldiFilterbank:
        """The filterbank, on the device of the extractor."""
        return self.spectrogram

    @property
    def min_samples(self) -> int:
        """Number of samples of the shortest clip that fills a patch."""
        return self.filterbank.frame_length + (self.patch_size - 1) * self.filterbank.hop_length

    def model_config(self) -> dict[str, int]:
        """Arguments of a `BeatsConfig` that fits these spectrograms."""
        return {
            "num_mel_bins": self.feature_size,
            "patch_size": self.patch_size,
            "sampling_rate": self.sampling_rate,
            "hop_length": self.filterbank.hop_length,
        }

    def num_positions(self, num_frames: int) -> int:
        """Number of patches in a spectrogram of `num_frames` frames."""
        return num_frames // self.patch_size * (self.feature_size // self.patch_size)

    def with_scale(self, mean: float | None = None, std: float | None = None) -> "AudioFormerBeatsFeatureExtractor":
        """
        Make a copy with another mean or standard deviation.

        Args:
            mean (`float`, *optional*): Mean of the log energies; by default that of this extractor.
            std (`float`, *optional*): Their standard deviation; by default that of this extractor.

        Returns:
            `BeatsFeatureExtractor`: The copy; this extractor is not changed.

        Raises:
            ValueError: If the mean is not finite, or the standard deviation is not positive.
        """
        other = copy.copy(self)
        other.mean, other.std = _check_scale(self.mean if mean is None else mean, self.std if std is None else std)
        return other

    def compute(self, waveforms: list[np.ndarray]) -> dict[str, Any]:
        """The scaled spectrograms of waveforms, and with `official_padding` the mask of the authors' rule."""
        lengths = [len(waveform) for waveform in waveforms]
        shortest = max(self.min_samples, *lengths) if self.official_padding else self.min_samples
        clips = [with_silence(waveform, shortest) for waveform in waveforms]
        spectrograms = [self.scaled(clip).cpu().numpy() for clip in self.filterbank.batch(clips)]
        features: dict[str, Any] = {"input_features": spectrograms}
        if self.official_padding:
            num_samples, num_frames = len(clips[0]), len(spectrograms[0])
            patches = self.num_positions(num_frames)
            features["attention_mask"] = [
                official_mask(length, num_samples, num_frames, patches).numpy() for length in lengths
            ]
        return features

    def scaled(self, energies: torch.Tensor) -> torch.Tensor:
        """Log energies as the model reads them: `(energies - mean) / (2 * std)`."""
        return (energies - self.mean) / (2 * self.std)


BeatsFeatureExtractor = AudioFormerBeatsFeatureExtractor


def official_mask(length: int, num_samples: int, num_frames: int, num_patches: int) -> torch.Tensor:
    """
    Mask of a padded clip as the authors' code makes it, from samples to frames and, by the same rule, to patches.

    A row of `before` values is cut to a multiple of `after` and divided into `after` equal parts; a part is padding if
    all of it is. So a frame counts `num_samples // num_frames` samples, more than a hop, and the patch at position
    `8 * t + f` commonly the two frames `16 * t + 2 * f` and the next, not its sixteen.

    Args:
        length (`int`): Number of real samples.
        num_samples (`int`): Number of samples with padding.
        num_frames (`int`): Number of frames of the padded clip.
        num_patches (`int`): Number of its patches.

    Returns:
        `torch.LongTensor` of shape `(num_patches,)`: 1 for real patches, 0 for padding.
    """
    real = length
    for before, after in ((num_samples, num_frames), (num_frames, num_patches)):
        # Real values come first, so a part is real if its first value is.
        real = min(after, -(-real // (before // after)))
    return (torch.arange(num_patches) < real).long()


def _check_scale(mean: float, std: float) -> tuple[float, float]:
    if not np.isfinite(mean) or not 0 < std < np.inf:
        raise ValueError(f"`mean` must be finite and `std` positive, got {mean!r} and {std!r}.")
    return float(mean), float(std)


__all__ = ["BeatsFeatureExtractor"]
