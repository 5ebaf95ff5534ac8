"""Padding and truncation of sequences of ids."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from .token_ids import EOA_TOKEN_ID


def check_max_length(max_length: int | None) -> int:
    if max_length is None:
        raise ValueError("`truncation=True` needs `max_length`, in ids.")
    return max_length


def round_up(length: int, multiple: int | None) -> int:
    return length if multiple is None else -(-length // multiple) * multiple


def truncate(sequence: np.ndarray, limit: int) -> np.ndarray:
    if len(sequence) <= limit:
        return sequence
    cut = sequence[:limit].copy()
    if np.all(sequence[-1] == EOA_TOKEN_ID):
        cut[-1] = EOA_TOKEN_ID
    return cut


def to_columns(features: Any) -> dict[str, Any]:
    """A dict of lists, whichever way round the features come."""
    if isinstance(features, (list, tuple)):
        if not features or not all(isinstance(feature, Mapping) for feature in features):
            raise ValueError("The features to pad must be a dict of lists or a non-empty list of dicts.")
        return {key: [feature[key] for feature in features] for key in features[0]}
    return dict(features.items())


def to_numpy(sequence: Any) -> np.ndarray:
    return sequence.detach().cpu().numpy() if torch.is_tensor(sequence) else np.asarray(sequence)


def stack(values: Any) -> Any:
    same_shape = isinstance(values, list) and len({np.shape(value) for value in values}) == 1
    return np.stack([to_numpy(value) for value in values]) if same_shape else values
