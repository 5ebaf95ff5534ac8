"""Which clips probes learn from, and which they are tested on."""

import numpy as np
import pytest
from datasets import Dataset, Features, List, Value

from audioformer.data.clips import Clips
from audioformer.data.report import DataReport
from audioformer.training.arguments import DataArguments
from audioformer.training.probing.partitions import check_division, divide


def make_clips(count: int = 24, **columns) -> Clips:
    """Clips of the classes x and y by turns."""
    values = {"split": [None] * count, "fold": [None] * count, "group": [None] * count, **columns}
    values |= {"id": [f"clip{n}" for n in range(count)], "labels": [["xy"[n % 2]] for n in range(count)]}
    texts = {name: Value("string") for name in ("id", "split", "group")}
    features = Features({**texts, "fold": Value("int32"), "labels": List(Value("string"))})
    report = DataReport(source="s", layout="manifest", listed=count, found=count, missing=0, max_length_s=10.0)
    dataset = Dataset.from_dict({name: values[name] for name in features}, features=features)
    return Clips(dataset, ["x", "y"], multi_label=False, label_ids={}, report=report)


FOLDS = [1 + n // 2 % 3 for n in range(24)]


def test_every_fold_is_tested_once_with_all_others():
    division = divide(DataArguments(), make_clips(fold=FOLDS), None, cross_validate=False)
    assert [part.name for part in division.parts] == ["fold 1", "fold 2", "fold 3"]
    for number, part in enumerate(division.parts, start=1):
        assert part.test.tolist() == [n for n in range(24) if FOLDS[n] == number]
        assert part.train.tolist() == [n for n in range(24) if FOLDS[n] != number]
    assert sorted(division.test.tolist()) == list(range(24)) and not division.notes


def test_cross_validation_goes_through_the_folds_that_are_named_and_through_the_training_split():
    data = DataArguments(train_folds=[1, 3])
    division = divide(data, make_clips(fold=FOLDS), None, cross_validate=True)
    assert [part.name for part in division.parts] == ["fold 1", "fold 3"]
    assert all({FOLDS[n] for n in (*part.train, *part.test)} == {1, 3} for part in division.parts)
    split = ["test" if n < 6 else "train" for n in range(24)]
    division = divide(DataArguments(), make_clips(fold=FOLDS, split=split), None, cross_validate=True)
    assert len(division.parts) == 3 and sorted(division.test.tolist()) == list(range(6, 24))
    assert min(min(part.train) for part in division.parts) == 6


def test_named_folds_and_the_test_split_are_tested_with_the_rest():
    (part,) = divide(DataArguments(eval_folds=[2]), make_clips(fold=FOLDS), None, cross_validate=False).parts
    assert {FOLDS[n] for n in part.test} == {2} and {FOLDS[n] for n in part.train} == {1, 3}
    split = ["test" if n < 6 else "train" for n in range(24)]
    (part,) = divide(DataArguments(), make_clips(fold=FOLDS, split=split), None, cross_validate=False).parts
    assert part.test.tolist() == list(range(6)) and part.train.tolist() == list(range(6, 24))


def test_a_source_of_its_own_is_tested_with_all_clips_of_the_data():
    test = make_clips(4)
    division = divide(DataArguments(eval_data="other"), make_clips(fold=FOLDS), test, cross_validate=False)
    (part,) = division.parts
    assert part.train.tolist() == list(range(24)) and part.test.tolist() == [24, 25, 26, 27]
    assert division.tested_on == "test clips"


def test_without_a_test_part_and_folds_groups_are_held_out_whole():
    groups = [f"speaker{n // 4}" for n in range(24)]
    division = divide(DataArguments(held_out_share=0.2), make_clips(group=groups), None, cross_validate=False)
    (part,) = division.parts
    assert len(part.train) + len(part.test) == 24 and not np.intersect1d(part.train, part.test).size
    assert not {groups[n] for n in part.test} & {groups[n] for n in part.train} and 3 < len(part.test) < 9
    assert division.tested_on == "held-out clips" and "too narrow" in division.notes[0]
    without = divide(DataArguments(), make_clips(), None, cross_validate=False)
    assert "no group" in without.notes[0]


def test_of_a_single_fold_a_part_is_held_out():
    division = divide(DataArguments(train_folds=[2]), make_clips(60, fold=FOLDS + FOLDS + FOLDS[:12]), None, False)
    assert division.tested_on == "held-out clips" and len(division.parts[0].train) + len(division.test) == 20
    assert divide(DataArguments(), make_clips(fold=[5] * 24), None, False).tested_on == "held-out clips"


def test_groups_on_both_sides_are_said():
    groups = ["a"] * 6 + [None] * 18
    division = divide(DataArguments(), make_clips(fold=FOLDS, group=groups), None, cross_validate=False)
    assert division.notes[0].startswith("6 of the 24 test clips belong to a group")


def test_what_cannot_be_divided_is_refused():
    clips = make_clips(fold=FOLDS)
    with pytest.raises(ValueError, match="8 clips would be learned from and tested on, such as 'clip2'"):
        divide(DataArguments(train_folds=[1, 2], eval_folds=[2]), clips, None, cross_validate=False)
    with pytest.raises(ValueError, match=r"`fold` \[7\] is not in the data: it has \[1, 2, 3\]"):
        divide(DataArguments(eval_folds=[7]), clips, None, cross_validate=False)
    with pytest.raises(ValueError, match=r"at least two folds, got \[2\]; the data have \[1, 2, 3\]"):
        divide(DataArguments(train_folds=[2]), clips, None, cross_validate=True)
    with pytest.raises(ValueError, match="`cross_validate` needs clips of at least two folds, the data have no folds"):
        divide(DataArguments(), make_clips(), None, cross_validate=True)
    alternating = make_clips(fold=[1 + n % 2 for n in range(24)])
    with pytest.raises(ValueError, match="for the fold 1 must be of at least two classes"):
        divide(DataArguments(), alternating, None, cross_validate=False)


def test_two_divisions_at_once_are_refused():
    with pytest.raises(ValueError, match="`cross_validate` tests every fold in turn: it excludes `eval_folds`"):
        check_division(DataArguments(eval_folds=[1]), cross_validate=True, has_test_source=False)
    with pytest.raises(ValueError, match="`eval_split` of the data, or a separate source"):
        check_division(DataArguments(eval_split=["test"]), cross_validate=False, has_test_source=True)
    check_division(DataArguments(eval_folds=[1]), cross_validate=False, has_test_source=False)
