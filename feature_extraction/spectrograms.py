"""Padding and truncation of spectrograms whose mask has one value per position of the model, not per frame."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.utils import PaddingStrategy, TensorType

from .sequences import round_up


class SpectrogramFeatureExtractor(SequenceFeatureExtractor):
    """
    Base class of feature extractors that return spectrograms of shape `(num_frames, num_mel_bins)`.

    The `pad` of transformers would make a mask of frames. Models that join frames into patches need one value per
    patch: a patch that reaches into the padding is padding.
    """

    model_input_names = ["input_features", "attention_mask"]

    def num_positions(self, num_frames: int) -> int:
        """Number of positions of the model in a spectrogram of `num_frames` frames."""
        raise NotImplementedError

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
