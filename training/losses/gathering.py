"""Gathering tensors of all processes, for losses over the batch of all of them."""

import torch
from torch import distributed


def number_of_processes() -> int:
    """Return the size of the default process group, 1 if none is initialized."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def gather_across_processes(share: torch.Tensor) -> tuple[torch.Tensor, int]:
    r"""
    Concatenate a tensor of every process along its first dimension, in the order of the ranks, without gradients.

    Every process of the default group must call this function. It takes two collectives, the first for a few integers,
    and synchronizes with the device once, because the sizes decide shapes.

    Args:
        share (`torch.Tensor` of shape `(batch_size, ...)`):
            The share of this process. `batch_size` may differ between processes.

    Returns:
        `torch.Tensor` of shape `(sum of batch_size, ...)`, and the index (`int`) at which the own share begins in it.

    Raises:
        ValueError: On every process, if the shapes differ in more than the first dimension.
    """
    share = share.detach()
    own_shape = torch.tensor(share.shape, device=share.device)
    shapes = [torch.empty_like(own_shape) for _ in range(number_of_processes())]
    distributed.all_gather(shapes, own_shape)
    sizes: list[list[int]] = torch.stack(shapes).tolist()
    if any(size[1:] != sizes[0][1:] for size in sizes):
        raise ValueError(
            "Shapes may differ between processes in the first dimension (the batch size) only, got "
            f"{[tuple(size) for size in sizes]} by rank."
        )
    counts = [size[0] for size in sizes]
    # Collectives need equal shapes: shorter shares are padded, and cut after the exchange.
    padded = share.new_zeros((max(counts), *share.shape[1:]))
    padded[: len(share)] = share
    gathered = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(gathered, padded)
    joined = torch.cat([other[:count] for other, count in zip(gathered, counts, strict=True)])
    return joined, sum(counts[: distributed.get_rank()])
