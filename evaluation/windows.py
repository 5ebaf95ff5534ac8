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
    <<<<<<< HEAD
            rows (`list[tuple[int, np.ndarray]]`): For each clip the row of its first window, and the rows of all windows.
    =======
            rows (`list[tuple[int, np.ndarray]]`): For each clip, the row of its first window and the rows of all its
                windows.
    >>>>>>> types1
    """

    scores: np.ndarray
    rows: list[tuple[int, np.ndarray]]


def merge_windows(
    names: Sequence[str], scores: np.ndarray, targets: np.ndarray, durations_s: np.ndarray, *, multi_label: bool
) -> MergedScores:
    """
        Average the probabilities of the windows of each clip, weighted by their durations.

    <<<<<<< HEAD
        The means are converted back to logits, so that they are comparable to clips of one window, whose scores stay
        exactly as they are.
    =======
        The result is in logits again, so that it is comparable with the scores of clips of one window, which are not
        changed.
    >>>>>>> types1

        Args:
            names (sequence of `str`): Name of the clip that each window belongs to.
            scores (`np.ndarray` of shape `(num_windows, num_labels)`): Logits of each window.
            targets (`np.ndarray`): `(num_windows,)` classes, or `(num_windows, num_labels)` zeros and ones. Windows with
    <<<<<<< HEAD
                the same name but different targets count as different clips.
    =======
                the same name but different targets are treated as different clips.
    >>>>>>> types1
            durations_s (`np.ndarray` of shape `(num_windows,)`): Durations in seconds.
            multi_label (`bool`): Whether the probabilities are sigmoids of the logits; otherwise their softmax.

        Returns:
    <<<<<<< HEAD
            [`MergedScores`]: one row per clip, in the order in which the clips first appear.
    =======
            [`MergedScores`]: Clips in the order in which they first appear.
    >>>>>>> types1
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
