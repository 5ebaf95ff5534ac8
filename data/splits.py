"""Which clips are used for training, for selecting the checkpoint, and for testing."""

from collections.abc import Sequence
from math import ceil

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from scipy.sparse import csr_array, issparse

from .stratification import stratified_holdout


def select_split(
    dataset: Dataset, splits: Sequence[str] | None = None, folds: Sequence[int] | None = None
) -> np.ndarray:
    """Find the clips of some splits and folds.

    Args:
        dataset (`datasets.Dataset` of `num_clips` rows): Has the columns `split` and `fold`.
        splits (sequence of `str`, *optional*): Splits to select; by default all.
        folds (sequence of `int`, *optional*): Folds to select; by default all.

    Returns:
        `np.ndarray`: Indices of the clips that are in one of the splits and in one of the folds, ascending.

    Raises:
        ValueError: If a split or fold does not exist (the message lists those that do), or no clip is left.
    """
    chosen = np.ones(len(dataset), dtype=bool)
    for name, wanted in (("split", splits), ("fold", folds)):
        if wanted is None:
            continue
        column = dataset.select_columns([name]).with_format("arrow")[:][name]
        there = sorted(column.unique().drop_null().to_pylist())
        unknown = [value for value in wanted if value not in there]
        if unknown:
            has = f"it has {there}" if there else f"the data have no {name}s"
            raise ValueError(f"`{name}` {unknown} is not in the data: {has}.")
        chosen &= pc.is_in(column, value_set=pa.array(list(wanted), type=column.type)).to_numpy()
    indices = np.flatnonzero(chosen)
    if not len(indices):
        raise ValueError(f"No clip is in the splits {splits} and the folds {folds} at once.")
    return indices


def held_out_split(
    targets: np.ndarray | csr_array,
    share: float,
    seed: int,
    groups: Sequence[str | None] | pa.ChunkedArray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Divide training clips into those used for training and those held out to select the checkpoint.

    The division is stratified by class, or by all classes of each clip (iterative stratification). A group (one
    recording, one speaker) is never divided. If a class would have no training clips left, its clips are not held out.

    Args:
        targets (`np.ndarray` of shape `(num_clips,)` or `(num_clips, num_labels)`, or `scipy.sparse.csr_array`): Class
            indices, or multi-hot vectors, which are best sparse where there are many.
        share (`float`): Share of the clips to hold out, in (0, 1); the nearest `1 / n` is used.
        seed (`int`): Determines which clips are held out.
        groups (sequence or `pyarrow.ChunkedArray` of length `num_clips`, *optional*): Group of each clip; `None` means
            a group of its own.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: Indices of the clips to train on, and of those held out, both ascending.

    Raises:
        ValueError: If there are too few clips or groups to hold any out.
    """
    labels = _as_sparse(targets)
    num_parts = max(2, round(1 / share))
    indices = _group_indices(groups, labels.shape[0])
    num_groups = int(indices.max(initial=-1)) + 1
    if num_groups < num_parts:
        # Rounded up: a share below 1 / num_groups would need one group more.
        enough = f" A share of {ceil(100 / num_groups) / 100:g} is enough for them." if num_groups > 1 else ""
        raise ValueError(
            f"`held_out_share` {share} needs at least {num_parts} clips or groups of clips, got {num_groups}.{enough}"
        )
    is_held_out = stratified_holdout(labels, indices, 1 / num_parts, seed)
    return np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)


def _as_sparse(targets: np.ndarray | csr_array) -> csr_array:
    if issparse(targets):
        return csr_array(targets)
    targets = np.asarray(targets)
    if targets.ndim == 2:
        return csr_array(targets > 0)
    rows, ones = np.arange(len(targets)), np.ones(len(targets), dtype=np.uint8)
    return csr_array((ones, (rows, targets)), shape=(len(targets), int(targets.max(initial=-1)) + 1))


def _group_indices(groups: Sequence[str | None] | pa.ChunkedArray | None, num_clips: int) -> np.ndarray:
    """Number the groups from 0, without gaps; a clip without a group is one of its own."""
    if groups is None:
        return np.arange(num_clips)
    column = groups if isinstance(groups, pa.ChunkedArray) else pa.chunked_array([pa.array(groups, type=pa.string())])
    encoded = column.combine_chunks().dictionary_encode()
    indices = encoded.indices.fill_null(-1).to_numpy().astype(np.int64)
    alone = np.flatnonzero(indices < 0)
    indices[alone] = len(encoded.dictionary) + np.arange(len(alone))
    return indices
