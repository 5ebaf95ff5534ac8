"""Accuracy of single-label classification, as an `evaluate` module."""

from typing import Any

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """
Accuracy: the share of the clips whose class was predicted, for clips that have exactly one.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (list of int): Index of the predicted class of each clip.
    references (list of int): Index of its own class.

Returns:
    accuracy (float): 0 to 1.

Example:

    >>> metric = evaluate.load("path/to/accuracy")
    >>> metric.compute(predictions=[0, 2, 1], references=[0, 1, 1])["accuracy"]
    0.6666666666666666
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class Accuracy(evaluate.Metric):
    """Share of the predictions that equal their references. Unlike the module of the Hub it needs no download."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation="",
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {"predictions": datasets.Value("int64"), "references": datasets.Value("int64")}
            ),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        predicted, expected = np.asarray(predictions), np.asarray(references)
        if not predicted.size or predicted.shape != expected.shape:
            raise ValueError(
                "predictions and references must both have the shape (num_clips,), with at least one clip, got "
                f"{predicted.shape} and {expected.shape}."
            )
        return {"accuracy": float((predicted == expected).mean())}
