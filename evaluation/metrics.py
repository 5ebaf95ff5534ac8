"""The metric of a task, its confidence interval, and its values per class."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.metrics import precision_recall_fscore_support
from transformers import EvalPrediction

from .mean_average_precision.average_precision import compute_mean_average_precision

if TYPE_CHECKING:
    import evaluate

ComputeMetrics = Callable[[EvalPrediction], dict[str, float]]


LARGE_SIZE = 1_000_000
"""Number of scores above which the bootstrap draws no more than `NUM_RESAMPLES_OF_LARGE` resamples."""
NUM_RESAMPLES_OF_LARGE = 200


def metric_name(multi_label: bool) -> str:
    """`"mAP"` for clips that can have several labels, `"accuracy"` for clips that have exactly one."""
    return "mAP" if multi_label else "accuracy"


def open_metric(multi_label: bool) -> "evaluate.Metric":
    """
    The metric of a task: [`MeanAveragePrecision`] for clips that can have several labels, else [`Accuracy`].

    Both are modules of the library `evaluate` and parts of this package, so that nothing is downloaded.
    """
    # Here, because most who import this module compute no metric, and `evaluate` takes longer to import than to use.
    from .accuracy.accuracy import Accuracy
    from .mean_average_precision.mean_average_precision import MeanAveragePrecision

    # In memory: processes that compute the same metric at the same time would otherwise wait for each other's files.
    return (MeanAveragePrecision if multi_label else Accuracy)(keep_in_memory=True)


def compute_metric(scores: np.ndarray, targets: np.ndarray, multi_label: bool) -> dict[str, Any]:
    """
    Compute the metric of a task with the library `evaluate`.

    Args:
        scores (`np.ndarray` of shape `(num_clips, num_labels)`): Scores.
        targets (`np.ndarray`): `(num_clips,)` classes, or `(num_clips, num_labels)` zeros and ones, and -1 where
            nothing is known.
        multi_label (`bool`): Whether a clip can have several labels.

    Returns:
        `dict[str, Any]`: `accuracy` (the share of the clips whose own class has the highest score), or the fields of
        [`MeanAveragePrecisionResult`].

    Raises:
        ValueError: If targets are no whole numbers, or the metric refuses its inputs.
    """
    references = np.asarray(targets).astype(np.int64)
    if (references != targets).any():
        raise ValueError(
            f"Targets must be whole numbers, got {np.asarray(targets)[references != targets][:5].tolist()}."
        )
    predictions = scores if multi_label else scores.argmax(axis=1)
    result = open_metric(multi_label).compute(predictions=predictions, references=references)
    assert result is not None  # It is only on processes other than the first of a metric that is shared by several.
    return result


def build_compute_metrics(multi_label: bool) -> ComputeMetrics:
    """
    `compute_metrics` for a Trainer.

    Args:
        multi_label (`bool`): Whether a clip can have several labels: the metric is mAP, otherwise accuracy.

    Returns:
        A function from an [`~transformers.EvalPrediction`] to a dict of plain numbers: `accuracy`, or `mAP` and
        `num_classes_without_positives`.
    """

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        # A model that returns more than logits makes a tuple of its predictions; the logits come first.
        scores, targets = (
            np.asarray(values[0] if isinstance(values, tuple) else values)
            for values in (prediction.predictions, prediction.label_ids)
        )
        result = compute_metric(scores, targets, multi_label)
        return {name: value for name, value in result.items() if name != "per_class"}

    return compute


def weighted_average_precision(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """
    Average precision of one class for many weightings of the clips at once.

    Args:
        scores (`np.ndarray` of shape `(num_clips,)`): Scores of the class.
        targets (`np.ndarray` of shape `(num_clips,)`): Zeros and ones.
        weights (`np.ndarray` of shape `(num_weightings, num_clips)`): Weight of each clip, at least 0.

    Returns:
        `np.ndarray` of shape `(num_weightings,)`: NaN where all positives have the weight 0. Equal to scikit-learn's
        `average_precision_score` with `sample_weight`, also for tied scores.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    ends = np.flatnonzero(np.diff(ordered, append=np.nan) != 0)
    weights = weights[:, order]
    positives = np.cumsum(weights * targets[order], axis=1)[:, ends]
    predicted = np.cumsum(weights, axis=1)[:, ends]
    found = np.diff(positives, axis=1, prepend=0)
    precision = positives / np.maximum(predicted, 1e-12)
    total = positives[:, -1]
    return np.where(total > 0, (found * precision).sum(axis=1) / np.maximum(total, 1e-12), np.nan)


def bootstrap_interval(
    scores: np.ndarray,
    targets: np.ndarray,
    multi_label: bool,
    *,
    groups: Sequence[str | None] | None = None,
    num_resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """
    Bootstrap percentile interval of the metric, over resampled clips or over resampled groups of clips.

    The interval tells how the metric would vary with the choice of test clips, not with the seed of the training.

    Args:
        scores (`np.ndarray` of shape `(num_clips, num_labels)`): Scores.
        targets (`np.ndarray`): `(num_clips,)` classes, or `(num_clips, num_labels)` zeros and ones, and -1 where
            nothing is known.
        multi_label (`bool`): Whether the metric is mAP; otherwise accuracy.
        groups (sequence, *optional*): See [`bootstrap_values`].
        num_resamples (`int`, *optional*, defaults to 1000): Number of resamples.
        confidence (`float`, *optional*, defaults to 0.95): Share of the resamples inside the interval.
        seed (`int`, *optional*, defaults to 0): Seed of the resampling.

    Returns:
        `tuple[float, float]`: lower and upper end.
    """
    values = bootstrap_values(scores, targets, multi_label, groups=groups, num_resamples=num_resamples, seed=seed)
    return percentile_interval(values, confidence)


def bootstrap_values(
    scores: np.ndarray,
    targets: np.ndarray,
    multi_label: bool,
    *,
    groups: Sequence[str | None] | None = None,
    num_resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """
    The metric of resampled clips, or of resampled groups of clips.

    The resamples depend on the number of clips, the groups and the seed alone: the values of two models on the same
    clips are paired. For large sets (18,886 clips x 527 classes) their number is reduced to 200, which takes minutes.

    Args:
        scores (`np.ndarray` of shape `(num_clips, num_labels)`): Scores.
        targets (`np.ndarray`): `(num_clips,)` classes, or `(num_clips, num_labels)` zeros and ones, and -1 where
            nothing is known.
        multi_label (`bool`): Whether the metric is mAP; otherwise accuracy.
        groups (sequence, *optional*): As in [`draw_resamples`].
        num_resamples (`int`, *optional*, defaults to 1000): Number of resamples.
        seed (`int`, *optional*, defaults to 0): Seed of the resampling.

    Returns:
        `np.ndarray` of shape `(num_resamples,)`: The metric of each resample.
    """
    if scores.size > LARGE_SIZE:
        num_resamples = min(num_resamples, NUM_RESAMPLES_OF_LARGE)
    weights = draw_resamples(len(scores), groups=groups, num_resamples=num_resamples, seed=seed)
    return resampled_metric(scores, targets, multi_label, weights)


def draw_resamples(
    num_clips: int, *, groups: Sequence[str | None] | None = None, num_resamples: int = 1000, seed: int = 0
) -> np.ndarray:
    """
    Draw clips, or groups of clips, with replacement.

    Args:
        num_clips (`int`): Number of clips.
        groups (sequence, *optional*): Group of each clip. A clip whose entry is `None` is a group of its own.
        num_resamples (`int`, *optional*, defaults to 1000): Number of resamples.
        seed (`int`, *optional*, defaults to 0): Seed. The same clips, groups and seed give the same resamples, so that
            differences between models are paired by clip.

    Returns:
        `np.ndarray` of shape `(num_resamples, num_clips)`: How often each clip is drawn.
    """
    rng = np.random.default_rng(seed)
    names = [
        f"clip {i}" if group is None else f"group {group}" for i, group in enumerate(groups or [None] * num_clips)
    ]
    _, group_of_clip = np.unique(names, return_inverse=True)
    num_groups = int(group_of_clip.max()) + 1
    draws = rng.multinomial(num_groups, np.full(num_groups, 1 / num_groups), size=num_resamples)
    return draws[:, group_of_clip].astype(np.float64)


def resampled_metric(scores: np.ndarray, targets: np.ndarray, multi_label: bool, weights: np.ndarray) -> np.ndarray:
    """
    The metric of each resample.

    Args:
        scores (`np.ndarray` of shape `(num_clips, num_labels)`): Scores.
        targets (`np.ndarray`): `(num_clips,)` classes, or `(num_clips, num_labels)` zeros and ones, and -1 where
            nothing is known.
        multi_label (`bool`): Whether the metric is mAP; otherwise accuracy.
        weights (`np.ndarray` of shape `(num_resamples, num_clips)`): From [`draw_resamples`].

    Returns:
        `np.ndarray` of shape `(num_resamples,)`: mAP is that of the classes with a positive in the resample.
    """
    if not multi_label:
        correct = scores.argmax(axis=1) == targets
        return (weights * correct).sum(axis=1) / weights.sum(axis=1)
    values, counts = np.zeros(len(weights)), np.zeros(len(weights))
    for label in np.flatnonzero((targets > 0).any(axis=0)):
        known = targets[:, label] >= 0
        precision = weighted_average_precision(scores[known, label], targets[known, label], weights[:, known])
        values += np.nan_to_num(precision)
        counts += ~np.isnan(precision)
    return values / np.maximum(counts, 1)


def percentile_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """
    The interval that holds the middle share of the values of resamples.

    Args:
        values (`np.ndarray` of shape `(num_resamples,)`): A metric, or a difference, of each resample.
        confidence (`float`, *optional*, defaults to 0.95): Share of the values inside.

    Returns:
        `tuple[float, float]`: lower and upper end.
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def per_class_table(
    scores: np.ndarray,
    targets: np.ndarray,
    labels: Sequence[str],
    multi_label: bool,
    average_precisions: Sequence[float | None] | None = None,
) -> list[dict[str, Any]]:
    """
    One row per class, in the order of `labels`.

    Args:
        scores (`np.ndarray` of shape `(num_clips, num_labels)`): Scores.
        targets (`np.ndarray`): `(num_clips,)` classes, or `(num_clips, num_labels)` zeros and ones, and -1 where
            nothing is known.
        labels (sequence of `str`): Names of the classes.
        multi_label (`bool`): Whether a clip can have several labels.
        average_precisions (sequence, *optional*): Those of the classes, if they have been computed.

    Returns:
        `list[dict[str, Any]]`: `label` and `clips` (their number), with `average_precision` (`None` for a class
        without clips) if `multi_label`, otherwise with `precision`, `recall` and `f1`.
    """
    if multi_label:
        values = average_precisions or compute_mean_average_precision(scores, targets)["per_class"]
        counts = np.count_nonzero(targets > 0, axis=0)
        return [
            {"label": label, "clips": int(count), "average_precision": value}
            for label, count, value in zip(labels, counts, values, strict=True)
        ]
    measures = precision_recall_fscore_support(
        targets, scores.argmax(axis=1), labels=np.arange(len(labels)), zero_division=0.0
    )
    return [
        {"label": label, "clips": int(count), "precision": float(p), "recall": float(r), "f1": float(f)}
        for label, p, r, f, count in zip(labels, *measures, strict=True)
    ]
