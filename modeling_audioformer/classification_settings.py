"""What the configurations of all classifiers have in common: loss, problem type and calibration.

Model folders share this file by a link: what travels to the Hub can import only its siblings.
"""

import math
from typing import Any, Literal, TypeAlias

import torch
from transformers.utils import logging

logger = logging.get_logger(__name__)

ProblemType: TypeAlias = Literal["regression", "single_label_classification", "multi_label_classification"]

PROBLEM_TYPES: dict[str, ProblemType] = {
    "cross_entropy": "single_label_classification",
    "bce": "multi_label_classification",
    "lsep": "multi_label_classification",
}
"""What each classification loss is for."""


def check_classification(config: Any) -> None:
    """
    Check that the loss fits the problem type, and that the calibration is finite.

    Args:
        config ([`~transformers.PreTrainedConfig`]):
            With `classification_loss`, `problem_type`, `calibration_temperature` and `calibration_bias`.

    Raises:
        ValueError: If they do not fit, or the temperature is not positive.
    """
    loss = config.classification_loss
    if loss is not None and config.problem_type not in (None, PROBLEM_TYPES[loss]):
        raise ValueError(
            f"`classification_loss` {loss!r} needs `problem_type` "
            f'"{PROBLEM_TYPES[loss]}", got {config.problem_type!r}.'
        )
    temperature = config.calibration_temperature
    if temperature is not None and not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"`calibration_temperature` must be a finite positive number, got {temperature}.")
    if config.calibration_bias is not None and not all(math.isfinite(bias) for bias in config.calibration_bias):
        raise ValueError(f"`calibration_bias` must contain finite numbers, got {config.calibration_bias}.")


def drop_settings_of_other_labels(config: Any) -> None:
    """Drop a calibration that was fitted for another number of labels, with a warning, and ids of other labels."""
    if config.calibration_bias is not None and len(config.calibration_bias) != config.num_labels:
        logger.warning(
            f"The calibration is dropped: it was fitted for {len(config.calibration_bias)} labels, and this "
            f"classifier has {config.num_labels}."
        )
        config.calibration_temperature = config.calibration_bias = None
    ids = getattr(config, "label_ids", None)
    if ids is not None:
        config.label_ids = {name: ids[name] for name in config.label2id if name in ids} or None


def calibrated(logits: torch.Tensor, config: Any) -> torch.Tensor:
    """Calibrate logits. The order of clips within a class does not change, and neither do ranking metrics."""
    if config.calibration_temperature is not None:
        logits = logits / config.calibration_temperature
    if config.calibration_bias is not None:
        logits = logits + logits.new_tensor(config.calibration_bias)
    return logits


__all__ = [
    "PROBLEM_TYPES",
    "ProblemType",
    "calibrated",
    "check_classification",
    "drop_settings_of_other_labels",
]
