"""Mean average precision of arrays. `evaluate.load` copies this file along with the module that imports it."""

from typing import TypedDict

import numpy as np
from sklearn.metrics import average_precision_score


class MeanAveragePrecisionResult(TypedDict):
    """Result of [`compute_mean_average_precision`].

    Args:
        mAP (`float`): Mean over the classes that have a positive.
        num_classes_without_positives (`int`): Classes that were left out of the mean.
        per_class (`list[float | None]`): Average precision of each class, `None` where it was left out.
    """

    mAP: float
    num_classes_without_positives: int
    per_class: list[float | None]


def compute_mean_average_precision(scores: np.ndarray, targets: np.ndarray) -> MeanAveragePrecisionResult:
    r"""
    Macro mean of the average precisions of the classes; classes without a positive clip are left out and counted.

    The average precision of a class is that of the clips of which it is known whether the class applies.

    Args:
        scores (`np.ndarray` of shape `(num_clips, num_labels)`):
            Scores; any increasing function of them gives the same result.
        targets (`np.ndarray` of shape `(num_clips, num_labels)`):
            Zeros and ones, and -1 where nothing is known.

    Returns:
        [`MeanAveragePrecisionResult`].

    Raises:
        `ValueError`: if the shapes differ, a score is NaN, a target is not 0, 1 or -1, or no class has a positive.
    """
    scores, targets = np.asarray(scores), np.asarray(targets)
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(
            "predictions and references must both have the shape (num_clips, num_labels), got "
            f"{scores.shape} and {targets.shape}."
        )
    is_nan = np.isnan(scores).any(axis=1)
    if is_nan.any():
        raise ValueError(f"predictions must be numbers, got NaN for clip {is_nan.argmax()}.")
    is_allowed = np.isin(targets, (0, 1, -1))
    if not is_allowed.all():
        wrong = np.unique(targets[~is_allowed])[:5].tolist()
        raise ValueError(f"references must be 0, 1 or -1 (unknown), got {wrong}.")
    per_class: list[float | None] = []
    for label in range(targets.shape[1]):
        known = targets[:, label] >= 0
        present = targets[known, label]
        per_class.append(float(average_precision_score(present, scores[known, label])) if present.any() else None)
    values = [value for value in per_class if value is not None]
    if not values:
        raise ValueError("references must have a positive in at least one class, there is none.")
    return {
        "mAP": float(np.mean(values)),
        "num_classes_without_positives": len(per_class) - len(values),
        "per_class": per_class,
    }
