"""Which clips a probe learns from, and which it is tested on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audioformer.data.clips import Clips
from audioformer.data.splits import held_out_split, select_split

from ..arguments import DataArguments
from ..clip_splits import TRAIN, test_indices, train_indices
from ..results import notes_on_groups

HELD_OUT_SEED = 42
"""Seed of the choice of held-out clips: all models and seeds of probes are tested on the same."""


@dataclass(frozen=True)
class Partition:
    """One division of the clips.

    Args:
        name (`str`): What is tested, such as `"fold 3"`.
        train (`np.ndarray`): Indices of the clips to learn from.
        test (`np.ndarray`): Indices of the clips to test on. Where these come from a source of their own, its clips
            follow those of the data.
    """

    name: str
    train: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class Partitions:
    """All divisions of a run; each clip is tested once at most.

    Args:
        parts (sequence of [`Partition`]): The divisions.
        tested_on (`str`): What the test clips are, as in "80 test clips".
        notes (sequence of `str`): What a reader has to know.
    """

    parts: Sequence[Partition]
    tested_on: str
    notes: Sequence[str] = ()

    @property
    def test(self) -> np.ndarray:
        """Indices of all test clips, in the order in which they are tested."""
        return np.concatenate([part.test for part in self.parts])


def check_division(data: DataArguments, cross_validate: bool, has_test_source: bool) -> None:
    """Check that the settings do not ask for two divisions at once.

    Raises:
        ValueError: If they do.
    """
    given = [f"`{name}`" for name in ("eval_split", "eval_folds") if getattr(data, name) is not None]
    if has_test_source:
        given.append("a separate source to test on")
    if cross_validate and given:
        raise ValueError(f"`cross_validate` tests every fold in turn: it excludes {' and '.join(given)}.")
    if has_test_source and len(given) > 1:
        raise ValueError(f"{' and '.join(given[:-1])} of the data, or {given[-1]}: give one of them.")


def divide(data: DataArguments, clips: Clips, test: Clips | None, cross_validate: bool) -> Partitions:
    """Divide clips as `finetune` does; where it would find no test clips, cross-validate over the folds of the data.

    Args:
        data (`DataArguments`): Splits and folds.
        clips ([`Clips`]): The clips of the data.
        test ([`Clips`], *optional*): Those of the separate source to test on.
        cross_validate (`bool`): Whether to test every fold in turn, whatever test part the data have.

    Returns:
        [`Partitions`]: The test clips of the settings, else the split `test`, else every fold in turn, else a
        held-out share of the clips.

    Raises:
        ValueError: If a split or fold is not in the data, clips would be learned from and tested on, or there are too
            few clips or folds.
    """
    if test is not None:
        parts = [Partition("test clips", train_indices(data, clips), len(clips) + np.arange(len(test)))]
        tested_on = "test clips"
    elif not cross_validate and (chosen := test_indices(data, clips)) is not None:
        parts, tested_on = [Partition("test clips", train_indices(data, clips), chosen)], "test clips"
    elif cross_validate or len(_folds(clips) if data.train_folds is None else data.train_folds) > 1:
        parts = _each_fold(data, clips)
        tested_on = f"clips of {len(parts)} folds, each tested with what was learned from the others"
    else:
        return _held_out(data, clips)
    for part in parts:
        _check_part(part, clips)
    return Partitions(parts, tested_on, _notes(parts, clips, test))


def _folds(clips: Clips) -> list[int]:
    return sorted(fold for fold in clips.dataset.unique("fold") if fold is not None)


def _each_fold(data: DataArguments, clips: Clips) -> list[Partition]:
    splits = data.train_split
    if splits is None and TRAIN in clips.dataset.unique("split"):
        splits = [TRAIN]
    known = _folds(clips)
    if not known:
        raise ValueError("`cross_validate` needs clips of at least two folds, the data have no folds.")
    chosen = select_split(clips.dataset, splits, known if data.train_folds is None else data.train_folds)
    folds = np.array(clips.dataset.select(chosen)["fold"][:])
    numbers = np.unique(folds).tolist()
    if len(numbers) < 2:
        raise ValueError(f"`cross_validate` needs clips of at least two folds, got {numbers}; the data have {known}.")
    return [Partition(f"fold {fold}", chosen[folds != fold], chosen[folds == fold]) for fold in numbers]


def _held_out(data: DataArguments, clips: Clips) -> Partitions:
    rows = train_indices(data, clips)
    pool = clips.select(rows)
    learned, tested = held_out_split(pool.strata, data.held_out_share, HELD_OUT_SEED, pool.group_column)
    part = Partition("held-out clips", rows[learned], rows[tested])
    _check_part(part, clips)
    return Partitions([part], "held-out clips", notes_on_groups(clips.select(part.test).count_groups()))


def _check_part(part: Partition, clips: Clips) -> None:
    both = np.intersect1d(part.train, part.test)
    if len(both):
        raise ValueError(
            f"{len(both)} clips would be learned from and tested on, such as {clips.ids[int(both[0])]!r}: the splits "
            "and folds to train on must not be those to test on."
        )
    if not clips.multi_label and len(np.unique(clips.targets[part.train])) < 2:
        raise ValueError(f"The clips to learn from for the {part.name} must be of at least two classes.")


def _notes(parts: Sequence[Partition], clips: Clips, test: Clips | None) -> list[str]:
    groups = np.array([*clips.groups, *([] if test is None else test.groups)], dtype=object)
    shared = 0
    for part in parts:
        learned = {group for group in groups[part.train] if group is not None}
        shared += sum(group in learned for group in groups[part.test])
    if not shared:
        return []
    total = sum(len(part.test) for part in parts)
    return [
        f"{shared:,} of the {total:,} test clips belong to a group, a recording or speaker, of which clips were "
        "learned from: the metric holds for the same speakers and recordings."
    ]
