"""Mean average precision of multi-label classification, as an `evaluate` module."""

import datasets
import evaluate
import numpy as np

from .average_precision import MeanAveragePrecisionResult, compute_mean_average_precision

_DESCRIPTION = """
Mean average precision (mAP): the macro mean of the average precisions of the classes. A class without a positive clip
has no average precision. Such classes are left out of the mean and counted.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (list of list of float): For each clip a score per class; any increasing function of the scores gives
        the same result.
    references (list of list of int): Zeros and ones of the same shape, and -1 where nothing is known: the
        average precision of a class is that of the other clips.

Returns:
    mAP (float): Mean over the classes that have a positive.
    num_classes_without_positives (int): Classes that were left out of the mean.
    per_class (list of float or None): Average precision of each class, `None` where it was left out.

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
