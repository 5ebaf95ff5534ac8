"""Scores of long clips from the scores of their windows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_softmax, logit, logsumexp

LIMIT = 1e-7
"""Probabilities are kept at least this far from 0 and 1, where their logits would be infinite."""


@dataclass(frozen=True)
class MergedScores:
    """Scores per clip.

    Args:
        scores (`np.ndarray` of shape `(num_clips, num_labels)`): Logits.
        rows (`list[tuple[int, np.ndarray]]`): For each clip the row of its first window, and the rows of all windows.
    """

    scores: np.ndarray
    rows: list[tuple[int, np.ndarray]]


def window_weights(starts_s: np.ndarray, ends_s: np.ndarray) -> np.ndarray:
    """
    Compute the weights of the windows of a clip in the mean of the clip.

    Every moment of the sound counts once: where several windows hear it, each of them gets an equal share of it. The
    weight of a window is the sum of its shares in seconds; of windows that do not overlap, their durations.

    Args:
        starts_s (`np.ndarray` of shape `(num_windows,)`): Beginning of each window in seconds.
        ends_s (`np.ndarray` of shape `(num_windows,)`): End of each window in seconds, after its beginning.

    Returns:
        `np.ndarray` of shape `(num_windows,)`: Weights, which sum up to the seconds that are heard at all.
    """
    edges, window_edges = np.unique(np.concatenate([starts_s, ends_s]), return_inverse=True)
    firsts, lasts = np.split(window_edges, 2)
    shares = np.concatenate([[0.0], np.cumsum(np.diff(edges) / _num_hearing(firsts, lasts, len(edges)))])
    return shares[lasts] - shares[firsts]


def scores_over_time(starts_s: np.ndarray, ends_s: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """
    Compute the mean, at each moment, over the windows that hear it.

    The mean of the result over time is the mean of the windows by [`window_weights`].

    Args:
        starts_s (`np.ndarray` of shape `(num_windows,)`): Beginning of each window in seconds.
        ends_s (`np.ndarray` of shape `(num_windows,)`): End of each window in seconds, after its beginning.
        scores (`np.ndarray` of shape `(num_windows, num_labels)`): Probabilities.

    Returns:
        `tuple[np.ndarray, np.ndarray]`: The moments at which windows begin or end, in seconds, of shape
        `(num_parts + 1,)`, and the means in between, `(num_parts, num_labels)`; 0 where no window is.
    """
    edges, window_edges = np.unique(np.concatenate([starts_s, ends_s]), return_inverse=True)
    firsts, lasts = np.split(window_edges, 2)
    changes = np.zeros((len(edges), scores.shape[1]))
    np.add.at(changes, firsts, scores)
    np.subtract.at(changes, lasts, scores)
    sums = np.cumsum(changes, axis=0)[:-1]
    return edges, sums / _num_hearing(firsts, lasts, len(edges))[:, None]


def _num_hearing(firsts: np.ndarray, lasts: np.ndarray, num_edges: int) -> np.ndarray:
    """Number of windows between two edges, int64 of shape `(num_edges - 1,)`; 1 where there is none."""
    changes = np.bincount(firsts, minlength=num_edges) - np.bincount(lasts, minlength=num_edges)
    return np.maximum(1, np.cumsum(changes)[:-1])


def merge_windows(
    names: Sequence[str],
    scores: np.ndarray,
    targets: np.ndarray,
    durations_s: np.ndarray,
    starts_s: np.ndarray | None = None,
    *,
    multi_label: bool,
) -> MergedScores:
    """
    Average the probabilities of the windows of each clip over time: by [`window_weights`], no moment counts more than
    another because windows overlap.

    The means are converted back to logits, so that they are comparable to clips of one window, whose scores stay
    exactly as they are.

    Args:
        names (sequence of `str`): Name of the clip that each window belongs to.
        scores (`np.ndarray` of shape `(num_windows, num_labels)`): Logits of each window.
        targets (`np.ndarray`): `(num_windows,)` classes, or `(num_windows, num_labels)` zeros and ones. Windows with
            the same name but different targets count as different clips.
        durations_s (`np.ndarray` of shape `(num_windows,)`): Durations in seconds.
        starts_s (`np.ndarray` of shape `(num_windows,)`, *optional*): Beginnings in seconds. Without them, windows are
            taken not to overlap, and durations are the weights.
        multi_label (`bool`): Whether the probabilities are sigmoids of the logits; otherwise their softmax.

    Returns:
        [`MergedScores`]: one row per clip, in the order in which the clips first appear.
    """
    rows = rows_of_clips(names, targets)
    merged = np.empty((len(rows), scores.shape[1]), dtype=scores.dtype)
    for clip, windows in enumerate(rows):
        if len(windows) == 1:
            merged[clip] = scores[windows[0]]
            continue
        weights = durations_s[windows]
        if starts_s is not None:
            weights = window_weights(starts_s[windows], starts_s[windows] + weights)
        merged[clip] = _mean(scores[windows], weights, multi_label)
    return MergedScores(merged, [(int(windows[0]), windows) for windows in rows])


def rows_of_clips(names: Sequence[str], targets: np.ndarray) -> list[np.ndarray]:
    """
    Find the windows of each clip.

    Args:
        names (sequence of `str`): Name of the clip that each window belongs to.
        targets (`np.ndarray`): `(num_windows,)` classes, or `(num_windows, num_labels)` zeros and ones. Windows with
            the same name but different targets count as different clips.

    Returns:
        `list[np.ndarray]`: The rows of the windows of each clip, in the order in which the clips first appear.
    """
    rows_of: dict[tuple[str, bytes], list[int]] = {}
    for row, name in enumerate(names):
        rows_of.setdefault((name, np.ascontiguousarray(targets[row]).tobytes()), []).append(row)
    return [np.array(rows) for rows in rows_of.values()]


def mean_vectors(
    rows: Sequence[np.ndarray], vectors: np.ndarray, starts_s: np.ndarray, durations_s: np.ndarray
) -> np.ndarray:
    """
    Average the vectors of the windows of each clip over time, by [`window_weights`].

    Args:
        rows (sequence of `np.ndarray`): The windows of each clip, from [`rows_of_clips`].
        vectors (`np.ndarray` of shape `(num_windows, hidden_size)`): Vector of each window.
        starts_s, durations_s (`np.ndarray` of shape `(num_windows,)`): Beginnings and durations in seconds.

    Returns:
        `np.ndarray` of shape `(num_clips, hidden_size)`: float32; that of a clip of one window is exactly its vector.
    """
    merged = np.empty((len(rows), vectors.shape[1]), dtype=np.float32)
    for clip, windows in enumerate(rows):
        if len(windows) == 1:
            merged[clip] = vectors[windows[0]]
            continue
        weights = window_weights(starts_s[windows], starts_s[windows] + durations_s[windows])
        merged[clip] = (weights / weights.sum()) @ vectors[windows].astype(np.float64)
    return merged


def _mean(scores: np.ndarray, weights: np.ndarray, multi_label: bool) -> np.ndarray:
    weights = weights / weights.sum()
    if multi_label:
        probabilities = (weights[:, None] * expit(scores.astype(np.float64))).sum(axis=0)
        return logit(np.clip(probabilities, LIMIT, 1 - LIMIT))
    return logsumexp(log_softmax(scores.astype(np.float64), axis=1), axis=0, b=weights[:, None])
