"""Mean average precision of multi-label classification, as an `evaluate` module."""

from typing import TypedDict

import datasets
import evaluate
import numpy as np

from .average_precision import MeanAveragePrecisionResult, compute_mean_average_precision

_DESCRIPTION = """
<<<<<<< HEAD
Mean average precision (mAP): the macro mean of the average precisions of the classes. A class without a positive clip
has no average precision. Such classes are left out of the mean and counted.
=======
Mean average precision (mAP): the average precision of each class, averaged over the classes. Classes without a
positive clip have no average precision; they are excluded from the mean, and counted.
>>>>>>> types1
"""

_KWARGS_DESCRIPTION = """
Args:
<<<<<<< HEAD
    predictions (list of list of float): For each clip a score per class; any increasing function of the scores gives
        the same result.
=======
    predictions (list of list of float): One score per class for each clip; any increasing function of them gives the
        same result.
>>>>>>> types1
    references (list of list of int): Zeros and ones of the same shape.

Returns:
    mAP (float): Mean over the classes that have a positive.
<<<<<<< HEAD
    num_classes_without_positives (int): Classes that were left out of the mean.
    per_class (list of float or None): Average precision of each class, `None` where it was left out.
=======
    num_classes_without_positives (int): Number of classes that are excluded.
    per_class (list of float or None): Average precision of each class, `None` if it is excluded.
>>>>>>> types1

Example:

    >>> metric = evaluate.load("path/to/mean_average_precision")
    >>> results = metric.compute(predictions=[[0.9, 0.1], [0.2, 0.8]], references=[[1, 0], [1, 1]])
    >>> results["mAP"]
    1.0
"""

_CITATION = """
@inproceedings{gemmeke2017audioset,
  title = {Audio Set: An ontology and human-labeled dataset for audio events},
  author = {Gemmeke, Jort F. and Ellis, Daniel P. W. and Freedman, Dylan and Jansen, Aren and Lawrence, Wade and Moore,
            R. Channing and Plakal, Manoj and Ritter, Marvin},
  booktitle = {ICASSP},
  year = {2017}
}
"""


class MeanAveragePrecisionResult(TypedDict):
    """Result of the metric.

    Args:
        mAP (`float`): Mean over the classes that have a positive.
        num_classes_without_positives (`int`): Number of classes that are excluded from the mean.
        per_class (`list[float | None]`): Average precision of each class, `None` if it is excluded.
    """

    mAP: float
    num_classes_without_positives: int
    per_class: list[float | None]


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class MeanAveragePrecision(evaluate.Metric):
    """Macro mean of scikit-learn's `average_precision_score` over the classes that have a positive clip."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {
                    "predictions": datasets.Sequence(datasets.Value("float64")),
                    "references": datasets.Sequence(datasets.Value("int64")),
                }
            ),
            reference_urls=["https://scikit-learn.org/stable/modules/model_evaluation.html#average-precision"],
        )

    def _compute(self, predictions: list[list[float]], references: list[list[int]]) -> MeanAveragePrecisionResult:
        return compute_mean_average_precision(np.asarray(predictions, dtype=float), np.asarray(references))
<<<<<<< HEAD
=======


def compute_mean_average_precision(scores: np.ndarray, targets: np.ndarray) -> MeanAveragePrecisionResult:
    """Compute the metric on arrays.

    Args:
        scores (`np.ndarray` of shape `(num_clips, num_labels)`): Scores.
        targets (`np.ndarray` of shape `(num_clips, num_labels)`): Zeros and ones.

    Returns:
        [`MeanAveragePrecisionResult`]: The mean, the number of excluded classes, and the value of each class.

    Raises:
        ValueError: If the shapes differ, a score is NaN, a target is neither 0 nor 1, or no class has a positive.
    """
    scores, targets = np.asarray(scores), np.asarray(targets)
    if scores.ndim != 2 or scores.shape != targets.shape:
        raise ValueError(
            "predictions and references must both have the shape (num_clips, num_labels), got "
            f"{scores.shape} and {targets.shape}."
        )
    if np.isnan(scores).any():
        raise ValueError(
            f"predictions must be numbers, got NaN for clip {int(np.isnan(scores).any(axis=1).argmax())}."
        )
    if not np.isin(targets, (0, 1)).all():
        wrong = np.unique(targets[~np.isin(targets, (0, 1))])[:5].tolist()
        raise ValueError(f"references must be 0 or 1, got {wrong}.")
    per_class: list[float | None] = [
        float(average_precision_score(targets[:, label], scores[:, label])) if targets[:, label].any() else None
        for label in range(targets.shape[1])
    ]
    known = [value for value in per_class if value is not None]
    if not known:
        raise ValueError("references must have a positive in at least one class, got none.")
    return {
        "mAP": float(np.mean(known)),
        "num_classes_without_positives": len(per_class) - len(known),
        "per_class": per_class,
    }
>>>>>>> types1
