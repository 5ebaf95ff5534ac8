"""Losses of classifiers: AudioFormer (arXiv 2308.07221), Eq. 5 to 7.

Model folders share this file by a link: what travels to the Hub can import only its siblings.
"""

import torch
from torch import nn
from transformers import PreTrainedConfig

_LOSS_OF_PROBLEM_TYPE = {
    "regression": "regression",
    "single_label_classification": "cross_entropy",
    "multi_label_classification": "bce",
}


def classification_loss_name(config: PreTrainedConfig) -> str:
    """
    Which loss a classifier is trained with, as far as its configuration says.

    Args:
        config ([`~transformers.PreTrainedConfig`]):
            `classification_loss` decides, then `problem_type`, then `num_labels`.

    Returns:
        `str`: `"cross_entropy"` (Eq. 5), `"bce"` (Eq. 6), `"lsep"` (Eq. 7) or `"regression"` (squared error). If the
        configuration names neither a loss nor a problem type: `"regression"` for one label, else `"cross_entropy"`.

    Raises:
        ValueError: If `problem_type` is unknown.
    """
    # Other model families have no such field.
    named = getattr(config, "classification_loss", None)
    if named is not None:
        return named
    if config.problem_type is None:
        return "regression" if config.num_labels == 1 else "cross_entropy"
    if config.problem_type not in _LOSS_OF_PROBLEM_TYPE:
        allowed = ", ".join(f'"{problem_type}"' for problem_type in _LOSS_OF_PROBLEM_TYPE)
        raise ValueError(f"`problem_type` must be {allowed} or `None`, got {config.problem_type!r}.")
    return _LOSS_OF_PROBLEM_TYPE[config.problem_type]


def named_classification_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    name: str,
    label_smoothing: float = 0.0,
    bce_reduction: str = "mean",
) -> torch.Tensor:
    """
    Compute one of the classifier's losses.

    Args:
        logits (`torch.Tensor` of shape `(batch_size, num_labels)`):
            Scores.
        targets (`torch.Tensor`):
            For `"cross_entropy"`, class indices of shape `(batch_size,)` or `(batch_size, 1)`, or floating-point
            shares of shape `(batch_size, num_labels)`. For `"bce"`, values in `[0, 1]`, or -1 where nothing is known
            and the loss is 0, and for `"lsep"`, zeros and ones, both of shape `(batch_size, num_labels)`. For
            `"regression"`, as many values as there are logits.
        name (`str`):
            `"cross_entropy"`, `"bce"`, `"lsep"` or `"regression"`.
        label_smoothing (`float`, *optional*, defaults to 0.0):
            Share of each target that is spread evenly: over all classes for `"cross_entropy"`, over present and absent
            for `"bce"`. The other losses do not support it.
        bce_reduction (`str`, *optional*, defaults to `"mean"`):
            Whether `"bce"` is the `"sum"` (Eq. 6) or the `"mean"` over the labels of a clip.

    Returns:
        `torch.Tensor`: The mean over the batch (and over the values of a clip for `"regression"`), a float32 scalar.

    Raises:
        ValueError: If `name` or `bce_reduction` is unknown, or `label_smoothing` is not 0 for a loss that does not
            support it.
    """
    if bce_reduction not in ("mean", "sum"):
        raise ValueError(f"`bce_reduction` must be 'mean' or 'sum', got {bce_reduction!r}.")
    if label_smoothing and name in ("lsep", "regression"):
        raise ValueError(f"`label_smoothing` must be 0 for the loss {name!r}, got {label_smoothing}.")
    logits, targets = logits.float(), targets.to(logits.device)
    if name == "lsep":
        return lsep_loss(logits, targets)
    if name == "bce":
        # The mean is over all labels, known or not, so that every known one counts the same in any batch.
        known = targets >= 0
        targets = targets.float() * (1 - label_smoothing) + label_smoothing / 2
        losses = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none") * known
        return losses.mean() if bce_reduction == "mean" else losses.sum(dim=-1).mean()
    if name == "cross_entropy":
        is_soft = targets.is_floating_point() and targets.shape == logits.shape
        targets = targets.float() if is_soft else targets.view(-1).long()
        return nn.functional.cross_entropy(logits, targets, label_smoothing=label_smoothing)
    if name == "regression":
        return nn.functional.mse_loss(logits, targets.float().view_as(logits))
    raise ValueError(f"The classification loss must be 'cross_entropy', 'bce', 'lsep' or 'regression', got {name!r}.")


def lsep_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    r"""
    Log-sum-exp pairwise loss (Eq. 7) for multi-label logits.

    It is computed in the factored form of the equation, which forms no pairs of classes and in which no exponential
    overflows. `audioformer.training.LSEPLoss` wraps this function as a module.

    Args:
        logits (`torch.Tensor` of shape `(batch_size, num_labels)`):
            Floating-point scores. Half precision is computed in float32.
        labels (`torch.Tensor` of shape `(batch_size, num_labels)`):
            Zeros and ones of any dtype.

    Returns:
        `torch.Tensor`: The mean over the clips, a scalar. A clip without positives or without negatives contributes 0.

    Raises:
        ValueError: If `logits` are not floating point, do not have two dimensions or are empty, or if `labels` have
            another shape or values other than 0 and 1. Checking the values synchronizes with the device once;
            `torch.compile` skips that check, so that the graph stays whole.
    """
    _check_multi_hot(logits, labels)
    scores = logits if logits.dtype == torch.float64 else logits.float()
    positive = labels == 1
    # The lowest finite value rather than -inf: in a clip without positives or without negatives every entry is filled,
    # and a log-sum-exp over nothing but -inf has NaN gradients, at which anomaly detection stops.
    lowest = torch.finfo(scores.dtype).min
    negatives = scores.masked_fill(positive, lowest).logsumexp(dim=-1)
    positives = (-scores).masked_fill(~positive, lowest).logsumexp(dim=-1)
    # Softplus becomes linear above its threshold; at the default of 20 the error is 2e-9.
    return nn.functional.softplus(negatives + positives, threshold=40.0).mean()


def _check_multi_hot(logits: torch.Tensor, labels: torch.Tensor) -> None:
    if not logits.is_floating_point():
        raise ValueError(f"`logits` must be floating point, got {logits.dtype}.")
    if logits.ndim != 2 or logits.numel() == 0:
        raise ValueError(
            f"`logits` must have the shape (batch_size, num_labels), both at least 1, got {tuple(logits.shape)}."
        )
    if labels.shape != logits.shape:
        raise ValueError(
            f"`labels` must be multi-hot and have the shape of `logits`, {tuple(logits.shape)}, "
            f"got {tuple(labels.shape)}."
        )
    if torch.compiler.is_compiling() or labels.dtype == torch.bool:
        return
    allowed = (labels == 0) | (labels == 1)
    if not allowed.all():  # synchronizes with the device
        wrong = labels[~allowed].unique()[:5].tolist()
        raise ValueError(f"`labels` must be 0 (absent) or 1 (present), got {wrong}.")


def audio_classification_loss(
    labels: torch.Tensor, logits: torch.Tensor, config: PreTrainedConfig, **kwargs
) -> torch.Tensor:
    """
    The `loss_function` of the classifier: the loss that [`classification_loss_name`] finds in the configuration.

    Unlike the loss functions of transformers for the same task, it does not write a problem type that it derived from
    one batch into the configuration, and multi-hot labels may be integers.

    Args:
        labels (`torch.Tensor`):
            Class indices of shape `(batch_size,)`, zeros and ones of shape `(batch_size, num_labels)`, or the values
            to regress. If the configuration names neither a loss nor a problem type and there are several labels,
            integers of another shape than the logits are class indices, and anything else is multi-label.
        logits (`torch.Tensor` of shape `(batch_size, num_labels)`):
            Scores.
        config ([`~transformers.PreTrainedConfig`]):
            `classification_loss`, `problem_type`, `num_labels` and `bce_reduction` are read.

    Returns:
        `torch.Tensor`: The mean over the batch, a float32 scalar.

    Raises:
        ValueError: If `problem_type` is unknown.
    """
    name = classification_loss_name(config)
    is_derived = getattr(config, "classification_loss", None) is None and config.problem_type is None
    if is_derived and name == "cross_entropy" and (labels.is_floating_point() or labels.shape == logits.shape):
        name = "bce"
    return named_classification_loss(logits, labels, name, bce_reduction=getattr(config, "bce_reduction", "mean"))


__all__ = ["audio_classification_loss", "classification_loss_name", "lsep_loss", "named_classification_loss"]
