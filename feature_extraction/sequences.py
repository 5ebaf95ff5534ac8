"""Padding and truncation of sequences of ids."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor
from transformers.utils import PaddingStrategy, TensorType

from .token_ids import EOA_TOKEN_ID


class TokenIdFeatureExtractor(SequenceFeatureExtractor):
    """
    Base class of feature extractors that return token ids.

    The `pad` of transformers takes sequences of numbers; this one also takes ids of several codebooks, of shape
    `(sequence_length, num_codebooks)`, and its truncation keeps EOA.
    """

    model_input_names = ["input_ids", "attention_mask"]

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
        Pad sequences of ids to the same length, as a collator does.

        Args:
            processed_features ([`BatchFeature`], `dict` of lists, or list of `dict`):
                `input_ids` of shape `(sequence_length,)` or `(sequence_length, num_codebooks)`, and optionally
                `attention_mask` of shape `(sequence_length,)`. Other entries, such as labels, are passed on; they must
                have one value per sequence.
            padding (`bool`, `str` or [`~utils.PaddingStrategy`], *optional*, defaults to `True`):
                `True` or `"longest"`, `"max_length"`, or `False`.
            max_length (`int`, *optional*):
                Length in ids to pad to with `padding="max_length"` and to cut to with `truncation=True`.
            truncation (`bool`, *optional*, defaults to `False`):
                Whether to cut longer sequences. If a sequence ends with EOA, so does what remains of it.
            pad_to_multiple_of (`int`, *optional*):
                Round lengths that are padded or cut to up to a multiple of this.
            return_attention_mask (`bool`, *optional*):
                Whether to return `attention_mask`; by default the extractor's setting.
            return_tensors (`str` or [`~utils.TensorType`], *optional*):
                `"pt"` or `"np"`. By default tensors if `input_ids` are tensors, else NumPy arrays, in a list if their
                lengths differ.

        Returns:
            [`BatchFeature`]: The padded batch.

        Raises:
            ValueError: If `input_ids` are missing, entries differ in number, or `max_length` is missing.
        """
        features = _to_columns(processed_features)
        name = self.model_input_names[0]
        if name not in features:
            raise ValueError(f"The features to pad must have {name!r}, got only {sorted(features)}.")
        if return_tensors is None and len(features[name]) and torch.is_tensor(features[name][0]):
            return_tensors = TensorType.PYTORCH
        if return_attention_mask is None:
            return_attention_mask = self.return_attention_mask
        round_up(0, pad_to_multiple_of)  # Refused even where nothing is padded.
        strategy = self._get_padding_strategies(padding=padding, max_length=max_length)

        sequences = [_to_numpy(sequence) for sequence in features.pop(name)]
        masks = features.pop("attention_mask", None)
        masks = [np.ones(len(x), np.int64) for x in sequences] if masks is None else [_to_numpy(x) for x in masks]
        for key, values in {"attention_mask": masks, **features}.items():
            if len(values) != len(sequences):
                raise ValueError(f"{key!r} has {len(values)} entries for {len(sequences)} sequences of {name!r}.")

        if truncation:
            limit = round_up(check_max_length(max_length), pad_to_multiple_of)
            sequences = [_truncate(sequence, limit) for sequence in sequences]
            masks = [mask[:limit] for mask in masks]
        if strategy != PaddingStrategy.DO_NOT_PAD and sequences:
            if strategy == PaddingStrategy.LONGEST:
                length = max(len(sequence) for sequence in sequences)
            else:
                assert max_length is not None  # `_get_padding_strategies` raises an error otherwise.
                length = max_length
            target = round_up(length, pad_to_multiple_of)
            sequences = [self._pad_to(sequence, target, self.padding_value) for sequence in sequences]
            masks = [self._pad_to(mask, target, 0) for mask in masks]

        batch = {name: sequences}
        if return_attention_mask:
            batch["attention_mask"] = masks
        batch.update(features)
        if return_tensors is None:
            batch = {key: _stack(values) for key, values in batch.items()}
        return BatchFeature(batch, tensor_type=return_tensors)

    def _pad_to(self, sequence: np.ndarray, length: int, value: float) -> np.ndarray:
        missing = max(0, length - len(sequence))
        widths = (0, missing) if self.padding_side == "right" else (missing, 0)
        return np.pad(sequence, [widths] + [(0, 0)] * (sequence.ndim - 1), constant_values=value)


def check_max_length(max_length: int | None) -> int:
    """Require `max_length`.

    Raises:
        ValueError: If it is `None`.
    """
    if max_length is None:
        raise ValueError("`truncation=True` needs `max_length`, in ids.")
    return max_length


def round_up(length: int, multiple: int | None) -> int:
    """Round a length up to a multiple, if there is one.

    Raises:
        ValueError: If `multiple` is not a whole number of at least 1.
    """
    if multiple is not None and (not isinstance(multiple, (int, np.integer)) or multiple < 1):
        raise ValueError(f"`pad_to_multiple_of` must be a whole number of at least 1, got {multiple!r}.")
    return length if multiple is None else -(-length // multiple) * multiple


def _truncate(sequence: np.ndarray, limit: int) -> np.ndarray:
    if len(sequence) <= limit:
        return sequence
    cut = sequence[:limit].copy()
    if np.all(sequence[-1] == EOA_TOKEN_ID):
        cut[-1] = EOA_TOKEN_ID
    return cut


def _to_columns(features: Any) -> dict[str, Any]:
    """A dict of lists, also from a list of dicts."""
    if isinstance(features, (list, tuple)):
        if not features or not all(isinstance(feature, Mapping) for feature in features):
            raise ValueError("The features to pad must be a dict of lists or a non-empty list of dicts.")
        for position, feature in enumerate(features, start=1):
            different = features[0].keys() ^ feature.keys()
            if different:
                raise ValueError(
                    f"The features to pad must have the same keys, but {', '.join(map(repr, sorted(different)))} are "
                    f"only in one of feature 1 and feature {position} of {len(features)}."
                )
        return {key: [feature[key] for feature in features] for key in features[0]}
    return dict(features.items())


def _to_numpy(sequence: Any) -> np.ndarray:
    return sequence.detach().cpu().numpy() if torch.is_tensor(sequence) else np.asarray(sequence)


def _stack(values: Any) -> Any:
    same_shape = isinstance(values, list) and len({np.shape(value) for value in values}) == 1
    return np.stack([_to_numpy(value) for value in values]) if same_shape else values
