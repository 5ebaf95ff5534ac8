"""The clips of a run by their use, and the logits of a classifier for some of them."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from accelerate import PartialState
from datasets import Dataset

from audioformer.data.clips import Clips, GroupCounts
from audioformer.data.report import DataReport
from audioformer.training.arguments import AudioTrainingArguments, DataArguments
from audioformer.training.clip_splits import ClipSplits, HoldOut, groups_in_words, open_clip_splits
from audioformer.training.finetuning import select_by_metric
from audioformer.training.pretraining.held_out import describe_held_out, held_out_in_words
from audioformer.training.processes import on_main_process
from audioformer.training.results import predict

from .processes import run_on_two_processes


@pytest.fixture
def clips() -> Clips:
    dataset = Dataset.from_dict({"id": ["a", "b", "c"], "labels": [["x"], ["y"], ["x"]]})
    report = DataReport(source="sounds", layout="class_folders", listed=3, found=3, missing=0, max_length_s=10.0)
    return Clips(dataset=dataset, labels=["x", "y"], multi_label=False, label_ids={}, report=report)


def test_held_out_clips_select_the_checkpoint_and_test_clips_only_without_them(clips):
    held_out, test = clips.select([1]), clips.select([2])
    assert ClipSplits(clips, held_out, test).selecting is held_out
    assert ClipSplits(clips, None, test).selecting is test
    assert not ClipSplits(clips, held_out, test).selects_on_test and ClipSplits(clips, None, test).selects_on_test
    assert not ClipSplits(clips, held_out, None).selects_on_test
    with pytest.raises(ValueError, match="No clips select the checkpoint"):
        _ = ClipSplits(clips, None, None).selecting


def test_targets_change_to_several_labels_per_clip_in_every_split(clips):
    splits = ClipSplits(clips, None, clips.select([1])).as_multi_label(True)
    assert splits.train.targets.tolist() == [[1, 0], [0, 1], [1, 0]] and splits.held_out is None
    assert splits.test.targets.tolist() == [[0, 1]]
    with pytest.raises(ValueError, match="`multi_label` is false"):
        ClipSplits(splits.train, None, None).as_multi_label(False)


def test_a_model_that_returns_more_than_logits_is_refused(clips):
    def trainer(predictions):
        output = SimpleNamespace(predictions=predictions)
        return SimpleNamespace(model=SimpleNamespace(config=None), predict=lambda examples: output)

    source = SimpleNamespace(examples=lambda *args, **kwargs: None)
    settings = SimpleNamespace(family=SimpleNamespace(examples=source))
    logits = np.zeros((3, 2), dtype=np.float32)
    assert predict(trainer(logits), settings, clips, None) is logits
    with pytest.raises(ValueError, match="got 2 arrays.*keys_to_ignore_at_inference"):
        predict(trainer((logits, logits)), settings, clips, None)


def divide(
    rows: list[dict], *, hold_out: bool | HoldOut = True, test_rows: list[dict] | None = None, **data
) -> ClipSplits:
    """The splits of clips with the given columns, and of a test source of its own if there is one."""

    def open_clips(settings, extractor, *, test_source, check_labels):
        columns = {"split": None, "fold": None, "group": None}
        entries = [
            {"id": str(index), **columns, **row} for index, row in enumerate(test_rows if test_source else rows)
        ]
        labels = sorted({label for entry in entries for label in entry["labels"]})
        report = DataReport(source="sounds", layout="x", listed=1, found=1, missing=0, max_length_s=10.0)
        return Clips(Dataset.from_list(entries), labels, False, {}, report)

    settings = SimpleNamespace(
        command="finetune",
        data=DataArguments(eval_data=None if test_rows is None else "other", **data),
        family=SimpleNamespace(examples=SimpleNamespace(open_clips=open_clips)),
        options=SimpleNamespace(),
        training=SimpleNamespace(seed=0, output_dir=tempfile.mkdtemp(), resume_from_checkpoint=None),
    )
    return open_clip_splits(settings, None, hold_out=hold_out)


def two_classes(count: int, **columns) -> list[dict]:
    return [{"labels": ["x" if index % 2 else "y"], **columns} for index in range(count)]


def test_a_validation_split_of_the_data_is_held_out_unless_splits_are_named():
    rows = two_classes(20, split="train") + two_classes(4, split="validation") + two_classes(6, split="test")
    splits = divide(rows)
    assert splits.train.ids == [str(index) for index in range(20)]
    assert splits.held_out.ids == [str(index) for index in range(20, 24)]
    assert splits.test.ids == [str(index) for index in range(24, 30)]
    splits = divide(rows, train_split=["train"], held_out_share=0.2)
    assert len(splits.train) == 16 and len(splits.held_out) == 4
    assert set(splits.train.dataset["split"]) | set(splits.held_out.dataset["split"]) == {"train"}
    splits = divide(rows, hold_out=False)
    assert len(splits.train) == 20 and splits.held_out is None and splits.selects_on_test


def test_folds_that_are_tested_train_nothing_and_groups_are_never_divided():
    rows = [{"labels": ["x" if i % 2 else "y"], "fold": 1 + i % 5, "group": f"g{i % 25}"} for i in range(100)]
    splits = divide(rows, eval_folds=[2, 4], held_out_share=0.2)
    assert set(splits.test.dataset["fold"]) == {2, 4} and len(splits.test) == 40
    assert set(splits.train.dataset["fold"]) | set(splits.held_out.dataset["fold"]) == {1, 3, 5}
    assert len(splits.held_out) > 0 and not set(splits.train.groups) & set(splits.held_out.groups)
    assert len(set(splits.held_out.groups)) < len(splits.held_out)
    splits = divide(rows, train_folds=[1], eval_folds=[2], held_out_share=0.4)
    assert set(splits.train.dataset["fold"]) | set(splits.held_out.dataset["fold"]) == {1}


def test_groups_on_both_sides_of_a_split_that_the_data_make_are_named(capsys):
    rows = [{"labels": ["x" if i % 2 else "y"], "fold": 1 + i % 2, "group": f"g{i % 5}"} for i in range(40)]
    splits = divide(rows, eval_folds=[2], held_out_share=0.3)
    assert splits.shared_groups == splits.as_multi_label(True).shared_groups != ()
    assert set(splits.shared_groups) == {"g0", "g1", "g2", "g3", "g4"}
    assert "WARNING: 5 groups have clips in training and among those" in capsys.readouterr().out
    assert groups_in_words(splits.shared_groups).count("'g0', 'g1', 'g2', ...") == 1
    # Each group on one side, and clips without groups.
    apart = [{"labels": ["x" if i % 2 else "y"], "fold": 1 + i % 2, "group": f"g{i % 2}"} for i in range(40)]
    assert divide(apart, eval_folds=[2], held_out_share=0.5, hold_out=False).shared_groups == []
    assert divide(two_classes(40), test_rows=two_classes(4), held_out_share=0.3).shared_groups == []
    assert "WARNING" not in capsys.readouterr().out
    # The validation split of the data too.
    rows = two_classes(4, split="train", group="ann") + two_classes(4, split="validation", group="ann")
    assert divide(rows).shared_groups == ["ann"]


def test_whether_to_hold_out_may_depend_on_what_the_data_are():
    rows = [{"labels": ["x" if i % 2 else "y"], "fold": 1 + i % 4} for i in range(40)]
    asked = []

    def hold_out_if_tested(multi_label: bool, is_tested: bool) -> bool:
        asked.append((multi_label, is_tested))
        return is_tested

    assert divide(rows, hold_out=hold_out_if_tested, eval_folds=[2, 3], held_out_share=0.5).held_out is not None
    assert divide(rows, hold_out=hold_out_if_tested, held_out_share=0.5).held_out is None
    assert asked == [(False, True), (False, False)]


def test_a_pattern_groups_clips_by_their_names_and_the_groups_of_clips_drawn_at_random_are_counted():
    rows = [{"labels": ["x" if i % 2 else "y"], "id": f"{'xy'[i % 2]}/take{i // 4}_{i}.wav"} for i in range(80)]
    splits = divide(rows, held_out_share=0.25, group_pattern=r"/([^/]+)_\d+\.")
    assert set(splits.held_out.groups) <= {f"take{number}" for number in range(20)}
    assert not set(splits.train.groups) & set(splits.held_out.groups)
    assert splits.drawn == GroupCounts(len(splits.held_out), len(splits.held_out), len(set(splits.held_out.groups)))
    assert splits.as_multi_label(True).drawn == splits.drawn
    assert divide(rows, held_out_share=0.25).drawn == GroupCounts(20, 0, 0)
    # The first take alone: 4 of 80 clips.
    assert divide(rows, held_out_share=0.25, group_pattern="(take0)_").train.report.group_pattern_matches == 4
    with pytest.raises(ValueError, match="`group_pattern` 'speaker' finds a group in none of the 80 paths of sounds"):
        divide(rows, group_pattern="speaker")
    # Another source has other paths.
    splits = divide(rows, test_rows=[{"labels": ["y"]}] * 3, group_pattern="/([^/]+)_")
    assert splits.test.groups == [None] * 3
    with pytest.raises(ValueError, match=r"at least 20 clips or groups.*got 3. A share of 0.34 is enough"):
        divide(rows, held_out_share=0.05, group_pattern="(take[012])_", max_train_clips=12)


def test_clips_that_the_data_hold_out_are_not_drawn():
    rows = two_classes(20, split="train") + two_classes(4, split="validation")
    assert divide(rows).drawn is None and divide(rows, hold_out=False).drawn is None


def test_the_first_clips_train_and_a_source_of_its_own_is_tested_with_the_indices_of_the_training_data():
    splits = divide(two_classes(30), test_rows=[{"labels": ["y"]}] * 3, max_train_clips=12, held_out_share=0.25)
    assert sorted(map(int, splits.train.ids + splits.held_out.ids)) == list(range(12)) and len(splits.held_out) == 3
    assert splits.test.labels == ["x", "y"] and splits.test.targets.tolist() == [1, 1, 1]
    with pytest.raises(ValueError, match="does not know 1 of the 1 labels of the data: z"):
        divide(two_classes(30), test_rows=[{"labels": ["z"]}])


@pytest.mark.parametrize(("multi_label", "metric"), [(True, "mAP"), (False, "accuracy")])
def test_the_highest_metric_of_the_task_selects_unless_the_loss_is_asked_for(tmp_path, multi_label, metric):
    def select(**options) -> AudioTrainingArguments:
        arguments = AudioTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **options)
        select_by_metric(arguments, multi_label)
        return arguments

    arguments = select()
    assert (arguments.metric_for_best_model, arguments.greater_is_better) == (metric, True)
    arguments = select(metric_for_best_model="eval_loss", greater_is_better=False)
    assert (arguments.metric_for_best_model, arguments.greater_is_better) == ("eval_loss", False)
    with pytest.raises(ValueError, match=f"`metric_for_best_model` must be '{metric}' or 'loss'"):
        select(metric_for_best_model="accuracy" if multi_label else "mAP")


def test_labels_are_a_sparse_matrix_in_any_order_of_the_clips(clips):
    tagged = clips.with_labels(["y", "x", "z"], multi_label=True)
    assert tagged.label_matrix.toarray().tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]
    some = tagged.select([1, 0])
    assert some.strata.toarray().tolist() == some.targets.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert clips.targets.tolist() == [0, 1, 0] and clips.select([1]).targets.tolist() == [1]


def test_clips_must_have_one_label_unless_none_has_any(clips):
    several = replace(clips, dataset=Dataset.from_dict({"id": ["a", "b"], "labels": [["x"], ["x", "y"]]}))
    for name in ("targets", "strata"):
        with pytest.raises(ValueError, match=r"Clip 'b' must have one label, it has \['x', 'y'\]"):
            getattr(several, name)
    none = replace(clips, labels=[], dataset=Dataset.from_dict({"id": ["a", "b"], "labels": [[], []]}))
    assert none.strata.shape == (2, 0)


def _divide_once(folder: Path) -> None:
    """On two processes: only the main process computes; its result, and its error, reach both."""
    rank = PartialState(cpu=True).process_index
    computed = []
    result = on_main_process(lambda: computed.append(rank) or np.arange(3))

    def fail() -> None:
        computed.append(rank)
        raise ValueError("too few clips")

    try:
        on_main_process(fail)
    except ValueError as error:
        message = str(error)
    (folder / f"{rank}.json").write_text(json.dumps([result.tolist(), computed, message]))


def test_clips_are_divided_once_for_all_processes(tmp_path):
    run_on_two_processes(_divide_once, tmp_path)
    said = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert said == [[[0, 1, 2], [0, 0], "too few clips"], [[0, 1, 2], [], "too few clips"]]


@pytest.mark.parametrize(
    ("columns", "given", "described", "words"),
    [
        ({}, {}, {"held_out_clips": 4, "held_out_grouped": False}, "4 clips of the same speakers and recordings"),
        ({}, {"group_pattern": r"(\d+)"}, {"held_out_clips": 4, "held_out_grouped": True}, "4 clips"),
        ({"split": "train"}, {}, {"held_out_clips": 2}, "2 clips"),
    ],
)
def test_what_pretraining_says_of_its_held_out_clips(columns, given, described, words):
    rows = two_classes(16, **columns) + (two_classes(2, split="validation") if columns else [])
    splits = divide(rows, held_out_share=0.25, **given)
    assert describe_held_out(splits) == described and held_out_in_words(described) == words
    assert describe_held_out(replace(splits, held_out=None)) == {}
