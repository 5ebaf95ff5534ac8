"""Measuring classifiers: metrics with intervals, calibration, pictures, and the summary of a run."""

from .calibration import Calibration, fit_calibration
from .mean_average_precision.mean_average_precision import MeanAveragePrecision, compute_mean_average_precision
from .metrics import bootstrap_interval, build_compute_metrics, metric_name, per_class_table
from .summary import EvaluationSummary
from .windows import MergedScores, merge_windows

__all__ = [
    "Calibration",
    "EvaluationSummary",
    "MeanAveragePrecision",
    "MergedScores",
    "bootstrap_interval",
    "build_compute_metrics",
    "fit_calibration",
    "compute_mean_average_precision",
    "merge_windows",
    "metric_name",
    "per_class_table",
]
