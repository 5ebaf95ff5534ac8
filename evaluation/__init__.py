"""Evaluation of classifiers: metrics with intervals, calibration, figures, and the summary of a run."""

from typing import TYPE_CHECKING

from audioformer.lazy import lazy_names

if TYPE_CHECKING:
    from .accuracy.accuracy import Accuracy
    from .calibration import Calibration, fit_calibration
    from .mean_average_precision.average_precision import compute_mean_average_precision
    from .mean_average_precision.mean_average_precision import MeanAveragePrecision
    from .metrics import bootstrap_interval, build_compute_metrics, metric_name, per_class_table
    from .summary import EvaluationSummary, GainResult
    from .windows import MergedScores, merge_windows, scores_over_time, window_weights

_MODULES = {
    "Accuracy": "accuracy.accuracy",
    "Calibration": "calibration",
    "EvaluationSummary": "summary",
    "GainResult": "summary",
    "MeanAveragePrecision": "mean_average_precision.mean_average_precision",
    "MergedScores": "windows",
    "bootstrap_interval": "metrics",
    "build_compute_metrics": "metrics",
    "compute_mean_average_precision": "mean_average_precision.average_precision",
    "fit_calibration": "calibration",
    "merge_windows": "windows",
    "metric_name": "metrics",
    "per_class_table": "metrics",
    "scores_over_time": "windows",
    "window_weights": "windows",
}
"""Module of each public name, imported when the name is first used: a baseline needs neither `evaluate` nor a plot."""

__all__ = [
    "Accuracy",
    "Calibration",
    "EvaluationSummary",
    "GainResult",
    "MeanAveragePrecision",
    "MergedScores",
    "bootstrap_interval",
    "build_compute_metrics",
    "compute_mean_average_precision",
    "fit_calibration",
    "merge_windows",
    "metric_name",
    "per_class_table",
    "scores_over_time",
    "window_weights",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
