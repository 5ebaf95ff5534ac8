"""Mixup of the code embeddings of pairs of clips (Zhang et al., arXiv 1710.09412): codes themselves have no mean."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn


@contextmanager
def mixed_embeddings(embedding: nn.Module, partners: torch.Tensor, shares: torch.Tensor) -> Iterator[None]:
    """While it lasts, `embedding` gives `share * own + (1 - share) * partner's`.

    A hook, and not `inputs_embeds`: the weights are then read inside the model's forward, where wrappers that shard
    or synchronise them expect it.

    Args:
        embedding (`nn.Module`): The model's input embedding.
        partners (`torch.LongTensor` of shape `(batch_size,)`): Row of each row's partner.
        shares (`torch.Tensor` of shape `(batch_size,)`): Share of the row itself, 0 to 1.
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
    """Partners (a random permutation) and shares from Beta(alpha, alpha), at least one half: the own clip leads.

    Draws come from torch's global generator on the CPU, which the Trainer saves with every checkpoint.
    """
    partners = torch.randperm(batch_size)
    shares = torch.distributions.Beta(alpha, alpha).sample((batch_size,))
    return partners.to(device), torch.maximum(shares, 1 - shares).to(device)


def mix_labels(
    labels: torch.Tensor,
    partners: torch.Tensor,
    shares: torch.Tensor,
    num_labels: int,
    loss: Literal["lsep", "bce", "cross_entropy"],
) -> torch.Tensor:
    """Labels of mixed clips.

    Args:
        labels (`torch.Tensor`): `(batch_size,)` classes, or `(batch_size, num_labels)` zeros and ones.
        partners, shares (`torch.Tensor` of shape `(batch_size,)`): As they mixed the embeddings.
        num_labels (`int`): Number of classes.
        loss (`str`): `"lsep"` takes the union, for a ranking knows no half label; the others the mean by shares.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_labels)`, float.
    """
    if labels.ndim == 1:
        labels = nn.functional.one_hot(labels, num_labels)
    labels = labels.float()
    if loss == "lsep":
        return torch.maximum(labels, labels[partners])
    return shares[:, None] * labels + (1 - shares[:, None]) * labels[partners]
