"""Clips that are longer than a model has positions for: cut into pieces, and joined again.

Model folders share this file by a link: what travels to the Hub can import only its siblings.
"""

from collections.abc import Sequence
from typing import Any

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


class JoinedPieces:
    """
    Joins the hidden states of pieces of long clips, which fade into each other where pieces overlap.

    A piece that begins after all of a clip has been read counts for nothing, however long the other clips of the batch
    are, so that a clip has the same hidden states alone and in any batch.

    Args:
        mask (`torch.BoolTensor` of shape `(batch_size, sequence_length)`):
            Which positions are real: the first ones of each clip.
        num_pieces (`int`):
            Pieces per clip; piece `k` begins at position `k * hop`.
        length (`int`):
            Positions per piece.
        hop (`int`):
            From 1 to `length`.
    """

    def __init__(self, mask: torch.Tensor, num_pieces: int, length: int, hop: int):
        self.batch_size, self.sequence_length = mask.shape
        self.overlaps = hop < length
        self.padded_length = (num_pieces - 1) * hop + length
        self._parts: list[list[Any]] = []
        self._num_added = 0
        if self.overlaps:
            offsets = torch.arange(length, device=mask.device)
            starts = hop * torch.arange(num_pieces, device=mask.device)
            # Lowest at the ends, where a piece knows one side only.
            fade = torch.minimum(offsets + 1, length - offsets)
            needed = needed_pieces(mask, num_pieces, length, hop)
            rows = self.padded_length * torch.arange(self.batch_size, device=mask.device)
            # Of every position of every piece, clip by clip: its weight, and its place in the joined clips.
            self.weights = (needed[:, :, None] * fade).flatten(0, 1).float()
            self.places = (rows[:, None, None] + starts[:, None] + offsets).flatten(0, 1)

    def add(self, states: Sequence[torch.Tensor | None]) -> None:
        """
        Add the hidden states of the next pieces.

        Args:
            states (sequence of `torch.Tensor` of shape `(num_added, length, size)` or `None`):
                One entry per layer, in the same order every time; `None` for layers that are not recorded.
        """
        first = next(layer for layer in states if layer is not None)
        self.dtype = first.dtype
        added = slice(self._num_added, self._num_added + first.shape[0])
        self._num_added += first.shape[0]
        if not self.overlaps:
            self._parts.append(list(states))
            return
        # Summed up at once, because a list of all pieces would be a second copy, and with overlaps a third.
        before = self._parts[0] if self._parts else [None] * len(states)
        self._parts = [[self._sum(total, layer, added) for total, layer in zip(before, states, strict=True)]]

    def _sum(self, total: torch.Tensor | None, layer: torch.Tensor | None, added: slice) -> torch.Tensor | None:
        if layer is None:
            return None
        if total is None:
            total = self.weights.new_zeros(self.batch_size * self.padded_length, layer.shape[2])
        weighted = layer.float() * self.weights[added, :, None]
        return total.index_add_(0, self.places[added].flatten(), weighted.flatten(0, 1))

    def states(self) -> list[Any]:
        """The joined hidden states, `(batch_size, sequence_length, size)` for each layer that was added."""
        if not self.overlaps:
            layers = [None if parts[0] is None else torch.cat(parts) for parts in zip(*self._parts, strict=True)]
        else:
            norms = self.weights.new_zeros(self.batch_size * self.padded_length)
            norms = norms.index_add(0, self.places.flatten(), self.weights.flatten()).clamp(min=1.0)
            layers = [None if total is None else (total / norms[:, None]).to(self.dtype) for total in self._parts[0]]
        shape = (self.batch_size, self.padded_length)
        return [
            None if layer is None else layer.reshape(*shape, layer.shape[-1])[:, : self.sequence_length]
            for layer in layers
        ]


__all__ = ["JoinedPieces", "cut_pieces", "needed_pieces"]
