"""Mixup (Zhang et al., arXiv 1710.09412) of two clips: the mean of their code embeddings, or frames of either.

Codes have no mean, so that of the two only frames can be mixed before the embedding.
"""

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


def draw_token_mixup(attention_mask: torch.Tensor, alpha: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw partners and shares as [`draw_mixup`] does, and the frames that each clip takes from its partner.

    Where both clips have codes, a frame is the partner's with a probability of one minus the share. BOA, EOA and the
    padding of a clip stay, and so does its length.

    Args:
        attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`): Ones for BOA, codes and EOA, which
            come first.
        alpha (`float`): Parameter of the Beta distribution, above 0.

    Returns:
        `tuple`: `partners`, `torch.LongTensor` of shape `(batch_size,)`; `taken`, `torch.BoolTensor` of shape
        `(batch_size, sequence_length)`, the positions of the partner's codes; and `shares`, `torch.Tensor` of shape
        `(batch_size,)`, the share of a clip's codes that are its own in fact. All are on the device of the mask.
    """
    device = attention_mask.device
    partners, wanted = draw_mixup(len(attention_mask), alpha, device)
    draws = torch.rand(attention_mask.shape).to(device)
    positions = torch.arange(attention_mask.shape[1], device=device)
    is_code = (positions > 0) & (positions < attention_mask.sum(dim=1, keepdim=True) - 1)
    taken = is_code & is_code[partners] & (draws >= wanted[:, None])
    return partners, taken, 1 - taken.sum(dim=1) / is_code.sum(dim=1).clamp(min=1)


def mix_tokens(
    input_ids: torch.Tensor, partners: torch.Tensor, taken: torch.Tensor, sequence_dim: int = 1
) -> torch.Tensor:
    """Return ids with some positions of the partner.

    Args:
        input_ids (`torch.LongTensor`): Ids whose first dimension is the clips. Of several sequences of a clip, all
            take the same positions.
        partners, taken (`torch.Tensor`): From [`draw_token_mixup`].
        sequence_dim (`int`, defaults to 1): Dimension of the positions.
    """
    shape = [len(taken), *[1] * (input_ids.ndim - 1)]
    shape[sequence_dim] = taken.shape[1]
    return torch.where(taken.view(shape), input_ids[partners], input_ids)


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
        partners, shares (`torch.Tensor` of shape `(batch_size,)`): Those of the mixed embeddings or codes.
        num_labels (`int`): Number of classes.
        loss (`str`): Name of the loss, from [`classification_loss_name`]. For `"lsep"`, which ranks hard labels, the
            target is the union of both labels, unless the share is 1. For other losses it is the mean of both,
            weighted by the shares; for `"bce"`, a class of which nothing is known in one of them (-1) stays unknown.

    Returns:
        `torch.FloatTensor` of shape `(batch_size, num_labels)`.
    """
    if labels.ndim == 1:
        labels = labels[:, None] if loss == "regression" else nn.functional.one_hot(labels, num_labels)
    labels = labels.float()
    if loss == "lsep":
        return torch.maximum(labels, labels[partners] * (shares < 1)[:, None])
    mixed = shares[:, None] * labels + (1 - shares[:, None]) * labels[partners]
    if loss != "bce":
        return mixed
    unknown = (labels < 0) | ((labels[partners] < 0) & (shares < 1)[:, None])
    return torch.where(unknown, -1.0, mixed)
