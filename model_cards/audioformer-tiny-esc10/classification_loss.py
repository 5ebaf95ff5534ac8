"""The loss of the classifier: AudioFormer (arXiv 2308.07221), Eq. 5 to 7, as `forward(labels=...)` computes it."""

import torch
from torch import nn

from .configuration_audioformer import AudioFormerConfig


def lsep_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    r"""
    Log-sum-exp pairwise loss (Eq. 7) of multi-label logits, in its second form: no pair of classes is ever formed, and
    no exponential overflows. `audioformer.training.LSEPLoss` is this function as a module, and says more about it.

    Args:
        logits (`torch.Tensor` of shape `(batch_size, num_labels)`):
            Scores, floating point; less than 32 bits are raised to float32.
        labels (`torch.Tensor` of shape `(batch_size, num_labels)`):
            Zeros and ones of any dtype.

    Returns:
        `torch.Tensor`: the mean over the clips, a scalar. A clip without positives, or without negatives, adds 0.

    Raises:
        `ValueError`: logits that are not floating point or not of two dimensions, an empty batch, labels of another
        shape or other than 0 and 1. The last costs one wait for the device, and is left out while `torch.compile`
        traces, so that the graph stays whole.
    """
    _check_multi_hot(logits, labels)
    scores = logits if logits.dtype == torch.float64 else logits.float()
    positive = labels == 1
    # The lowest finite value, not -inf: in a clip without positives, or without negatives, all entries are filled, and
    # a log-sum-exp over -inf alone has NaN gradients: masked again here, but anomaly detection stops at them.
    lowest = torch.finfo(scores.dtype).min
    negatives = scores.masked_fill(positive, lowest).logsumexp(dim=-1)
    positives = (-scores).masked_fill(~positive, lowest).logsumexp(dim=-1)
    # Softplus turns linear above its threshold; at the default of 20 that is off by 2e-9.
    return nn.functional.softplus(negatives + positives, threshold=40.0).mean()


def _check_multi_hot(logits: torch.Tensor, labels: torch.Tensor) -> None:
    if not logits.is_floating_point():
        raise ValueError(f"`logits` must be floating point, got {logits.dtype}.")
    if logits.ndim != 2 or logits.numel() == 0:
        raise ValueError(
            f"`logits` must have the shape (batch_size, num_labels), neither of them 0, got {tuple(logits.shape)}."
        )
    if labels.shape != logits.shape:
        raise ValueError(
            f"`labels` must be multi-hot and have the shape of `logits`, {tuple(logits.shape)}, "
            f"got {tuple(labels.shape)}."
        )
    if torch.compiler.is_compiling() or labels.dtype == torch.bool:
        return
    allowed = (labels == 0) | (labels == 1)
    if not allowed.all():  # the one wait for the device
        wrong = labels[~allowed].unique()[:5].tolist()
        raise ValueError(f"`labels` must be 0 (absent) or 1 (present), got {wrong}.")


def audio_classification_loss(
    labels: torch.Tensor, logits: torch.Tensor, config: AudioFormerConfig, **kwargs
) -> torch.Tensor:
    """
    Loss of the classifier, chosen by `config.classification_loss`, and where that is `None` by `config.problem_type`:
    cross-entropy (Eq. 5), binary cross-entropy (Eq. 6), or squared error. LSEP (Eq. 7) has to be asked for.

    Differs from the loss of the same use in transformers in that it does not write the problem type that it derived
    into the configuration (the next batch may look different), and in that multi-hot labels may be integers.

    Args:
        labels (`torch.Tensor`):
            `(batch,)` class indices, `(batch, num_labels)` zeros and ones, or the values to regress. With
            `config.problem_type=None`, one label means regression, integers that are not of the logits' shape mean one
            class for each clip, and anything else several.
        logits (`torch.Tensor` of shape `(batch, num_labels)`):
            Scores.
        config ([`AudioFormerConfig`]):
            `num_labels`, `problem_type` and `classification_loss` are read.

    Returns:
        `torch.Tensor`: the mean over the batch (and the labels), a float32 scalar.

    Raises:
        `ValueError`: an unknown `problem_type`.
    """
    labels, logits = labels.to(logits.device), logits.float()
    if config.classification_loss == "lsep":
        return lsep_loss(logits, labels)
    problem_type = config.problem_type
    if problem_type is None:
        if config.num_labels == 1:
            problem_type = "regression"
        elif not labels.is_floating_point() and labels.shape != logits.shape:
            problem_type = "single_label_classification"
        else:
            problem_type = "multi_label_classification"

    if problem_type == "regression":
        return nn.functional.mse_loss(logits, labels.to(logits.dtype).view_as(logits))
    if problem_type == "single_label_classification":
        return nn.functional.cross_entropy(logits, labels.view(-1).long())
    if problem_type == "multi_label_classification":
        return nn.functional.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))
    raise ValueError(
        '`problem_type` must be "regression", "single_label_classification", "multi_label_classification" or `None`, '
        f"got {problem_type!r}."
    )


__all__ = ["audio_classification_loss", "lsep_loss"]
