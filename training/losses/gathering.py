"""Rows of every process, for losses whose batch is the joined one."""

import torch
from torch import distributed


def number_of_processes() -> int:
    """Size of the default process group, 1 where none is initialised."""
    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def gather_across_processes(rows: torch.Tensor) -> tuple[torch.Tensor, int]:
    r"""
    Join a tensor of every process along its first dimension, in the order of the ranks. No gradient passes.

    Every process of the default group must call it, with as many rows as it likes. Costs two collectives, the first
    of a few integers, and one wait for the device, because sizes decide shapes.

    Args:
        rows (`torch.Tensor` of shape `(num_rows, ...)`):
            The share of this process, at least one-dimensional.

    Returns:
        `torch.Tensor` of shape `(sum of num_rows, ...)`, and the position (`int`) of the first own row in it.

    Raises:
        `ValueError`: on every process, if the shapes differ elsewhere than in the first dimension.
    """
    rows = rows.detach()
    own_shape = torch.tensor(rows.shape, device=rows.device)
    shapes = [torch.empty_like(own_shape) for _ in range(number_of_processes())]
    distributed.all_gather(shapes, own_shape)
    shapes = torch.stack(shapes).tolist()
    if any(shape[1:] != shapes[0][1:] for shape in shapes):
        raise ValueError(
            "Processes may differ in the first dimension (their batch sizes) alone, got the shapes "
            f"{[tuple(shape) for shape in shapes]} by rank."
        )
    counts = [shape[0] for shape in shapes]
    # Collectives want equal shapes: the shorter shares travel padded and are cut again.
    padded = rows.new_zeros((max(counts), *rows.shape[1:]))
    padded[: len(rows)] = rows
    gathered = [torch.empty_like(padded) for _ in counts]
    distributed.all_gather(gathered, padded)
    joined = torch.cat([share[:count] for share, count in zip(gathered, counts, strict=True)])
    return joined, sum(counts[: distributed.get_rank()])
