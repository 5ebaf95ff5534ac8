"""Feature extractor of BEATs: waveforms to normalized log-mel spectrograms."""

import copy
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from transformers.utils import PaddingStrategy, TensorType

from .kaldi_filterbank import KaldiFilterbank
from .level import NORMALIZATION_SETTINGS, check_normalization, normalize_rms
from .spectrograms import SpectrogramFeatureExtractor
from .waveforms import prepare_waveforms


# Saved folders name the class. Should transformers bring a `BeatsFeatureExtractor` of its own, it would be found first
# under that name; `BeatsFeatureExtractor` below is the name for people.
class AudioFormerBeatsFeatureExtractor(SpectrogramFeatureExtractor):
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
        super().__init__(
            feature_size=feature_size,
            sampling_rate=sampling_rate,
            padding_value=padding_value,
            return_attention_mask=return_attention_mask,
            **kwargs,
        )
        self.mean, self.std = _check_scale(mean, std)
        self.patch_size = patch_size
        self.official_padding = official_padding
        self.normalize, self.target_rms, self.min_rms = check_normalization(normalize, target_rms, min_rms)
        self._device = "cpu"
        self._filterbank: KaldiFilterbank | None = None

    @property
    def filterbank(self) -> KaldiFilterbank:
        """The filterbank, on the device of the extractor."""
        if self._filterbank is None:
            # Frames of 25 ms every 10 ms.
            lengths = {"frame_length": self.sampling_rate // 40, "hop_length": self.sampling_rate // 100}
            with torch.inference_mode(False):
                self._filterbank = KaldiFilterbank(self.feature_size, self.sampling_rate, **lengths).to(self._device)
        return self._filterbank

    @property
    def normalization(self) -> dict[str, Any]:
        """The settings that decide the level of what the model reads; empty if waveforms are read as they are."""
        return {} if self.normalize is None else {name: getattr(self, name) for name in NORMALIZATION_SETTINGS}

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

    def to(self, device: Any) -> "AudioFormerBeatsFeatureExtractor":
        """Compute on `device` (`str`, `int` or `torch.device`) from now on. Features are still returned on the CPU."""
        self._device, self._filterbank = str(torch.device(device)), None
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
                `truncation=True`; at least `patch_size`.
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
        if max_length is not None and max_length < self.patch_size:
            raise ValueError(f"`max_length` counts frames and must be at least {self.patch_size}, got {max_length}.")
        waveforms = prepare_waveforms(raw_speech, sampling_rate, self.sampling_rate)
        if self.normalize == "rms":
            waveforms = [normalize_rms(waveform, self.target_rms, self.min_rms) for waveform in waveforms]
        # Tensors made in inference mode could not be used in training.
        with torch.inference_mode(False), torch.no_grad():
            lengths = [len(waveform) for waveform in waveforms]
            shortest = max(self.min_samples, *lengths) if self.official_padding else self.min_samples
            clips = [_with_silence(waveform, shortest) for waveform in waveforms]
            spectrograms = [self.scaled(clip).cpu().numpy() for clip in self.filterbank.batch(clips)]
            features: dict[str, Any] = {"input_features": spectrograms}
            if self.official_padding:
                num_samples, num_frames = len(clips[0]), len(spectrograms[0])
                patches = self.num_positions(num_frames)
                features["attention_mask"] = [
                    official_mask(length, num_samples, num_frames, patches).numpy() for length in lengths
                ]
            return self.pad(
                features,
                padding=padding,
                max_length=max_length,
                truncation=truncation,
                pad_to_multiple_of=pad_to_multiple_of,
                return_attention_mask=return_attention_mask,
                return_tensors=return_tensors,
            )

    def scaled(self, energies: torch.Tensor) -> torch.Tensor:
        """Log energies as the model reads them: `(energies - mean) / (2 * std)`."""
        return (energies - self.mean) / (2 * self.std)

    def to_dict(self) -> dict[str, Any]:
        """The settings as they are saved."""
        output = copy.deepcopy({key: value for key, value in self.__dict__.items() if not key.startswith("_")})
        output["feature_extractor_type"] = type(self).__name__
        return output

    def __getstate__(self) -> dict[str, Any]:
        # Computed anew from the settings, in every worker.
        return {**self.__dict__, "_filterbank": None}


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


def _with_silence(waveform: np.ndarray, num_samples: int) -> torch.Tensor:
    """A copy of a waveform as a tensor, extended to at least `num_samples` samples."""
    missing = max(0, num_samples - len(waveform))
    return torch.nn.functional.pad(torch.tensor(waveform, dtype=torch.float32), (0, missing))


__all__ = ["BeatsFeatureExtractor"]
