"""Which clips of a run train, select the checkpoint, and test."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
import pyarrow.compute as pc
from accelerate import PartialState

from audioformer.data.clips import Clips, ClipSplits
from audioformer.data.splits import held_out_split, select_split
from audioformer.data.synthetic.listing import LAYOUT as SYNTHETIC

from .arguments import DataArguments
from .classifiers import check_known
from .examples.listings import find_groups
from .families import CheckLabels, Settings
from .processes import on_main_process
from .run_data import check_run_data

TRAIN, VALIDATION, TEST = "train", "validation", "test"

HoldOut: TypeAlias = Callable[[bool, bool], bool]
"""Whether to hold out training clips, given whether clips can have several labels and whether there are test clips."""


def open_clip_splits(
    settings: Settings,
    extractor: object,
    *,
    hold_out: bool | HoldOut,
    check_labels: CheckLabels | None = None,
    open_synthetic: Callable[[], Clips | None] | None = None,
) -> ClipSplits[Any]:
    """Open the data of a run, divide its clips, and check that a resumed run has the clips that it was begun with.

    Where the data come with a validation split and no `train_split` was given, that split is held out.

    Args:
        settings (`Settings`): Where the clips are, and which of them train and test.
        extractor: The feature extractor of the run.
        hold_out (`bool` or `HoldOut`): Whether to hold out training clips that select the checkpoint, or a function
            that says so once the data are known.
        check_labels (function, *optional*): Raises if the labels of the data do not fit.
        open_synthetic (function, *optional*): Opens synthetic clips to train on beside those of the data; called once
            the data are known to be usable.

    Returns:
        [`ClipSplits`]: The clips as the family opened them, divided.

    Raises:
        ValueError: If the data cannot be used, a split or fold is not in them, or the run was begun with other clips.
    """
    splits = _divide(settings, extractor, hold_out=hold_out, check_labels=check_labels)
    if splits.shared_groups and PartialState().is_main_process:
        print(f"WARNING: {groups_in_words(splits.shared_groups)}")
    if open_synthetic is not None:
        splits = replace(splits, synthetic=open_synthetic())
        if splits.synthetic is not None and PartialState().is_main_process:
            print(splits.synthetic.report.to_text())
    copies = settings.data.describe_copies()
    on_main_process(lambda: check_run_data(settings.training, splits, copies))
    return splits


def _divide(
    settings: Settings, extractor: object, *, hold_out: bool | HoldOut, check_labels: CheckLabels | None
) -> ClipSplits[Any]:
    data = settings.data
    clips = open_and_report(settings, extractor, check_labels=check_labels)
    train = clips.select(train_indices(data, clips))
    if has_test_source(settings):
        opened = open_and_report(settings, extractor, test_source=True)
        check_known(opened.labels, clips.labels, "The training data")
        test: Clips | None = opened.with_labels(clips.labels, clips.multi_label)
    else:
        test = _test_split(data, clips)
    if data.max_train_clips is not None:
        train = train.select(np.arange(min(data.max_train_clips, len(train))))
    shared = () if test is None else _shared_groups(train, test)
    if not (hold_out(clips.multi_label, test is not None) if callable(hold_out) else hold_out):
        return ClipSplits(train, None, test, shared_groups=shared)
    if data.train_split is None and VALIDATION in _split_names(clips):
        held_out_by_data = clips.select(select_split(clips.dataset, [VALIDATION]))
        shared = sorted({*shared, *_shared_groups(train, held_out_by_data)})
        return ClipSplits(train, held_out_by_data, test, shared_groups=shared)
    share, seed = data.held_out_share, settings.training.seed
    chosen, held_out = on_main_process(lambda: held_out_split(train.strata, share, seed, train.group_column))
    drawn = train.select(held_out)
    return ClipSplits(train.select(chosen), drawn, test, drawn.count_groups(), shared_groups=shared)


def groups_in_words(shared: Sequence[str]) -> str:
    """What a reader has to know of groups that have clips on both sides of a split that the data make."""
    named = ", ".join(map(repr, shared[:3])) + (", ..." if len(shared) > 3 else "")
    many = "1 group has" if len(shared) == 1 else f"{len(shared):,} groups have"
    return (
        f"{many} clips in training and among those that the data hold out or test ({named}): the metric holds for the "
        "same speakers and recordings only."
    )


def open_test_clips(
    settings: Settings, extractor: object, check_labels: CheckLabels, *, show_report: bool = True
) -> Clips:
    """The clips to measure a finished model on: the test split of the data, or all of them if there is none."""
    if has_test_source(settings):
        return open_and_report(
            settings, extractor, test_source=True, check_labels=check_labels, show_report=show_report
        )
    clips = open_and_report(settings, extractor, check_labels=check_labels, show_report=show_report)
    test = _test_split(settings.data, clips)
    return clips if test is None else test


def has_test_source(settings: Settings) -> bool:
    """Whether the test clips come from a source of their own."""
    sources = (settings.data.eval_data, getattr(settings.options, "eval_codes", None))
    return any(source is not None for source in sources)


def open_and_report(
    settings: Settings,
    extractor: object,
    *,
    test_source: bool = False,
    check_labels: CheckLabels | None = None,
    show_report: bool = True,
) -> Clips:
    """Open all clips of the data with their groups, and print what they contain.

    Args:
        settings (`Settings`): Where the clips are.
        extractor: The feature extractor of the run.
        test_source (`bool`, defaults to `False`): Whether to open the separate test data.
        check_labels (function, *optional*): Raises if the labels of the data do not fit.
        show_report (`bool`, defaults to `True`): Whether to print the data report.

    Raises:
        ValueError: If the data cannot be used.
    """
    clips = settings.family.examples.open_clips(
        settings, extractor, test_source=test_source, check_labels=check_labels
    )
    if clips.report.grouped is None and clips.report.layout != SYNTHETIC:
        # Codes that exist already, and families with sources of their own: the names are what is known of the paths.
        groups = find_groups(settings, clips, test_source=test_source)
        clips = clips if groups is None else groups.apply(clips)
    if show_report and PartialState().is_main_process:
        print(clips.report.to_text())
    return clips


def _shared_groups(some: Clips, other: Clips) -> list[str]:
    columns = [clips.group_column.drop_null().unique() for clips in (some, other)]
    return sorted(columns[0].filter(pc.is_in(columns[0], value_set=columns[1])).to_pylist())


def _split_names(clips: Clips) -> set[str]:
    return {split for split in clips.dataset.unique("split") if split is not None}


def train_indices(data: DataArguments, clips: Clips) -> np.ndarray:
    """Indices of the clips that may be trained on: those of the named splits and folds, by default the split `train`
    and the folds that are not tested on.

    Raises:
        ValueError: If a split or fold is not in the data, or no clip is left.
    """
    splits, folds = data.train_split, data.train_folds
    if splits is None and _split_names(clips):
        splits = [TRAIN]
    if folds is None and data.eval_folds is not None:
        # All folds that are not tested on are trained on.
        folds = [fold for fold in clips.dataset.unique("fold") if fold is not None and fold not in data.eval_folds]
    return select_split(clips.dataset, splits, folds)


def test_indices(data: DataArguments, clips: Clips) -> np.ndarray | None:
    """Indices of the clips to test on: those of the named splits and folds, by default the split `test`; `None` if the
    data have no test part and none is named.

    Raises:
        ValueError: If a split or fold is not in the data, or no clip is left.
    """
    splits = data.eval_split
    if splits is None and TEST in _split_names(clips):
        splits = [TEST]
    if splits is None and data.eval_folds is None:
        return None
    return select_split(clips.dataset, splits, data.eval_folds)


def _test_split(data: DataArguments, clips: Clips) -> Clips | None:
    indices = test_indices(data, clips)
    return None if indices is None else clips.select(indices)
