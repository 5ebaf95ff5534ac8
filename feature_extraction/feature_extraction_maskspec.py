"""Feature extractor of MaskSpec: waveforms to normalized log-mel spectrograms."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from .emphasized_mel import SCALE, SHIFT, EmphasizedMel
from .maskspec_statistics import AUDIOSET_MEAN, AUDIOSET_STD
from .spectrograms import SpectrogramFeatureExtractor, check_counts, with_silence


# Saved folders name the class. Should transformers bring a `MaskSpecFeatureExtractor` of its own, it would be found
# first under that name; `MaskSpecFeatureExtractor` below is the name for people.
class AudioFormerMaskSpecFeatureExtractor(SpectrogramFeatureExtractor[EmphasizedMel]):
    r"""
    Constructs a MaskSpec feature extractor: audio -> log-mel spectrogram -> normalized mel bins.

    A clip of `num_samples` samples at 32 kHz becomes `num_frames = 1 + (num_samples - 1) // 320` frames of 128 log
    energies up to 15 kHz, each bin normalized as `(x - mean) / std`. The model joins 16 frames and 16 bins into a
    patch; clips shorter than a patch (4801 samples) are extended by silence. Shorter clips of a batch are padded, and
    `attention_mask` says which patches are real: a clip has the same scores alone and in any batch.

    Args:
        feature_size (`int`, *optional*, defaults to 128):
            Number of mel bins.
        sampling_rate (`int`, *optional*, defaults to 32000):
            Rate in Hz that audio is resampled to.
        padding_value (`float`, *optional*, defaults to 0.0):
            Value of padded frames, after normalization.
        mean (`float` or `list[float]`, *optional*):
            Mean of the log energies, of all bins or of each. By default those of AudioSet, with which the released
            models were trained; they need `feature_size` 128.
        std (`float` or `list[float]`, *optional*):
            Standard deviation of the log energies, of all bins or of each; same default.
        lowpass_hz (`float`, *optional*):
            Energy above this frequency in Hz counts as none. AudioSet was encoded as MP3 when the default statistics
            were measured: above 12 kHz its deviation is only 0.04, and audio that has energy there is tens of
            deviations away from anything that the released models have seen. `11900` makes such audio look as MP3
            does. By default nothing is left out, as in the authors' code.
        stretch_to (`int`, *optional*):
            Number of frames that shorter clips are stretched to, bicubically, as the authors' code does with clips of
            less than 1000 frames. By default clips keep their length, and the model reads as many columns of patches.
        patch_size (`int`, *optional*, defaults to 16):
            Frames and mel bins per patch of the model.
        half_precision (`bool`, *optional*, defaults to `False`):
            Whether waveforms are rounded to float16 first, for parity: the authors' models do it.
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
    >>> from audioformer.feature_extraction import MaskSpecFeatureExtractor

    >>> extractor = MaskSpecFeatureExtractor()
    >>> inputs = extractor([first_clip, second_clip], sampling_rate=44100, return_tensors="pt")
    >>> inputs["input_features"].shape, inputs["attention_mask"].shape  # 10 s
    (torch.Size([2, 1000, 128]), torch.Size([2, 496]))
    ```"""

    def __init__(
        self,
        feature_size: int = 128,
        sampling_rate: int = 32_000,
        padding_value: float = 0.0,
        mean: float | Sequence[float] | None = None,
        std: float | Sequence[float] | None = None,
        lowpass_hz: float | None = None,
        stretch_to: int | None = None,
        patch_size: int = 16,
        half_precision: bool = False,
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
        if sampling_rate < 8000:
            raise ValueError(f"`sampling_rate` must be at least 8000, got {sampling_rate}.")
        if lowpass_hz is not None and not 0 < lowpass_hz < np.inf:
            raise ValueError(f"`lowpass_hz` must be a positive number of Hz, got {lowpass_hz!r}.")
        if stretch_to is not None and (not isinstance(stretch_to, int) or stretch_to < patch_size):
            raise ValueError(
                f"`stretch_to` must be a whole number of frames, at least `patch_size` ({patch_size}), got "
                f"{stretch_to!r}."
            )
        self.mean, self.std = check_statistics(mean, std, feature_size)
        self.lowpass_hz = None if lowpass_hz is None else float(lowpass_hz)
        self.stretch_to, self.patch_size, self.half_precision = stretch_to, patch_size, half_precision

    def make_spectrogram(self) -> EmphasizedMel:
        """A new module that computes log energies, on the CPU."""
        # Frames of 25 ms every 10 ms.
        lengths = {"frame_length": 2 * (self.sampling_rate // 80), "hop_length": self.sampling_rate // 100}
        return EmphasizedMel(self.feature_size, self.sampling_rate, **lengths, lowpass_hz=self.lowpass_hz)

    @property
    def min_samples(self) -> int:
        """Number of samples of the shortest clip that fills a patch and can be mirrored at its ends."""
        spectrogram = self.spectrogram
        return max((self.patch_size - 1) * spectrogram.hop_length + 1, spectrogram.min_samples)

    def model_config(self) -> dict[str, int]:
        """Arguments of a `MaskSpecConfig` that fits these spectrograms."""
        return {
            "num_mel_bins": self.feature_size,
            "patch_size": self.patch_size,
            "sampling_rate": self.sampling_rate,
            "hop_length": self.spectrogram.hop_length,
        }

    def num_positions(self, num_frames: int) -> int:
        """Number of patches in a spectrogram of `num_frames` frames."""
        return num_frames // self.patch_size * (self.feature_size // self.patch_size)

    def with_settings(self, **changes: Any) -> "AudioFormerMaskSpecFeatureExtractor":
        """
        Make a copy with other settings.

        Args:
            changes (`dict`):
                Arguments of the class, such as `mean`, `std` or `lowpass_hz`; `None` leaves a setting as it is.

        Returns:
            `MaskSpecFeatureExtractor`: The copy; this extractor is not changed.

        Raises:
            ValueError: If a setting is out of range.
        """
        given = {name: value for name, value in changes.items() if value is not None}
        return type(self)(**{**self.to_dict(), **given}).to(self._device) if given else self

    @property
    def mel_range(self) -> tuple[float, float]:
        """Lower edge of the first mel bin and upper edge of the last one in Hz."""
        return self.spectrogram.mel_range

    @property
    def mask_values(self) -> torch.Tensor:
        """What masks in training hold, float32 of shape `(feature_size,)`: log energies of 0, as the authors' do."""
        return self.scaled(torch.full((self.feature_size,), SHIFT / SCALE))

    def log_energies(
        self,
        raw_speech: Any,
        sampling_rate: float | None = None,
        mel_edges: Sequence[tuple[float, float]] | None = None,
    ) -> list[torch.Tensor]:
        """
        Compute log energies, which `mean` and `std` are statistics of.

        Args:
            raw_speech, sampling_rate, mel_edges:
                As in [`MaskSpecFeatureExtractor.__call__`].

        Returns:
            `list[torch.FloatTensor]`: Per clip an array of shape `(num_frames, feature_size)`.

        Raises:
            ValueError: As in [`MaskSpecFeatureExtractor.__call__`].
        """
        waveforms = self.prepared(raw_speech, sampling_rate)
        # Tensors made in inference mode could not be used in training.
        with torch.inference_mode(False), torch.no_grad():
            return self._log_energies(waveforms, mel_edges)

    def _log_energies(
        self, waveforms: list[np.ndarray], mel_edges: Sequence[tuple[float, float]] | None = None
    ) -> list[torch.Tensor]:
        clips = [with_silence(waveform, self.min_samples) for waveform in waveforms]
        if self.half_precision:
            clips = [clip.half().float() for clip in clips]
        return [energies.cpu() for energies in self.spectrogram.batch(clips, mel_edges)]

    def compute(
        self, waveforms: list[np.ndarray], mel_edges: Sequence[tuple[float, float]] | None = None
    ) -> dict[str, Any]:
        """
        The spectrograms of waveforms: their log energies, scaled, and stretched if `stretch_to` says so.

        Args:
            waveforms (`list[np.ndarray]`):
                Prepared waveforms.
            mel_edges (sequence of pairs, *optional*):
                Lower edge of the first mel bin and upper edge of the last one, in Hz, for each clip; training with
                edges that differ from clip to clip is an augmentation of PaSST's. By default `mel_range`.
        """
        energies = self._log_energies(waveforms, mel_edges)
        return {"input_features": [self.stretched(self.scaled(clip)).numpy() for clip in energies]}

    def scaled(self, energies: torch.Tensor) -> torch.Tensor:
        """Log energies as the model reads them: `(energies - mean) / std` in each bin."""
        return (energies - energies.new_tensor(self.mean)) / energies.new_tensor(self.std)

    def stretched(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """A spectrogram of at least `stretch_to` frames, if that is set."""
        if self.stretch_to is None or len(spectrogram) >= self.stretch_to:
            return spectrogram
        size = (self.stretch_to, spectrogram.shape[1])
        return torch.nn.functional.interpolate(spectrogram[None, None], size, mode="bicubic", align_corners=True)[0, 0]


MaskSpecFeatureExtractor = AudioFormerMaskSpecFeatureExtractor


def check_statistics(
    mean: float | Sequence[float] | None, std: float | Sequence[float] | None, feature_size: int
) -> tuple[list[float], list[float]]:
    """
    Mean and standard deviation of every mel bin.

    Args:
        mean (`float` or sequence of `float`, *optional*): Of all bins or of each; by default those of AudioSet.
        std (`float` or sequence of `float`, *optional*): The same.
        feature_size (`int`): Number of mel bins.

    Returns:
        `tuple[list[float], list[float]]`: Of `feature_size` values each.

    Raises:
        ValueError: If their number is another one, a mean is not finite, or a standard deviation is not positive.
    """
    found = []
    for name, value, default in (("mean", mean, AUDIOSET_MEAN), ("std", std, AUDIOSET_STD)):
        values = default if value is None else value
        values = [float(one) for one in (values if isinstance(values, Sequence) else [values] * feature_size)]
        if len(values) != feature_size:
            raise ValueError(
                f"`{name}` must be one number or one for each of the {feature_size} mel bins, got {len(values)}"
                f"{', those of AudioSet: give your own' if value is None else ''}."
            )
        if not np.isfinite(values).all() or (name == "std" and min(values) <= 0):
            raise ValueError(f"`mean` must be finite and `std` positive, got `{name}` with {min(values)}.")
        found.append(values)
    return found[0], found[1]


__all__ = ["MaskSpecFeatureExtractor"]
