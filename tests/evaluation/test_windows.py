"""Scores of clips from those of their windows, against means of probabilities."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from audioformer.evaluation import merge_windows, scores_over_time, window_weights
from audioformer.evaluation.windows import mean_vectors, rows_of_clips

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


@st.composite
def windows_of_a_clip(draw) -> tuple[np.ndarray, np.ndarray]:
    """Beginnings and ends of windows in whole milliseconds, in any order, with gaps and overlap."""
    windows = draw(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 3000)), min_size=1, max_size=8))
    starts, lengths = np.array(windows).T
    return starts / 1000, (starts + lengths) / 1000


def heard_by(starts_s: np.ndarray, ends_s: np.ndarray) -> np.ndarray:
    """Whether each window hears each millisecond, bool of shape `(num_windows, 8000)`."""
    moments_s = (np.arange(8000) + 0.5) / 1000
    return (starts_s[:, None] < moments_s) & (moments_s < ends_s[:, None])


@settings(derandomize=True, deadline=None, max_examples=100)
@given(windows_of_a_clip())
def test_each_moment_counts_once_however_many_windows_hear_it(windows):
    heard = heard_by(*windows)
    expected = (heard / np.maximum(1, heard.sum(axis=0))).sum(axis=1) / 1000
    np.testing.assert_allclose(window_weights(*windows), expected, atol=1e-9)
    assert window_weights(*windows).sum() == pytest.approx(heard.any(axis=0).sum() / 1000)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(windows_of_a_clip())
def test_scores_over_time_are_means_of_the_windows_that_hear_a_moment(windows):
    starts_s, ends_s = windows
    scores = np.random.default_rng(0).random((len(starts_s), 3))
    edges, means = scores_over_time(starts_s, ends_s, scores)
    for first, last, mean in zip(edges[:-1], edges[1:], means, strict=True):
        hearing = (starts_s <= first) & (last <= ends_s)
        expected = scores[hearing].mean(axis=0) if hearing.any() else np.zeros(3)
        np.testing.assert_allclose(mean, expected, atol=1e-9)
    weights = window_weights(starts_s, ends_s)
    np.testing.assert_allclose(np.diff(edges) @ means, weights @ scores, atol=1e-9)


def test_the_weights_of_windows_that_follow_each_other_are_their_durations():
    starts_s, ends_s = np.array([0.0, 10.0, 20.0]), np.array([10.0, 20.0, 20.44])
    np.testing.assert_allclose(window_weights(starts_s, ends_s), [10, 10, 0.44])


def test_a_window_that_was_moved_back_shares_what_it_hears_again():
    starts_s, ends_s = np.array([0.0, 10.0, 10.44]), np.array([10.0, 20.0, 20.44])
    np.testing.assert_allclose(window_weights(starts_s, ends_s), [10, 5.22, 5.22])


@pytest.mark.parametrize("multi_label", [True, False])
def test_overlap_does_not_change_the_share_of_a_moment(multi_label):
    targets = np.array([[1, 0, 0]] * 3) if multi_label else np.zeros(3, dtype=int)
    starts_s, durations_s = np.array([0.0, 2.0, 10.0]), np.array([4.0, 4.0, 6.0])
    merged = merge_windows(["a"] * 3, LOGITS[:3], targets, durations_s, starts_s, multi_label=multi_label)
    probabilities = expit(LOGITS[:3]) if multi_label else softmax(LOGITS[:3], axis=1)
    actual = expit(merged.scores[0]) if multi_label else softmax(merged.scores[0])
    np.testing.assert_allclose(actual, np.array([3, 3, 6]) / 12 @ probabilities, rtol=1e-5)


def test_vectors_of_windows_are_averaged_over_time_and_single_ones_stay():
    vectors = np.random.default_rng(1).standard_normal((4, 6)).astype(np.float32)
    rows = rows_of_clips(["long", "short", "long", "long"], np.array([0, 1, 0, 0]))
    assert [windows.tolist() for windows in rows] == [[0, 2, 3], [1]]
    # The last two windows share the seconds from 15 to 20.
    merged = mean_vectors(rows, vectors, np.array([0.0, 0.0, 10.0, 15.0]), np.array([10.0, 3.0, 10.0, 10.0]))
    expected = (10 * vectors[0] + 7.5 * vectors[2] + 7.5 * vectors[3]) / 25
    np.testing.assert_allclose(merged[0], expected, rtol=1e-5)
    np.testing.assert_array_equal(merged[1], vectors[1])
