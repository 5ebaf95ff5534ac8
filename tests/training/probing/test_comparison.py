"""Rows of the table of probes, from scores made here."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score

from audioformer.evaluation import bootstrap_interval
from audioformer.training.probing.comparison import ProbeResults, Scores, compare

RNG = np.random.default_rng(0)
CLASSES = RNG.integers(0, 3, 60)
LABELS = RNG.integers(0, 2, (60, 3)).astype(np.uint8)
GROUPS = [f"speaker{n // 6}" for n in range(60)]
PARTS = {"fold 1": np.arange(20), "fold 2": np.arange(20, 60)}


def scores_of(strength: float, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random((60, 3)) + strength * np.eye(3)[CLASSES]


def test_values_are_means_over_seeds_and_intervals_are_those_of_groups():
    scores = {seed: scores_of(0.3, seed) for seed in (4, 9)}
    knn = scores_of(0.5, 1)
    rows = compare([Scores("a", "f", "knn", {None: knn}), Scores("a", "f", "mlp", scores)], CLASSES, PARTS, GROUPS)
    expected = {seed: accuracy_score(CLASSES, values.argmax(axis=1)) for seed, values in scores.items()}
    assert rows[1].by_seed == pytest.approx(expected)
    assert rows[1].value == pytest.approx(np.mean(list(expected.values())))
    by_fold = [accuracy_score(CLASSES[20:], values[20:].argmax(axis=1)) for values in scores.values()]
    assert rows[1].by_part["fold 2"] == pytest.approx(np.mean(by_fold))
    assert rows[0].interval == pytest.approx(bootstrap_interval(knn, CLASSES, False, groups=GROUPS))
    assert rows[0].interval != pytest.approx(bootstrap_interval(knn, CLASSES, False))
    assert rows[0].difference is None and rows[0].difference_interval is None


def test_several_labels_are_measured_by_mean_average_precision():
    values = RNG.random((60, 3))
    (row,) = compare([Scores("a", "f", "knn", {None: values})], LABELS, PARTS)
    precisions = [average_precision_score(LABELS[:, label], values[:, label]) for label in range(3)]
    assert row.value == pytest.approx(np.mean(precisions))
    assert row.interval == pytest.approx(bootstrap_interval(values, LABELS, True))


def test_differences_are_paired_by_clip_with_the_same_probe():
    first, better = scores_of(0.3, 1), scores_of(0.3, 1)
    wrong = np.flatnonzero(first.argmax(axis=1) != CLASSES)[:5]
    better[wrong] += 10 * np.eye(3)[CLASSES[wrong]]
    entries = [
        Scores(model, "f", probe, {None: values})
        for model, values in (("a", first), ("b", better), ("c", first))
        for probe in ("knn", "linear")
    ]
    rows = compare(entries, CLASSES, PARTS)
    assert [(row.probe, row.model) for row in rows] == [(p, m) for p in ("knn", "linear") for m in "abc"]
    assert rows[1].difference == pytest.approx(5 / 60) and rows[2].difference == 0
    # Five of sixty clips are better and none is worse: paired by clip, no resample says otherwise.
    low, high = rows[1].difference_interval
    assert 0 < low < 5 / 60 < high < 0.2 and rows[2].difference_interval == (0, 0)
    assert low > rows[1].interval[0] - rows[0].interval[1]


def test_the_table_has_a_row_for_each_model_and_probe():
    entries = [
        Scores("first", "f", "mlp", {seed: scores_of(0.3, seed) for seed in (0, 1)}),
        Scores("second", "g", "mlp", {seed: scores_of(0.8, seed) for seed in (0, 1)}),
    ]
    rows = compare(entries, CLASSES, PARTS)
    results = ProbeResults(rows, multi_label=False, num_clips=60, tested_on="test clips", notes=["something."])
    lines = results.table().splitlines()
    assert lines[0] == "| model | probe | accuracy | 95 % | by seed | against first | 95 % |"
    assert len(lines) == 4 and len({line.count("|") for line in lines}) == 1
    by_seed = ", ".join(f"{value:.1%}" for value in rows[1].by_seed.values())
    assert lines[3].startswith(f"| second | MLP | {rows[1].value:.1%} |") and f"| {by_seed} |" in lines[3]
    assert f"| {100 * rows[1].difference:+.1f} |" in lines[3]
    assert results.to_text().startswith("\nnote: something.\n60 test clips\n")
    assert results.to_dict()["rows"][1]["accuracy"] == rows[1].value
    alone = ProbeResults(rows[:1], multi_label=False, num_clips=60, tested_on="test clips")
    assert "against" not in alone.table() and "by seed" in alone.table()
    (knn,) = compare([Scores("first", "f", "knn", {None: scores_of(0.3, 0)})], CLASSES, PARTS)
    table = ProbeResults([knn], multi_label=False, num_clips=60, tested_on="test clips").table()
    assert table.startswith("| model | probe | accuracy | 95 % |\n| --- | --- | --- | --- |\n| first | k-NN |")
