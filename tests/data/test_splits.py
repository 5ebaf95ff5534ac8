"""Which clips are held out."""

import tracemalloc
import warnings

import numpy as np
import pyarrow as pa
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.model_selection import StratifiedGroupKFold

from audioformer.data.splits import held_out_split, select_split


def test_single_label_parts_keep_the_proportions():
    targets = np.repeat(np.arange(4), [100, 50, 30, 20])
    train, held_out = held_out_split(targets, 0.1, seed=0)
    assert sorted([*train, *held_out]) == list(range(200))
    assert np.bincount(targets[held_out]).tolist() == [10, 5, 3, 2]
    again = held_out_split(targets, 0.1, seed=0)[1]
    assert np.array_equal(again, held_out)
    assert not np.array_equal(held_out_split(targets, 0.1, seed=1)[1], held_out)


def test_groups_are_never_divided():
    targets = np.repeat(np.arange(5), 40)
    groups = [f"recording {index // 4}" for index in range(200)]
    train, held_out = held_out_split(targets, 0.2, seed=0, groups=groups)
    assert not {groups[index] for index in train} & {groups[index] for index in held_out}
    assert np.bincount(targets[held_out]).tolist() == [8] * 5


def test_multi_label_parts_hold_every_class_that_can_be_held():
    rng = np.random.default_rng(0)
    targets = (rng.random((600, 12)) < np.geomspace(0.3, 0.02, 12)).astype(float)
    train, held_out = held_out_split(targets, 0.1, seed=0)
    assert len(held_out) == pytest.approx(60, abs=6)
    assert targets[held_out].any(axis=0).all() and targets[train].any(axis=0).all()
    shares = targets[held_out].sum(axis=0) / targets.sum(axis=0)
    assert (shares[:6] > 0.05).all() and (shares[:6] < 0.16).all()


def test_a_class_with_one_clip_trains():
    targets = np.array([0] * 30 + [1] * 30 + [2])
    for seed in range(12):
        train, _ = held_out_split(targets, 0.2, seed)
        assert 60 in train


def test_clips_without_labels_can_be_divided():
    train, held_out = held_out_split(np.zeros(50, dtype=int), 0.1, seed=0)
    assert (len(train), len(held_out)) == (45, 5)
    rare = np.eye(8)  # no class has a clip for each part
    assert len(held_out_split(rare, 0.25, seed=0)[0]) == 8


def test_too_few_clips_are_refused():
    with pytest.raises(ValueError, match="`held_out_share` 0.1 needs at least 10.*got 3"):
        held_out_split(np.array([0, 1, 0]), 0.1, seed=0)


def test_splits_and_folds_are_chosen_by_name():
    table = Dataset.from_dict({"split": ["train", "test", "train", None], "fold": [1, 1, 2, None]})
    assert select_split(table, ["train"]).tolist() == [0, 2]
    assert select_split(table, None, [1]).tolist() == [0, 1]
    assert select_split(table, ["train"], [1]).tolist() == [0]
    assert select_split(table).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match=r"`split` \['dev'\].*'test', 'train'"):
        select_split(table, ["dev"])
    with pytest.raises(ValueError, match=r"`fold` \[3\].*\[1, 2\]"):
        select_split(table, None, [3])
    with pytest.raises(ValueError, match="at once"):
        select_split(table, ["test"], [2])
    with pytest.raises(ValueError, match="the data have no folds"):
        select_split(Dataset.from_dict({"split": ["train"], "fold": [None]}), None, [1])


def held_out_by_scikit_learn(targets: np.ndarray, num_parts: int, seed: int, names: np.ndarray) -> np.ndarray:
    """The first part of `StratifiedGroupKFold`, stratified by the rarest class of each clip."""
    counts = np.where(targets > 0, targets.sum(axis=0), np.inf)
    strata = np.where(targets.any(axis=1), counts.argmin(axis=1), targets.shape[1])
    parts = StratifiedGroupKFold(n_splits=num_parts, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return next(parts.split(targets, strata, names))[1]


@pytest.mark.parametrize("clips_per_group", [1, 3])
@pytest.mark.parametrize("num_parts", [5, 10])
def test_shares_of_labels_are_at_least_as_even_as_those_of_scikit_learn(clips_per_group, num_parts):
    ours, theirs = [], []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        targets = (rng.random((900, 15)) < np.geomspace(0.4, 0.03, 15)).astype(np.uint8)
        names = np.array([f"recording {number}" for number in rng.integers(0, 900 // clips_per_group, 900)])
        if clips_per_group == 1:
            names = np.arange(900).astype(str)
        for errors, held_out in (
            (ours, held_out_split(targets, 1 / num_parts, seed, names.tolist())[1]),
            (theirs, held_out_by_scikit_learn(targets, num_parts, seed, names)),
        ):
            shares = targets[held_out].sum(axis=0) / targets.sum(axis=0)
            errors.append(np.abs(shares - 1 / num_parts).mean())
    assert np.mean(ours) <= np.mean(theirs)
    assert np.mean(ours) < 0.25 / num_parts


@st.composite
def grouped_clips(draw):
    """Clips with labels of any frequency, in groups of any size, some alone."""
    num_clips, num_labels = draw(st.integers(20, 120)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    targets = (rng.random((num_clips, num_labels)) < rng.random(num_labels) ** 3).astype(np.uint8)
    numbers = rng.integers(0, draw(st.integers(num_clips // 2, num_clips)), num_clips)
    groups = [None if rng.random() < 0.3 else f"group {number}" for number in numbers]
    return targets, groups, draw(st.sampled_from([0.5, 0.25, 0.1])), draw(st.integers(0, 100))


@given(case=grouped_clips())
@settings(derandomize=True, deadline=None, max_examples=150)
def test_any_division_keeps_groups_and_labels_whole_and_in_proportion(case):
    targets, groups, share, seed = case
    names = [f"clip {index}" if group is None else group for index, group in enumerate(groups)]
    if len(set(names)) < 1 / share:
        return
    train, held_out = held_out_split(targets, share, seed, groups)
    assert sorted([*train, *held_out]) == list(range(len(targets)))
    assert not {names[index] for index in train} & {names[index] for index in held_out}
    # Every label is trained on.
    assert (targets[train].any(axis=0) == targets.any(axis=0)).all()
    largest = max(names.count(name) for name in names)
    in_one_group = {
        label for label in range(targets.shape[1]) if len({names[row] for row in targets[:, label].nonzero()[0]}) == 1
    }
    kept = {names[row] for label in in_one_group for row in targets[:, label].nonzero()[0]}
    free = sum(name not in kept for name in names)
    assert abs(len(held_out) - share * free) <= largest + 1
    # Sparse labels, and groups as an Arrow column, are divided in the same way.
    column = pa.chunked_array([pa.array(groups[:7], pa.string()), pa.array(groups[7:], pa.string())])
    assert np.array_equal(held_out_split(csr_array(targets), share, seed, column)[1], held_out)


def test_large_groups_are_held_out_where_the_whole_lacks_clips():
    """Four recordings of 40 windows in each of five classes: a tenth of a class is less than half a recording."""
    targets = np.repeat(np.arange(5), 160)
    groups = [f"recording {index // 40}" for index in range(800)]
    for seed in range(5):
        assert len(held_out_split(targets, 0.1, seed, groups)[1]) == 80


def test_memory_does_not_hold_a_dense_matrix_of_labels():
    num_clips, num_labels = 100_000, 527
    rng = np.random.default_rng(0)
    indices = rng.integers(0, num_labels, 3 * num_clips, dtype=np.int32)
    labels = csr_array((np.ones(len(indices), np.uint8), indices, np.arange(0, len(indices) + 1, 3)))
    labels.sum_duplicates()
    tracemalloc.start()
    train, held_out = held_out_split(labels, 0.01, seed=0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(held_out) == pytest.approx(1000, rel=0.1)
    assert peak < num_clips * num_labels


@pytest.mark.parametrize(
    ("share", "num_clips", "expected"), [(0.15, 42, 6), (0.3, 30, 10), (0.4, 30, 15), (0.9, 8, 4)]
)
def test_the_nearest_part_of_a_whole_number_is_held_out(share, num_clips, expected):
    """0.15 becomes a seventh, not a sixth; no more than a half is ever held out."""
    for seed in range(3):
        assert len(held_out_split(np.zeros(num_clips, dtype=int), share, seed)[1]) == expected


def test_as_many_groups_as_parts_are_enough():
    train, held_out = held_out_split(np.zeros(10, dtype=int), 0.1, seed=0)
    assert (len(train), len(held_out)) == (9, 1)
    groups = [f"recording {index // 3}" for index in range(12)]
    train, held_out = held_out_split(np.zeros(12, dtype=int), 0.25, seed=0, groups=groups)
    assert (len(train), len(held_out)) == (9, 3)
    with pytest.raises(ValueError, match="at least 10 clips or groups of clips, got 4"):
        held_out_split(np.zeros(12, dtype=int), 0.1, seed=0, groups=groups)


def test_a_label_of_one_group_trains_though_its_clips_have_rarer_labels():
    """Label 0 is in two groups, either of which may be held out, but one of them has all clips of label 1."""
    groups = ["first", "first", "first", "second"] + [f"other {index}" for index in range(20)]
    targets = np.zeros((24, 3), dtype=np.uint8)
    targets[[0, 3], 0] = targets[:3, 1] = targets[4:, 2] = 1
    for seed in range(12):
        train, _ = held_out_split(targets, 0.5, seed, groups)
        assert targets[train].any(axis=0).all()


def test_the_last_group_of_a_label_trains_though_the_whole_lacks_clips():
    """Two recordings of 40 clips are too large to be held out; what is missing then must not cost another class."""
    targets = np.repeat([0, 1, 1, 2], [80, 1, 11, 40])
    targets[[0, 40]] = 3
    groups = ["large 0"] * 40 + ["large 1"] * 40 + ["small"] + ["medium"] * 11 + [f"other {n}" for n in range(40)]
    for seed in range(12):
        train, _ = held_out_split(targets, 0.1, seed, groups)
        assert set(targets[train]) == {0, 1, 2, 3}


def test_lighter_groups_fill_what_a_heavy_one_leaves():
    """Four recordings of three clips and eight clips alone: a quarter is five clips, in whatever order they come."""
    groups = [f"recording {index // 3}" for index in range(12)] + [None] * 8
    for seed in range(12):
        assert len(held_out_split(np.zeros(20, dtype=int), 0.25, seed, groups)[1]) == 5
