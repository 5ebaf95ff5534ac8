"""Which clips are used for training, for selecting the checkpoint, and for testing."""

from collections.abc import Sequence

import numpy as np
from datasets import Dataset
from sklearn.model_selection import StratifiedGroupKFold


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
        values = np.array(dataset[name][:], dtype=object)
        there = sorted({value for value in values if value is not None})
        unknown = [value for value in wanted if value not in there]
        if unknown:
            has = f"it has {there}" if there else f"the data have no {name}s"
            raise ValueError(f"`{name}` {unknown} is not in the data: {has}.")
        chosen &= np.isin(values, np.array(list(wanted), dtype=object))
    indices = np.flatnonzero(chosen)
    if not len(indices):
        raise ValueError(f"No clip is in the splits {splits} and the folds {folds} at once.")
    return indices


def held_out_split(
    targets: np.ndarray, share: float, seed: int, groups: Sequence[str | None] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Divide training clips into those used for training and those held out to select the checkpoint.

    The division is stratified by class or, where clips have several classes, by the rarest class of each clip. A group
    (one recording, one speaker) is never divided. If a class would have no training clips left, its clips are not held
    out.

    Args:
        targets (`np.ndarray` of shape `(num_clips,)` or `(num_clips, num_labels)`): Class indices, or multi-hot
            vectors.
        share (`float`): Share of the clips to hold out, in (0, 1); the nearest `1 / n` is used.
        seed (`int`): Determines which clips are held out.
        groups (sequence of length `num_clips`, *optional*): Group of each clip; `None` means a group of its own.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: Indices of the clips to train on, and of those held out, both ascending.

    Raises:
        ValueError: If there are too few clips or groups to hold any out.
    """
    targets = np.asarray(targets)
    num_parts = max(2, round(1 / share))
    if groups is None:
        groups = [None] * len(targets)
    names = np.array([f"group {group}" if group is not None else f"clip {i}" for i, group in enumerate(groups)])
    if len(np.unique(names)) < num_parts:
        raise ValueError(
            f"`held_out_share` {share} needs at least {num_parts} clips or groups of clips, got "
            f"{len(np.unique(names))}."
        )
    strata = _strata(targets)
    if np.unique(strata, return_counts=True)[1].max() < num_parts:
        # No class has one clip per part, so there are no proportions to keep.
        strata = np.zeros(len(targets), dtype=np.int64)
    parts = StratifiedGroupKFold(n_splits=num_parts, shuffle=True, random_state=seed)
    # scikit-learn warns about classes with fewer clips than parts; such classes are handled below.
    train, held_out = next(_quietly(parts.split(np.zeros(len(strata)), strata, names)))
    in_train = np.zeros(len(targets), dtype=bool)
    in_train[train] = True
    for label in range(targets.shape[1] if targets.ndim == 2 else int(targets.max()) + 1):
        has = targets[:, label] > 0 if targets.ndim == 2 else targets == label
        if has.any() and not (has & in_train).any():
            in_train |= np.isin(names, names[has])
    return np.flatnonzero(in_train), np.flatnonzero(~in_train)


def _strata(targets: np.ndarray) -> np.ndarray:
    if targets.ndim == 1:
        return targets
    # The rarest class of a clip matters most; clips without classes are a stratum of their own.
    counts = np.where(targets > 0, targets.sum(axis=0), np.inf)
    return np.where(targets.any(axis=1), counts.argmin(axis=1), targets.shape[1])


def _quietly(splits):
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The least populated class")
        yield from splits
