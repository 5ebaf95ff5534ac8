"""The clips of a run by their use, and the logits of a classifier for some of them."""

from types import SimpleNamespace

import numpy as np
import pytest
from datasets import Dataset

from audioformer.data.clips import Clips
from audioformer.data.report import DataReport
from audioformer.training.clip_splits import ClipSplits
from audioformer.training.results import predict


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
