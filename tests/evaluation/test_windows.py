"""Scores of clips from those of their windows, against means of probabilities."""

import numpy as np
import pytest
from scipy.special import expit, softmax

from audioformer.evaluation import merge_windows

LOGITS = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
NAMES = ["long", "short", "long", "other", "long"]
DURATIONS_S = np.array([10.0, 2.0, 10.0, 4.0, 5.0])


@pytest.mark.parametrize("multi_label", [True, False])
def test_windows_are_averaged_by_duration_and_single_ones_stay(multi_label):
    targets = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 1], [1, 0, 0]])
    targets = targets if multi_label else targets.argmax(axis=1)
    merged = merge_windows(NAMES, LOGITS, targets, DURATIONS_S, multi_label=multi_label)
    assert [first for first, _ in merged.rows] == [0, 1, 3]
    assert [windows.tolist() for _, windows in merged.rows] == [[0, 2, 4], [1], [3]]
    np.testing.assert_array_equal(merged.scores[1:], LOGITS[[1, 3]])
    probabilities = expit(LOGITS) if multi_label else softmax(LOGITS, axis=1)
    expected = np.average(probabilities[[0, 2, 4]], axis=0, weights=DURATIONS_S[[0, 2, 4]])
    actual = expit(merged.scores[0]) if multi_label else softmax(merged.scores[0])
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


def test_equal_names_with_different_targets_are_different_clips():
    merged = merge_windows(["a", "a", "a"], LOGITS[:3], np.array([0, 1, 0]), DURATIONS_S[:3], multi_label=False)
    assert [windows.tolist() for _, windows in merged.rows] == [[0, 2], [1]]


def test_certain_windows_have_finite_logits():
    scores = np.array([[200.0, -200.0], [200.0, -200.0]])
    for multi_label in (True, False):
        targets = np.array([[1, 0], [1, 0]]) if multi_label else np.array([0, 0])
        merged = merge_windows(["a", "a"], scores, targets, np.ones(2), multi_label=multi_label)
        assert np.isfinite(merged.scores).all() and merged.scores[0].argmax() == 0
