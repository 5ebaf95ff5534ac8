"""Feature extractor of Dasheng: waveforms to mel spectrograms in dB."""

from typing import Any

import numpy as np
import torch

from .mel_decibels import MelDecibels
from .spectrograms import SpectrogramFeatureExtractor, check_counts, with_silence


# Saved folders name the class. Should transformers bring a `DashengFeatureExtractor` of its own, it would be found
# first under that name; `DashengFeatureExtractor` below is the name for people.
class AudioFormerDashengFeatureExtractor(SpectrogramFeatureExtractor[MelDecibels]):
    r"""
    Constructs a Dasheng feature extractor: audio -> mel spectrogram in dB.

    A clip of `num_samples` samples at 16 kHz becomes `num_frames = 1 + num_samples // 160` frames of 64 mel bins in
    dB, at most `db_range` below the loudest of the clip. The model normalizes the bins itself. It joins 4 frames into
    a patch; clips shorter than a patch (480 samples) are extended by silence. Shorter clips of a batch are padded, and
    `attention_mask` says which patches are real: a clip has the same scores alone and in any batch.

    Args:
        feature_size (`int`, *optional*, defaults to 64):
            Number of mel bins.
        sampling_rate (`int`, *optional*, defaults to 16000):
            Rate in Hz that audio is resampled to.
        padding_value (`float`, *optional*, defaults to -100.0):
            Value of padded frames in dB; the default is digital silence.
        frames_per_patch (`int`, *optional*, defaults to 4):
            Frames per patch of the model.
        db_range (`float`, *optional*, defaults to 120.0):
            Values more than this below the maximum of a clip, in dB, are raised to it.
        official_padding (`bool`, *optional*, defaults to `False`):
            Whether to do as the authors' code does with a batch, for parity: waveforms are padded instead of
            spectrograms, the maximum is that of the whole batch, and a patch is real if 40 ms of the clip lie before
            its end. A clip then has other scores than alone.
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
    >>> from audioformer.feature_extraction import DashengFeatureExtractor

    >>> extractor = DashengFeatureExtractor()
    >>> inputs = extractor([first_clip, second_clip], sampling_rate=44100, return_tensors="pt")
    >>> inputs["input_features"].shape, inputs["attention_mask"].shape  # 10 s
    (torch.Size([2, 1001, 64]), torch.Size([2, 250]))
    ```"""

    patch_setting = "frames_per_patch"

    def __init__(
        self,
        feature_size: int = 64,
        sampling_rate: int = 16_000,
        padding_value: float = -100.0,
        frames_per_patch: int = 4,
        db_range: float = 120.0,
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
        check_counts(frames_per_patch=frames_per_patch)
        if not 0 < db_range < np.inf:
            raise ValueError(f"`db_range` must be a positive number of dB, got {db_range!r}.")
        self.frames_per_patch, self.db_range = frames_per_patch, float(db_range)
        self.official_padding = official_padding

    def make_spectrogram(self) -> MelDecibels:
        """A new module that computes spectrograms, on the CPU."""
        # Frames of 32 ms every 10 ms.
        lengths = {"frame_length": 4 * (self.sampling_rate // 125), "hop_length": self.sampling_rate // 100}
        return MelDecibels(self.feature_size, self.sampling_rate, **lengths)

    @property
    def min_samples(self) -> int:
        """Number of samples of the shortest clip that fills a patch and can be mirrored at its ends."""
        spectrogram = self.spectrogram
        return max((self.frames_per_patch - 1) * spectrogram.hop_length, spectrogram.frame_length // 2 + 1)

    def model_config(self) -> dict[str, int]:
        """Arguments of a `DashengConfig` that fits these spectrograms."""
        return {
            "num_mel_bins": self.feature_size,
            "frames_per_patch": self.frames_per_patch,
            "sampling_rate": self.sampling_rate,
            "hop_length": self.spectrogram.hop_length,
        }

    def num_positions(self, num_frames: int) -> int:
        """Number of patches in a spectrogram of `num_frames` frames."""
        return num_frames // self.frames_per_patch

    def compute(self, waveforms: list[np.ndarray]) -> dict[str, Any]:
        """The spectrograms of waveforms, and with `official_padding` the mask of the authors' rule."""
        lengths = [len(waveform) for waveform in waveforms]
        shortest = max(self.min_samples, *lengths) if self.official_padding else self.min_samples
        spectrograms = self.spectrogram.batch([with_silence(waveform, shortest) for waveform in waveforms])
        maxima = [clip.max() for clip in spectrograms]
        if self.official_padding:
            maxima = [torch.stack(maxima).max()] * len(spectrograms)
        spectrograms = [
            clip.clamp_(min=maximum - self.db_range) for clip, maximum in zip(spectrograms, maxima, strict=True)
        ]
        features: dict[str, Any] = {"input_features": [clip.cpu().numpy() for clip in spectrograms]}
        if self.official_padding:
            patches = self.num_positions(len(spectrograms[0]))
            features["attention_mask"] = [self._official_mask(length, patches) for length in lengths]
        return features

    def _official_mask(self, num_samples: int, num_patches: int) -> np.ndarray:
        """1 for the patches that the samples of a clip fill, 0 for the others, and 1 for at least one."""
        samples_per_patch = self.spectrogram.hop_length * self.frames_per_patch
        return (np.arange(num_patches) < max(1, num_samples // samples_per_patch)).astype(np.int64)


DashengFeatureExtractor = AudioFormerDashengFeatureExtractor


__all__ = ["DashengFeatureExtractor"]
