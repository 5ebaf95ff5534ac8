"""Clips that are longer than a model has positions for: cut into pieces, and joined again.

Model folders share this file by a link: what travels to the Hub can import only its siblings.
"""

import torch
from torch import nn


def cut_pieces(values: torch.Tensor, length: int, hop: int) -> torch.Tensor:
    """
    Cut sequences into pieces of one length. What the last one lacks is zero.

    Args:
        values (`torch.Tensor` of shape `(batch_size, sequence_length, ...)`):
            At least `length` positions.
        length (`int`):
            Number of positions per piece.
        hop (`int`):
            Number of positions from the start of a piece to the next, from 1 to `length`.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_pieces, length, ...)`.
    """
    num_pieces = 1 - (length - values.shape[1]) // hop
    missing = (num_pieces - 1) * hop + length - values.shape[1]
    padded = nn.functional.pad(values, (*(0, 0) * (values.ndim - 2), 0, missing))
    return padded.unfold(1, length, hop).movedim(-1, 2)


def join_pieces(pieces: torch.Tensor, mask: torch.Tensor, hop: int) -> torch.Tensor:
    """
    Join the hidden states of pieces of long clips, which fade into each other where pieces overlap.

    A piece that begins after all of a clip has been read counts for nothing, however long the other clips of the batch
    are, so that a clip has the same hidden states alone and in any batch.

    Args:
        pieces (`torch.Tensor` of shape `(batch_size, num_pieces, length, size)`):
            Hidden states; piece `k` begins at position `k * hop`.
        mask (`torch.BoolTensor` of shape `(batch_size, sequence_length)`):
            Which positions are real: the first ones of each clip.
        hop (`int`):
            From 1 to `length`.

    Returns:
        `torch.Tensor` of shape `(batch_size, sequence_length, size)`.
    """
    num_pieces, length = pieces.shape[1:3]
    positions = mask.shape[1]
    if hop == length:
        return pieces.flatten(1, 2)[:, :positions]
    offsets = torch.arange(length, device=pieces.device)
    starts = hop * torch.arange(num_pieces, device=pieces.device)
    # Lowest at the ends, where a piece knows one side only.
    fade = torch.minimum(offsets + 1, length - offsets)
    weights = (needed_pieces(mask, num_pieces, length, hop)[:, :, None] * fade).to(torch.float32)
    index = (starts[:, None] + offsets).flatten()
    total = (num_pieces - 1) * hop + length
    sums = pieces.new_zeros(pieces.shape[0], total, pieces.shape[3], dtype=torch.float32)
    sums = sums.index_add(1, index, (pieces.float() * weights[..., None]).flatten(1, 2))
    norms = weights.new_zeros(pieces.shape[0], total).index_add(1, index, weights.flatten(1, 2))
    return (sums / norms.clamp(min=1.0)[..., None])[:, :positions].to(pieces.dtype)


def needed_pieces(mask: torch.Tensor, num_pieces: int, length: int, hop: int) -> torch.Tensor:
    """
    Which pieces hold something of a clip that the pieces before do not.

    Args:
        mask (`torch.BoolTensor` of shape `(batch_size, sequence_length)`):
            Which positions are real: the first ones of each clip.
        num_pieces (`int`):
            Number of pieces.
        length (`int`):
            Number of positions per piece.
        hop (`int`):
            Number of positions from the start of a piece to the next.

    Returns:
        `torch.BoolTensor` of shape `(batch_size, num_pieces)`; the first piece is always needed.
    """
    starts = hop * torch.arange(num_pieces, device=mask.device)
    return (starts == 0) | (starts - hop + length < mask.sum(dim=1, keepdim=True))


__all__ = ["cut_pieces", "join_pieces", "needed_pieces"]
