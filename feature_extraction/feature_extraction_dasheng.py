"""Feature extractor of Dasheng: waveforms to mel spectrograms in dB."""

import copy
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from transformers.utils import PaddingStrategy, TensorType

from .level import NORMALIZATION_SETTINGS, check_normalization, normalize_rms
from .mel_decibels import MelDecibels
from .spectrograms import SpectrogramFeatureExtractor
from .waveforms import prepare_waveforms


# Saved folders name the class. Should transformers bring a `DashengFeatureExtractor` of its own, it would be found
# first under that name; `DashengFeatureExtractor` below is the name for people.
class AudioFormerDashengFeatureExtractor(SpectrogramFeatureExtractor):
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
        kwargs.pop("feature_extractor_type", None)
        if kwargs.pop("padding_side", "right") != "right":
            raise ValueError("`padding_side` must be 'right': patches are counted from the start of a clip.")
        for name, value in (
            ("feature_size", feature_size),
            ("sampling_rate", sampling_rate),
            ("frames_per_patch", frames_per_patch),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}.")
        if not 0 < db_range < np.inf:
            raise ValueError(f"`db_range` must be a positive number of dB, got {db_range!r}.")
        super().__init__(
            feature_size=feature_size,
            sampling_rate=sampling_rate,
            padding_value=padding_value,
            return_attention_mask=return_attention_mask,
            **kwargs,
        )
        self.frames_per_patch, self.db_range = frames_per_patch, float(db_range)
        self.official_padding = official_padding
        self.normalize, self.target_rms, self.min_rms = check_normalization(normalize, target_rms, min_rms)
        self._device = "cpu"
        self._spectrogram: MelDecibels | None = None

    @property
    def spectrogram(self) -> MelDecibels:
        """The module that computes spectrograms, on the device of the extractor."""
        if self._spectrogram is None:
            # Frames of 32 ms every 10 ms.
            lengths = {"frame_length": 4 * (self.sampling_rate // 125), "hop_length": self.sampling_rate // 100}
            with torch.inference_mode(False):
                self._spectrogram = MelDecibels(self.feature_size, self.sampling_rate, **lengths).to(self._device)
        return self._spectrogram

    @property
    def normalization(self) -> dict[str, Any]:
        """The settings that decide the level of what the model reads; empty if waveforms are read as they are."""
        return {} if self.normalize is None else {name: getattr(self, name) for name in NORMALIZATION_SETTINGS}

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

    def to(self, device: Any) -> "AudioFormerDashengFeatureExtractor":
        """Compute on `device` (`str`, `int` or `torch.device`) from now on. Features are still returned on the CPU."""
        self._device, self._spectrogram = str(torch.device(device)), None
        return self

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
                `truncation=True`; at least `frames_per_patch`.
            truncation (`bool`, *optional*, defaults to `False`):
                Whether to cut longer clips.
            pad_to_multiple_of (`int`, *optional*):
                Round lengths that are padded or cut to up to a multiple of this.
            return_tensors (`str` or [`~utils.TensorType`], *optional*):
                `"pt"` or `"np"`; `None` gives NumPy arrays, in a list if their lengths differ.
            return_attention_mask (`bool`, *optional*):
                Whether to return `attention_mask`; by default the extractor's setting.

        Returns:
            [`BatchFeature`]: `input_features`, float32 of shape `(batch_size, num_frames, feature_size)`, and
            `attention_mask`, int64 of shape `(batch_size, num_patches)`.

        Raises:
            ValueError: If a clip is empty, is not finite, or has a wrong rank, type or rate (the message names the
                clip), or `max_length` leaves no room for a patch.
        """
        if max_length is not None and max_length < self.frames_per_patch:
            raise ValueError(
                f"`max_length` counts frames and must be at least {self.frames_per_patch}, got {max_length}."
            )
        waveforms = prepare_waveforms(raw_speech, sampling_rate, self.sampling_rate)
        if self.normalize == "rms":
            waveforms = [normalize_rms(waveform, self.target_rms, self.min_rms) for waveform in waveforms]
        # Tensors made in inference mode could not be used in training.
        with torch.inference_mode(False), torch.no_grad():
            lengths = [len(waveform) for waveform in waveforms]
            shortest = max(self.min_samples, *lengths) if self.official_padding else self.min_samples
            clips = [_with_silence(waveform, shortest) for waveform in waveforms]
            spectrograms = self.spectrogram.batch(clips)
            maxima = [clip.max() for clip in spectrograms]
            if self.official_padding:
                maxima = [torch.stack(maxima).max()] * len(clips)
            spectrograms = [
                clip.clamp_(min=maximum - self.db_range) for clip, maximum in zip(spectrograms, maxima, strict=True)
            ]
            features: dict[str, Any] = {"input_features": [clip.cpu().numpy() for clip in spectrograms]}
            if self.official_padding:
                patches = self.num_positions(len(spectrograms[0]))
                features["attention_mask"] = [self._official_mask(length, patches) for length in lengths]
            return self.pad(
                features,
                padding=padding,
                max_length=max_length,
                truncation=truncation,
                pad_to_multiple_of=pad_to_multiple_of,
                return_attention_mask=return_attention_mask,
                return_tensors=return_tensors,
            )

    def _official_mask(self, num_samples: int, num_patches: int) -> np.ndarray:
        """1 for the patches that the samples of a clip fill, 0 for the others, and 1 for at least one."""
        samples_per_patch = self.spectrogram.hop_length * self.frames_per_patch
        return (np.arange(num_patches) < max(1, num_samples // samples_per_patch)).astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """The settings as they are saved."""
        output = copy.deepcopy({key: value for key, value in self.__dict__.items() if not key.startswith("_")})
        output["feature_extractor_type"] = type(self).__name__
        return output

    def __getstate__(self) -> dict[str, Any]:
        # Computed anew from the settings, in every worker.
        return {**self.__dict__, "_spectrogram": None}


DashengFeatureExtractor = AudioFormerDashengFeatureExtractor


def _with_silence(waveform: np.ndarray, num_samples: int) -> torch.Tensor:
    """A copy of a waveform as a tensor, extended to at least `num_samples` samples."""
    missing = max(0, num_samples - len(waveform))
    return torch.nn.functional.pad(torch.tensor(waveform, dtype=torch.float32), (0, missing))


__all__ = ["DashengFeatureExtractor"]
