"""Which clips are held out."""

import numpy as np
import pytest
from datasets import Dataset

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
