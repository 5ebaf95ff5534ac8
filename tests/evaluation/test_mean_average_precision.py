"""The `evaluate` module against scikit-learn."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from audioformer.evaluation import MeanAveragePrecision, compute_mean_average_precision
from audioformer.evaluation.mean_average_precision import average_precision

FOLDER = Path(average_precision.__file__).parent


def random_case(seed: int, num_clips: int = 60, num_labels: int = 7, ties: bool = False):
    rng = np.random.default_rng(seed)
    scores = rng.standard_normal((num_clips, num_labels))
    targets = (rng.random((num_clips, num_labels)) < 0.2).astype(int)
    return (scores.round(1) if ties else scores), targets


@pytest.mark.parametrize("ties", [False, True])
def test_equals_scikit_learn(ties):
    scores, targets = random_case(0, ties=ties)
    targets[0] = 1
    result = compute_mean_average_precision(scores, targets)
    assert result["mAP"] == pytest.approx(average_precision_score(targets, scores, average="macro"), abs=1e-12)
    assert result["num_classes_without_positives"] == 0


def test_classes_without_positives_are_left_out_and_counted():
    scores, targets = random_case(1)
    targets[:, [2, 5]] = 0
    result = compute_mean_average_precision(scores, targets)
    rest = [0, 1, 3, 4, 6]
    assert result["mAP"] == pytest.approx(average_precision_score(targets[:, rest], scores[:, rest], average="macro"))
    assert result["num_classes_without_positives"] == 2
    assert [value is None for value in result["per_class"]] == [label in (2, 5) for label in range(7)]


def test_the_module_gathers_batches():
    scores, targets = random_case(2)
    metric = MeanAveragePrecision()
    for start in range(0, 60, 13):
        metric.add_batch(
            predictions=scores[start : start + 13].tolist(), references=targets[start : start + 13].tolist()
        )
    assert metric.compute()["mAP"] == pytest.approx(compute_mean_average_precision(scores, targets)["mAP"], abs=1e-12)


@pytest.mark.parametrize(
    ("scores", "targets", "message"),
    [
        (np.zeros((3, 2)), np.zeros((3, 3)), r"\(3, 2\).*\(3, 3\)"),
        (np.zeros(3), np.zeros(3), "shape"),
        (np.array([[0.0, np.nan]]), np.array([[1, 0]]), "NaN for clip 0"),
        (np.zeros((1, 2)), np.array([[2, 0]]), r"0, 1 or -1 \(unknown\), got \[2\]"),
        (np.zeros((4, 2)), np.zeros((4, 2)), "at least one class"),
    ],
)
def test_bad_input_is_named(scores, targets, message):
    with pytest.raises(ValueError, match=message):
        compute_mean_average_precision(scores, targets)


@pytest.mark.slow
def test_loads_by_path_without_network(tmp_path):
    code = (
        "import evaluate, sys\n"
        "metric = evaluate.load(sys.argv[1])\n"
        "scores, targets = [[0.9, 0.1], [0.2, 0.8], [0.3, 0.1]], [[1, 0], [0, 1], [1, 1]]\n"
        "print(metric.compute(predictions=scores, references=targets)['mAP'])\n"
    )
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(FOLDER)], env=environment, capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    references, scores = [[1, 0], [0, 1], [1, 1]], [[0.9, 0.1], [0.2, 0.8], [0.3, 0.1]]
    assert float(done.stdout) == pytest.approx(average_precision_score(references, scores, average="macro"))
