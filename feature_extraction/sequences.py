"""Ids as the extractor handles them: the special ones, rows asked for, cutting and stacking of sequences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

BOA_TOKEN_ID = 0
EOA_TOKEN_ID = 2
CODE_OFFSET = 3
"""Code `c` has the id `c + CODE_OFFSET`, after the three special ids BOA, PAD and EOA."""


def check_codebooks(codebooks: Any) -> int | list[int]:
    rows = list(codebooks) if isinstance(codebooks, (Sequence, np.ndarray)) else [codebooks]
    valid = all(isinstance(row, (int, np.integer)) and not isinstance(row, bool) and row >= 0 for row in rows)
    if not rows or not valid or len(set(rows)) != len(rows):
        raise ValueError(f"`codebooks` must be a row from 0 up, or a list of different rows, got {codebooks!r}.")
    rows = [int(row) for row in rows]
    return rows if isinstance(codebooks, (Sequence, np.ndarray)) else rows[0]


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
