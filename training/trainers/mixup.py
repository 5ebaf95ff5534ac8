"""Mixup (Zhang et al., arXiv 1710.09412) of the code embeddings of two clips; codes themselves cannot be mixed."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def mixed_embeddings(embedding: nn.Module, partners: torch.Tensor, shares: torch.Tensor) -> Iterator[None]:
    """Make `embedding` return `share * own + (1 - share) * partner's` within this context.

    This is a hook rather than `inputs_embeds` so that the weights are read inside the model's forward, where wrappers
    that shard or synchronize them expect it.

    Args:
        embedding (`nn.Module`): The model's input embedding.
        partners (`torch.LongTensor` of shape `(batch_size,)`): Index of each clip's partner in the batch.
        shares (`torch.Tensor` of shape `(batch_size,)`): Share of the clip itself, in [0, 1].
    """

    def mix(module: nn.Module, inputs: tuple, embedded: torch.Tensor) -> torch.Tensor:
        weights = shares.to(embedded)[:, None, None]
        return weights * embedded + (1 - weights) * embedded[partners]

    handle = embedding.register_forward_hook(mix)
    try:
        yield
    finally:
        handle.remove()


def draw_mixup(batch_size: int, alpha: float, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw partners, a random permutation, and shares from Beta(alpha, alpha), at least one half: the own clip leads.

    Both come from torch's global generator on the CPU, whose state the Trainer saves with every checkpoint.

    Returns:
        `tuple`: `partners`, `torch.LongTensor` of shape `(batch_size,)`, and `shares`, `torch.Tensor` of shape
        `(batch_size,)`, both on `device`.
    """
    partners = torch.randperm(batch_size)
    shares = torch.distributions.Beta(alpha, alpha).sample((batch_size,))
    return partners.to(device), torch.maximum(shares, 1 - shares).to(device)


def mix_labels(
    labels: torch.Tensor,
    partners: torch.Tensor,
    shares: torch.Tensor,
    num_labels: int,
    loss: str,
) -> torch.Tensor:
    """Return the targets of mixed clips.

    Args:
        labels (`torch.Tensor`): Class indices of shape `(batch_size,)`, or zeros and ones of shape
            `(batch_size, num_labels)`.
        partners, shares (`torch.Tensor` of shape `(batch_size,)`): Those of the mixed embeddings.
        num_labels (`int`): Number of classes.
        loss (`str`): Name of the loss, from [`classification_loss_name`]. For `"lsep"`, which ranks hard labels, the
            target is the union of both labels. For other losses it is the mean of both, weighted by the shares.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_labels)`.
    """
    if labels.ndim == 1:
        labels = labels[:, None] if loss == "regression" else nn.functional.one_hot(labels, num_labels)
    labels = labels.float()
    if loss == "lsep":
        return torch.maximum(labels, labels[partners])
    return shares[:, None] * labels + (1 - shares[:, None]) * labels[partners]
