"""Metrics of the Trainer, their intervals, and tables by class."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import evaluate
import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score
from transformers import EvalPrediction

from audioformer.evaluation import (
    Accuracy,
    EvaluationSummary,
    bootstrap_interval,
    build_compute_metrics,
    per_class_table,
)
from audioformer.evaluation.accuracy import accuracy
from audioformer.evaluation.metrics import compute_metric, weighted_average_precision


def multi_label_case(num_clips: int = 200, num_labels: int = 4):
    rng = np.random.default_rng(0)
    targets = (rng.random((num_clips, num_labels)) < 0.3).astype(np.float32)
    return rng.standard_normal((num_clips, num_labels)) + targets, targets


def test_compute_metrics_of_both_tasks():
    scores, targets = multi_label_case()
    metrics = build_compute_metrics(True)(EvalPrediction(predictions=scores, label_ids=targets))
    assert metrics["mAP"] == pytest.approx(average_precision_score(targets, scores, average="macro"))
    json.dumps(metrics)
    classes = targets.argmax(axis=1)
    metrics = build_compute_metrics(False)(EvalPrediction(predictions=(scores, scores), label_ids=classes))
    assert metrics == {"accuracy": accuracy_score(classes, scores.argmax(axis=1))}


def test_weighted_average_precision_equals_scikit_learn_with_ties():
    scores, targets = multi_label_case()
    weights = np.random.default_rng(1).integers(0, 4, (5, len(scores))).astype(float)
    for decimals in (1, 6):
        ours = weighted_average_precision(scores[:, 0].round(decimals), targets[:, 0], weights)
        theirs = [
            average_precision_score(targets[:, 0], scores[:, 0].round(decimals), sample_weight=row) for row in weights
        ]
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


def test_interval_of_accuracy_is_the_binomial_one():
    rng = np.random.default_rng(0)
    targets = rng.integers(2, size=400)
    scores = np.eye(2)[np.where(rng.random(400) < 0.8, targets, 1 - targets)]
    value = (scores.argmax(axis=1) == targets).mean()
    low, high = bootstrap_interval(scores, targets, False)
    margin = 1.96 * np.sqrt(value * (1 - value) / 400)
    assert low == pytest.approx(value - margin, abs=0.01)
    assert high == pytest.approx(value + margin, abs=0.01)


def test_interval_of_map_holds_the_value_and_shrinks_with_clips():
    scores, targets = multi_label_case(num_clips=400)
    low, high = bootstrap_interval(scores, targets, True)
    assert low < average_precision_score(targets, scores, average="macro") < high
    few_low, few_high = bootstrap_interval(scores[:50], targets[:50], True)
    assert few_high - few_low > high - low


def test_clips_of_one_recording_are_drawn_together():
    targets = np.repeat([0, 1], 50)
    scores = np.eye(2)[np.where(np.arange(100) % 10 < 5, targets, 1 - targets)]
    groups = [str(index // 5) for index in range(100)]  # each is all right or all wrong
    alone, together = (
        np.diff(bootstrap_interval(scores, targets, False, groups=names))[0] for names in (None, groups)
    )
    assert together == pytest.approx(alone * np.sqrt(5), rel=0.15)


def test_tables_by_class():
    scores, targets = multi_label_case()
    targets[:, 3] = 0
    table = per_class_table(scores, targets, list("abcd"), True)
    assert [row["clips"] for row in table] == targets.sum(axis=0).tolist()
    assert table[0]["average_precision"] == pytest.approx(average_precision_score(targets[:, 0], scores[:, 0]))
    assert table[3]["average_precision"] is None
    classes = np.random.default_rng(3).integers(3, size=200)
    table = per_class_table(scores[:, :3], classes, list("abc"), False)
    expected = f1_score(classes, scores[:, :3].argmax(axis=1), average=None)
    assert [row["f1"] for row in table] == pytest.approx(expected.tolist())


@pytest.mark.parametrize("multi_label", [True, False])
def test_metrics_are_those_of_the_library_evaluate_and_need_no_network(multi_label, monkeypatch):
    """Trainers and commands alike; 3,000 predictions are more than one buffer of the library holds."""
    computed = []

    def compute(self, **inputs):
        """`evaluate` adds to this text."""
        computed.append(type(self).__name__)
        return original(self, **inputs)

    original = evaluate.Metric.compute
    monkeypatch.setattr(evaluate.Metric, "compute", compute)
    monkeypatch.setattr(socket.socket, "connect", lambda *args: pytest.fail("metrics must not use the network"))
    scores, targets = multi_label_case(num_clips=3000)
    if not multi_label:
        targets = targets.argmax(axis=1)
    metrics = build_compute_metrics(multi_label)(EvalPrediction(predictions=scores, label_ids=targets))
    summary = EvaluationSummary(
        ids=[str(index) for index in range(3000)],
        scores=scores,
        targets=targets,
        labels=list("abcd"),
        multi_label=multi_label,
        tested_on="clips",
    )
    assert computed == ["MeanAveragePrecision" if multi_label else "Accuracy"] * 2
    expected = (
        average_precision_score(targets, scores, average="macro")
        if multi_label
        else accuracy_score(targets, scores.argmax(axis=1))
    )
    assert metrics[summary.metric] == summary.value == pytest.approx(expected, abs=1e-12)


def test_the_module_of_accuracy_loads_by_its_folder_and_refuses_what_has_no_accuracy():
    metric = evaluate.load(str(Path(accuracy.__file__).parent))
    assert metric.compute(predictions=[0, 2, 1], references=[0, 1, 1])["accuracy"] == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="at least one clip"):
        Accuracy().compute(predictions=[], references=[])
    with pytest.raises(ValueError, match=r"whole numbers, got \[0.5\]"):
        compute_metric(np.zeros((1, 2)), np.array([[0.5, 1]]), True)


def test_importing_the_metrics_does_not_import_the_library():
    code = "import sys, audioformer.evaluation.metrics; print('evaluate' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
