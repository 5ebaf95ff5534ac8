"""The clips of a run by their use, and the logits of a classifier for some of them."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from accelerate import PartialState
from datasets import Dataset

from audioformer.data.clips import Clips
from audioformer.data.report import DataReport
from audioformer.training.clip_splits import ClipSplits
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
