"""What feature extractors of spectrograms share: settings, waveforms in, and a mask per position of the model."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from torch import nn
from transformers import BatchFeature
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.utils import PaddingStrategy, TensorType

from .level import NORMALIZATION_SETTINGS, check_normalization, normalize_rms
from .sequences import round_up
from .waveforms import prepare_waveforms

FrontEnd = TypeVar("FrontEnd", bound=nn.Module)


class SpectrogramFeatureExtractor(SequenceFeatureExtractor, Generic[FrontEnd]):
    """
    Base class of feature extractors that return spectrograms of shape `(num_frames, num_mel_bins)`.

    A family defines `make_spectrogram`, `model_config`, `num_positions` and `compute`, and names its setting of frames
    per patch.

    The `pad` of transformers would make a mask of frames. Models that join frames into patches need one value per
    patch: a patch that reaches into the padding is padding.

    Args:
        feature_size (`int`):
            Number of mel bins.
        sampling_rate (`int`):
            Rate in Hz that audio is resampled to.
        padding_value (`float`):
            Value of padded frames.
        return_attention_mask (`bool`):
            Whether to return `attention_mask`.
        normalize (`str`, *optional*):
            `"rms"` multiplies each clip, after resampling, so that its root mean square is `target_rms`.
        target_rms (`float`):
            Root mean square after `normalize="rms"`, in amplitude, where 1 is full scale.
        min_rms (`float`):
            A clip whose root mean square is lower is amplified as one of this level.
        kwargs (`dict`, *optional*):
            Passed to [`SequenceFeatureExtractor`].

    Raises:
        ValueError: If a setting is out of range.
    """

    model_input_names = ["input_features", "attention_mask"]
    patch_setting = "patch_size"
    """Name of the setting that says how many frames are in a patch."""

    def __init__(
        self,
        feature_size: int,
        sampling_rate: int,
        padding_value: float,
        return_attention_mask: bool,
        normalize: str | None,
        target_rms: float,
        min_rms: float,
        **kwargs: Any,
    ):
        kwargs.pop("feature_extractor_type", None)
        if kwargs.pop("padding_side", "right") != "right":
            raise ValueError("`padding_side` must be 'right': patches are counted from the start of a clip.")
        check_counts(feature_size=feature_size, sampling_rate=sampling_rate)
        super().__init__(
            feature_size=feature_size,
            sampling_rate=sampling_rate,
            padding_value=padding_value,
            return_attention_mask=return_attention_mask,
            **kwargs,
        )
        self.normalize, self.target_rms, self.min_rms = check_normalization(normalize, target_rms, min_rms)
        self._device = "cpu"
        self._spectrogram: FrontEnd | None = None

    def make_spectrogram(self) -> FrontEnd:
        """A new module that computes spectrograms, on the CPU."""
        raise NotImplementedError

    def model_config(self) -> dict[str, int]:
        """Fields of the configuration of a model that fits these spectrograms."""
        raise NotImplementedError

    def num_positions(self, num_frames: int) -> int:
        """Number of positions of the model in a spectrogram of `num_frames` frames."""
        raise NotImplementedError

    def compute(self, waveforms: list[np.ndarray]) -> dict[str, Any]:
        """
        Compute what is padded.

        Args:
            waveforms (`list[np.ndarray]`): Clips of shape `(num_samples,)` as `prepared` returns them.

        Returns:
            `dict`: `input_features`, and `attention_mask` where it is not a 1 for each of `num_positions`.
        """
        raise NotImplementedError

    @property
    def spectrogram(self) -> FrontEnd:
        """The module that computes spectrograms, on the device of the extractor."""
        if self._spectrogram is None:
            with torch.inference_mode(False):
                self._spectrogram = self.make_spectrogram().to(self._device)
        return self._spectrogram

    @property
    def normalization(self) -> dict[str, Any]:
        """The settings that decide the level of what the model reads; empty if waveforms are read as they are."""
        return {} if self.normalize is None else {name: getattr(self, name) for name in NORMALIZATION_SETTINGS}

    def to(self, device: Any) -> Self:
        """Compute on `device` (`str`, `int` or `torch.device`) from now on. Features are still returned on the CPU."""
        self._device, self._spectrogram = str(torch.device(device)), None
        return self

    def prepared(self, raw_speech: Any, sampling_rate: float | None) -> list[np.ndarray]:
        """Clips of any kind as waveforms at the extractor's rate, and at its level if it has one."""
        waveforms = prepare_waveforms(raw_speech, sampling_rate, self.sampling_rate)
        if self.normalize == "rms":
            waveforms = [normalize_rms(waveform, self.target_rms, self.min_rms) for waveform in waveforms]
        return waveforms

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
        **changes: Any,
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
                `truncation=True`; at least those of a patch.
            truncation (`bool`, *optional*, defaults to `False`):
                Whether to cut longer clips.
            pad_to_multiple_of (`int`, *optional*):
                Round lengths that are padded or cut to up to a multiple of this.
            return_tensors (`str` or [`~utils.TensorType`], *optional*):
                `"pt"` or `"np"`; `None` gives NumPy arrays, in a list if their lengths differ.
            return_attention_mask (`bool`, *optional*):
                Whether to return `attention_mask`; by default the extractor's setting.
            changes (`dict`, *optional*):
                What the family's `compute` can change from clip to clip.

        Returns:
            [`BatchFeature`]: `input_features`, float32 of shape `(batch_size, num_frames, feature_size)`, and
            `attention_mask`, int64 of shape `(batch_size, num_patches)`.

        Raises:
            ValueError: If a clip is empty, is not finite, or has a wrong rank, type or rate (the message names the
                clip), or `max_length` leaves no room for a patch.
        """
        shortest = getattr(self, self.patch_setting)
        if max_length is not None and max_length < shortest:
            raise ValueError(f"`max_length` counts frames and must be at least {shortest}, got {max_length}.")
        waveforms = self.prepared(raw_speech, sampling_rate)
        # Tensors made in inference mode could not be used in training.
        with torch.inference_mode(False), torch.no_grad():
            return self.pad(
                self.compute(waveforms, **changes),
                padding=padding,
                max_length=max_length,
                truncation=truncation,
                pad_to_multiple_of=pad_to_multiple_of,
                return_attention_mask=return_attention_mask,
                return_tensors=return_tensors,
            )

    def pad(
        self,
        processed_features: Any,
        padding: bool | str | PaddingStrategy = True,
        max_length: int | None = None,
        truncation: bool = False,
        pad_to_multiple_of: int | None = None,
        return_attention_mask: bool | None = None,
        return_tensors: str | TensorType | None = None,
    ) -> BatchFeature:
        """
        Pad spectrograms to the same length, as a collator does.

        Args:
            processed_features ([`BatchFeature`], `dict` of lists, or list of `dict`):
                `input_features` of shape `(num_frames, num_mel_bins)`, and optionally `attention_mask` of shape
                `(num_positions,)`. Other entries, such as labels, are passed on.
            padding (`bool`, `str` or [`~utils.PaddingStrategy`], *optional*, defaults to `True`):
                `True` or `"longest"`, `"max_length"`, or `False`.
            max_length (`int`, *optional*):
                Length in frames to pad to with `padding="max_length"` and to cut to with `truncation=True`.
            truncation (`bool`, *optional*, defaults to `False`):
                Whether to cut longer spectrograms.
            pad_to_multiple_of (`int`, *optional*):
                Round lengths that are padded or cut to up to a multiple of this.
            return_attention_mask (`bool`, *optional*):
                Whether to return `attention_mask`; by default the extractor's setting.
            return_tensors (`str` or [`~utils.TensorType`], *optional*):
                `"pt"` or `"np"`. By default tensors if `input_features` are tensors, else NumPy arrays, in a list if
                their lengths differ.

        Returns:
            [`BatchFeature`]: The padded batch.

        Raises:
            ValueError: If `input_features` are missing, entries differ in number, or `max_length` is missing.
        """
        features = _columns(processed_features)
        if "input_features" not in features:
            raise ValueError(f"The features to pad must have 'input_features', got only {sorted(features)}.")
        given = features.pop("input_features")
        if return_tensors is None and len(given) and torch.is_tensor(given[0]):
            return_tensors = TensorType.PYTORCH
        if return_attention_mask is None:
            return_attention_mask = self.return_attention_mask
        round_up(0, pad_to_multiple_of)  # Refused even where nothing is padded.
        strategy = self._get_padding_strategies(padding=padding, max_length=max_length)

        spectrograms = [torch.as_tensor(spectrogram) for spectrogram in given]
        masks = features.pop("attention_mask", None)
        if masks is None:
            masks = [torch.ones(self.num_positions(len(clip)), dtype=torch.int64) for clip in spectrograms]
        masks = [torch.as_tensor(mask) for mask in masks]
        for key, values in {"attention_mask": masks, **features}.items():
            if len(values) != len(spectrograms):
                raise ValueError(f"{key!r} has {len(values)} entries for {len(spectrograms)} spectrograms.")

        if truncation:
            if max_length is None:
                raise ValueError("`truncation=True` needs `max_length`, in frames.")
            limit = round_up(max_length, pad_to_multiple_of)
            spectrograms = [clip[:limit] for clip in spectrograms]
            masks = [mask[: self.num_positions(limit)] for mask in masks]
        if strategy != PaddingStrategy.DO_NOT_PAD and spectrograms:
            longest = max_length if strategy == PaddingStrategy.MAX_LENGTH else max(map(len, spectrograms))
            assert longest is not None  # `_get_padding_strategies` raises an error otherwise.
            target = round_up(longest, pad_to_multiple_of)
            spectrograms = [_extended(clip, target, self.padding_value) for clip in spectrograms]
            masks = [_extended(mask, self.num_positions(target), 0) for mask in masks]

        batch: dict[str, Any] = {"input_features": _stacked(spectrograms)}
        if return_attention_mask:
            batch["attention_mask"] = _stacked(masks)
        if return_tensors is None:
            batch = {key: _to_numpy(value) for key, value in batch.items()}
        batch.update(features)
        return BatchFeature(batch, tensor_type=return_tensors)

    def to_dict(self) -> dict[str, Any]:
        """The settings as they are saved."""
        output = copy.deepcopy({key: value for key, value in self.__dict__.items() if not key.startswith("_")})
        output["feature_extractor_type"] = type(self).__name__
        return output

    def __getstate__(self) -> dict[str, Any]:
        # Computed anew from the settings, in every worker.
        return {**self.__dict__, "_spectrogram": None}


def check_counts(**values: Any) -> None:
    """
    Check settings that count something.

    Args:
        values (`dict`): Settings by their names.

    Raises:
        ValueError: If one is not a whole number of at least 1.
    """
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"`{name}` must be a whole number of at least 1, got {value!r}.")


def with_silence(waveform: np.ndarray, num_samples: int) -> torch.Tensor:
    """A copy of a waveform as a tensor, extended to at least `num_samples` samples."""
    missing = max(0, num_samples - len(waveform))
    return torch.nn.functional.pad(torch.tensor(waveform, dtype=torch.float32), (0, missing))


def _columns(features: Any) -> dict[str, Any]:
    """A dict of lists, also from a list of dicts."""
    if isinstance(features, (list, tuple)):
        if not features or not all(isinstance(feature, Mapping) for feature in features):
            raise ValueError("The features to pad must be a dict of lists or a non-empty list of dicts.")
        different = {key for feature in features for key in features[0].keys() ^ feature.keys()}
        if different:
            raise ValueError(f"The features to pad must have the same keys, but not all have {sorted(different)}.")
        return {key: [feature[key] for feature in features] for key in features[0]}
    return dict(features.items())


def _extended(values: torch.Tensor, length: int, padding: float) -> torch.Tensor:
    missing = max(0, length - len(values))
    return values if not missing else torch.cat((values, values.new_full((missing, *values.shape[1:]), padding)))


def _stacked(values: Sequence[torch.Tensor]) -> Any:
    return torch.stack(list(values)) if len({value.shape for value in values}) == 1 else list(values)


def _to_numpy(values: Any) -> np.ndarray | list[np.ndarray]:
    return values.numpy() if torch.is_tensor(values) else [value.numpy() for value in values]
