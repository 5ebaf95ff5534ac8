"""Feature extractor of MaskSpec: waveforms to normalized log-mel spectrograms."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from transformers.utils import PaddingStrategy, TensorType

from .emphasized_mel import SCALE, SHIFT, EmphasizedMel
from .level import NORMALIZATION_SETTINGS, check_normalization, normalize_rms
from .maskspec_statistics import AUDIOSET_MEAN, AUDIOSET_STD
from .spectrograms import SpectrogramFeatureExtractor
from .waveforms import prepare_waveforms


# Saved folders name the class. Should transformers bring a `MaskSpecFeatureExtractor` of its own, it would be found
# first under that name; `MaskSpecFeatureExtractor` below is the name for people.
class AudioFormerMaskSpecFeatureExtractor(SpectrogramFeatureExtractor):
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
        kwargs.pop("feature_extractor_type", None)
        if kwargs.pop("padding_side", "right") != "right":
            raise ValueError("`padding_side` must be 'right': patches are counted from the start of a clip.")
        for name, value in (
            ("feature_size", feature_size),
            ("sampling_rate", sampling_rate),
            ("patch_size", patch_size),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}.")
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
        super().__init__(
            feature_size=feature_size,
            sampling_rate=sampling_rate,
            padding_value=padding_value,
            return_attention_mask=return_attention_mask,
            **kwargs,
        )
        self.mean, self.std = check_statistics(mean, std, feature_size)
        self.lowpass_hz = None if lowpass_hz is None else float(lowpass_hz)
        self.stretch_to, self.patch_size, self.half_precision = stretch_to, patch_size, half_precision
        self.normalize, self.target_rms, self.min_rms = check_normalization(normalize, target_rms, min_rms)
        self._device = "cpu"
        self._spectrogram: EmphasizedMel | None = None

    @property
    def spectrogram(self) -> EmphasizedMel:
        """The module that computes log energies, on the device of the extractor."""
        if self._spectrogram is None:
            # Frames of 25 ms every 10 ms.
            lengths = {"frame_length": 2 * (self.sampling_rate // 80), "hop_length": self.sampling_rate // 100}
            with torch.inference_mode(False):
                self._spectrogram = EmphasizedMel(
                    self.feature_size, self.sampling_rate, **lengths, lowpass_hz=self.lowpass_hz
                ).to(self._device)
        return self._spectrogram

    @property
    def normalization(self) -> dict[str, Any]:
        """The settings that decide the level of what the model reads; empty if waveforms are read as they are."""
        return {} if self.normalize is None else {name: getattr(self, name) for name in NORMALIZATION_SETTINGS}

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

    def to(self, device: Any) -> "AudioFormerMaskSpecFeatureExtractor":
        """Compute on `device` (`str`, `int` or `torch.device`) from now on. Features are still returned on the CPU."""
        self._device, self._spectrogram = str(torch.device(device)), None
        return self

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
        waveforms = prepare_waveforms(raw_speech, sampling_rate, self.sampling_rate)
        if self.normalize == "rms":
            waveforms = [normalize_rms(waveform, self.target_rms, self.min_rms) for waveform in waveforms]
        # Tensors made in inference mode could not be used in training.
        with torch.inference_mode(False), torch.no_grad():
            clips = [_with_silence(waveform, self.min_samples) for waveform in waveforms]
            if self.half_precision:
                clips = [clip.half().float() for clip in clips]
            return [energies.cpu() for energies in self.spectrogram.batch(clips, mel_edges)]

    def __call__(
        self,
        raw_speech: Any,
        sampling_rate: float | None = None,
        padding: bool | str | PaddingStrategy = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_tensors: str | TensorType | None = None,
        return_attention_mask: bool | None = None,
        mel_edges: Sequence[tuple[float, float]] | None = None,
    ) -> BatchFeature:
        """
        Compute the spectrograms of one clip or a list of clips.

        Args:
            raw_speech (`np.ndarray`, `torch.Tensor`, `list[float]`, `dict`, decoder, or a list of these):
                A clip has the shape `(num_samples,)`, or `(num_channels, num_samples)`, of which the mean is taken. It
                holds floating-point samples, or integer PCM (uint8, int8, int16, int32), which is scaled to [-1, 1).
                It can also be a dict with `"array"` (or `"raw"`) and `"sampling_rate"`, or an item decoded by
                `datasets`. Pass several clips as a list; a single array is always one clip, and gives a batch of one.
                Read files with `audioformer.load_audio`.
            sampling_rate (`float`, *optional*):
                Rate in Hz of the clips that do not carry their own. Without it the extractor's rate is assumed, with a
                warning. Clips of another rate are resampled (soxr, high quality).
            padding (`bool`, `str` or [`~utils.PaddingStrategy`], *optional*, defaults to `True`):
                `True` or `"longest"`, `"max_length"`, or `False`.
            max_length (`int`, *optional*):
                Length in frames (100 per second) to pad to with `padding="max_length"` and to cut to with
                `truncation=True`; at least `patch_size`.
            truncation (`bool`, *optional*, defaults to `False`):
                Whether to cut longer clips.
            pad_to_multiple_of (`int`, *optional*):
                Round lengths that are padded or cut to up to a multiple of this.
            return_tensors (`str` or [`~utils.TensorType`], *optional*):
                `"pt"` or `"np"`; `None` gives NumPy arrays, in a list if their lengths differ.
            return_attention_mask (`bool`, *optional*):
                Whether to return `attention_mask`; by default the extractor's setting.
            mel_edges (sequence of pairs, *optional*):
                Lower edge of the first mel bin and upper edge of the last one, in Hz, for each clip; training with
                edges that differ from clip to clip is an augmentation of PaSST's. By default `mel_range`.

        Returns:
            [`BatchFeature`]: `input_features`, float32 of shape `(batch_size, num_frames, feature_size)`, and
            `attention_mask`, int64 of shape `(batch_size, num_patches)`.

        Raises:
            ValueError: If a clip is empty, is not finite, or has a wrong rank, type or rate (the message names the
                clip), or `max_length` leaves no room for a patch.
        """
        if max_length is not None and max_length < self.patch_size:
            raise ValueError(f"`max_length` counts frames and must be at least {self.patch_size}, got {max_length}.")
        energies = self.log_energies(raw_speech, sampling_rate, mel_edges)
        with torch.inference_mode(False), torch.no_grad():
            return self.pad(
                {"input_features": [self.stretched(self.scaled(clip)).numpy() for clip in energies]},
                padding=padding,
                max_length=max_length,
                truncation=truncation,
                pad_to_multiple_of=pad_to_multiple_of,
                return_attention_mask=return_attention_mask,
                return_tensors=return_tensors,
            )

    def scaled(self, energies: torch.Tensor) -> torch.Tensor:
        """Log energies as the model reads them: `(energies - mean) / std` in each bin."""
        return (energies - energies.new_tensor(self.mean)) / energies.new_tensor(self.std)

    def stretched(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """A spectrogram of at least `stretch_to` frames, if that is set."""
        if self.stretch_to is None or len(spectrogram) >= self.stretch_to:
            return spectrogram
        size = (self.stretch_to, spectrogram.shape[1])
        return torch.nn.functional.interpolate(spectrogram[None, None], size, mode="bicubic", align_corners=True)[0, 0]

    def to_dict(self) -> dict[str, Any]:
        """The settings as they are saved."""
        output = copy.deepcopy({key: value for key, value in self.__dict__.items() if not key.startswith("_")})
        output["feature_extractor_type"] = type(self).__name__
        return output

    def __getstate__(self) -> dict[str, Any]:
        # Computed anew from the settings, in every worker.
        return {**self.__dict__, "_spectrogram": None}


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


def _with_silence(waveform: np.ndarray, num_samples: int) -> torch.Tensor:
    """A copy of a waveform as a tensor, extended to at least `num_samples` samples."""
    missing = max(0, num_samples - len(waveform))
    return torch.nn.functional.pad(torch.tensor(waveform, dtype=torch.float32), (0, missing))


__all__ = ["MaskSpecFeatureExtractor"]
