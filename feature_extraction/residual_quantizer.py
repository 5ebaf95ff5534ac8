"""Residual vector quantization in which rounding never decides between entries."""

import torch
from torch import nn


class ResidualQuantizer(nn.Module):
    """Nearest entries of one codebook after the other, each of what the ones before left over.

    Distances to all entries are ranked by one product in float32, in which the large squares of vector and entry have
    to cancel. Every entry that this rounding could have put behind the nearest one is then compared by the squares of
    its differences in float64, so that the code is that of the nearest entry itself (the first of equal ones).

    Args:
        embeddings (`torch.Tensor` of shape `(num_codebooks, codebook_size, codebook_dim)`): Entries, float32.
    """

    def __init__(self, embeddings: torch.Tensor):
        super().__init__()
        self.embeddings = nn.Buffer(embeddings)
        half_norms = embeddings.double().pow(2).sum(-1).div(2).float()
        for entries, norms in zip(embeddings, half_norms, strict=True):
            # A copy of an earlier entry is never chosen, so it need not be compared: untrained codebooks have many.
            _, groups = entries.unique(dim=0, return_inverse=True)
            positions = torch.arange(len(entries), device=groups.device)
            first = torch.full_like(positions, len(entries)).scatter_reduce(0, groups, positions, "amin")
            norms[first[groups] != positions] = torch.inf
        self.half_norms = nn.Buffer(half_norms)
        self.largest_norms = embeddings.double().norm(dim=-1).amax(-1).tolist()
        # Bound of the rounding errors of a sum of `codebook_dim` products, relative to the product of the norms.
        self.rounding = (embeddings.shape[-1] + 4) * torch.finfo(torch.float32).eps / 2

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Quantize vectors.

        Args:
            vectors (`torch.Tensor` of shape `(num_vectors, codebook_dim)`): Outputs of the encoder, float32.

        Returns:
            `torch.Tensor` of shape `(num_vectors, num_codebooks)`: Codes, int64.

        Raises:
            ValueError: If a vector is not finite, as those of a codec with broken weights are.
        """
        if not vectors.isfinite().all():
            raise ValueError("The codec's encoder returned values that are not finite: its weights are broken.")
        codes, residual = [], vectors
        for embedding, half_norm, largest in zip(self.embeddings, self.half_norms, self.largest_norms, strict=True):
            indices = self._nearest(residual, embedding, half_norm, largest)
            residual = residual - embedding[indices]
            codes.append(indices)
        return torch.stack(codes, dim=-1)

    def _nearest(
        self, residual: torch.Tensor, embedding: torch.Tensor, half_norm: torch.Tensor, largest_norm: float
    ) -> torch.Tensor:
        # The nearest entry maximizes the inner product minus half its squared norm.
        scores = torch.addmm(half_norm, residual, embedding.t(), beta=-1)
        best = scores.amax(dim=-1, keepdim=True)
        # Each of two scores may be off by this bound.
        bound = self.rounding * largest_norm * (residual.norm(dim=-1, keepdim=True) + largest_norm)
        rows, candidates = (scores >= best - 2 * bound).nonzero().unbind(1)
        if len(rows) == len(residual):
            return candidates
        distances = (residual[rows].double() - embedding[candidates].double()).pow(2).sum(-1)
        nearest = distances.new_full((len(residual),), torch.inf).scatter_reduce(0, rows, distances, "amin")
        is_nearest = distances == nearest[rows]
        first = candidates.new_full((len(residual),), len(embedding))
        return first.scatter_reduce(0, rows[is_nearest], candidates[is_nearest], "amin")
