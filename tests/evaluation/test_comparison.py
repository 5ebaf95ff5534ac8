"""Models on the same clips: alignment of clips and labels, and what is refused."""

import numpy as np
import pytest

from audioformer.evaluation import EvaluationSummary
from audioformer.evaluation.comparison import ComparedModel, Comparison, ModelCost

COST = ModelCost(1000, 0, 4, 10.0, 0.1, None, "cpu")
LABELS = ["dog", "cat", "owl"]


def model(name: str, ids: list[str], scores: np.ndarray, labels: list[str] = LABELS, **changes) -> ComparedModel:
    """A model that was tested on clips whose names say their class: `dog-3`."""
    targets = np.array([labels.index(clip.split("-")[0]) for clip in ids])
    summary = EvaluationSummary(
        **{"ids": ids, "scores": scores, "targets": targets, "labels": labels, "multi_label": False, **changes},
        tested_on="clips",
    )
    return ComparedModel(name, "Family", "cross_entropy", summary, COST)


def scores_of(ids: list[str], labels: list[str], wrong: set[str]) -> np.ndarray:
    classes = [clip.split("-")[0] for clip in ids]
    return np.array(
        [
            [float((label == kind) != (clip in wrong)) for label in labels]
            for clip, kind in zip(ids, classes, strict=True)
        ]
    )


def test_clips_are_aligned_and_those_that_some_could_not_read_are_left_out():
    ids = [f"{LABELS[index % 3]}-{index}" for index in range(12)]
    others, labels = ids[::-1][:-2], ["owl", "dog", "cat"]
    first = model("first", ids, scores_of(ids, LABELS, {"dog-0", "cat-4"}))
    second = model("second", others, scores_of(others, labels, {"dog-3"}), labels)
    comparison = Comparison([first, second])
    assert comparison.ids == ids[2:] and comparison.left_out == 2
    # `dog-0`, which the first gets wrong, is one of those left out.
    assert [row.value for row in comparison.rows] == [pytest.approx(0.9), pytest.approx(0.9)]
    assert comparison.rows[1].difference == pytest.approx(0)
    low, high = comparison.rows[1].difference_interval
    assert low < 0 < high
    assert any("2 clips were left out" in note for note in comparison.notes)
    assert "not measured" in comparison.to_markdown()


def test_what_does_not_belong_together_is_named():
    ids = ["dog-0", "cat-1", "owl-2"]
    scores = scores_of(ids, LABELS, set())
    first = model("first", ids, scores)
    with pytest.raises(ValueError, match="no clip could be read by all of the 2 models"):
        Comparison([first, model("second", ["dog-7"], scores[:1])])
    with pytest.raises(ValueError, match="second and first were tested on other labels of clip 'cat-1'"):
        Comparison([first, model("second", ids, scores, targets=np.array([0, 2, 2]))])
    with pytest.raises(ValueError, match="same labels: fox is only in second; owl is only in first"):
        Comparison([first, model("second", ids[:2], scores[:2], ["dog", "cat", "fox"])])


def test_windows_with_one_name_and_labels_of_their_own_stay_apart():
    ids = ["dog-0", "cat-1", "cat-1"]
    twice = [model(name, ids, scores_of(ids, LABELS, set()), targets=np.array([0, 1, 2])) for name in ("a", "b")]
    comparison = Comparison(twice, ensemble=True)
    assert comparison.ids == ids and comparison.targets.tolist() == [0, 1, 2]
    assert comparison.average.value == pytest.approx(2 / 3)
