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


def merge_windows(
    names: Sequence[str], scores: np.ndarray, targets: np.ndarray, durations_s: np.ndarray, *, multi_label: bool
) -> MergedScores:
    """
    Average the probabilities of the windows of each clip, weighted by their durations.

    The means are converted back to logits, so that they are comparable to clips of one window, whose scores stay
    exactly as they are.

    Args:
        names (sequence of `str`): Name of the clip that each window belongs to.
        scores (`np.ndarray` of shape `(num_windows, num_labels)`): Logits of each window.
        targets (`np.ndarray`): `(num_windows,)` classes, or `(num_windows, num_labels)` zeros and ones. Windows with
            the same name but different targets count as different clips.
        durations_s (`np.ndarray` of shape `(num_windows,)`): Durations in seconds.
        multi_label (`bool`): Whether the probabilities are sigmoids of the logits; otherwise their softmax.

    Returns:
        [`MergedScores`]: one row per clip, in the order in which the clips first appear.
    """
    rows_of: dict[tuple[str, bytes], list[int]] = {}
    for row, name in enumerate(names):
        rows_of.setdefault((name, np.ascontiguousarray(targets[row]).tobytes()), []).append(row)
    merged = np.empty((len(rows_of), scores.shape[1]), dtype=scores.dtype)
    rows: list[tuple[int, np.ndarray]] = []
    for clip, (first, *others) in enumerate(rows_of.values()):
        windows = np.array([first, *others])
        rows.append((first, windows))
        merged[clip] = scores[first] if not others else _mean(scores[windows], durations_s[windows], multi_label)
    return MergedScores(merged, rows)


def _mean(scores: np.ndarray, durations_s: np.ndarray, multi_label: bool) -> np.ndarray:
    weights = durations_s / durations_s.sum()
    if multi_label:
        probabilities = (weights[:, None] * expit(scores.astype(np.float64))).sum(axis=0)
        return logit(np.clip(probabilities, LIMIT, 1 - LIMIT))
    return logsumexp(log_softmax(scores.astype(np.float64), axis=1), axis=0, b=weights[:, None])
