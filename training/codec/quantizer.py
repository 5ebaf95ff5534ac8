"""Training of EnCodec's residual vector quantizer, for which transformers has inference code only."""

from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class QuantizerOutput:
    """
    Output of [`ResidualQuantizerTrainer.quantize`].

    Args:
        quantized (`torch.FloatTensor` of shape `(batch_size, hidden_size, num_frames)`):
            Sum of the chosen entries of the active rows; its gradient passes to the embeddings unchanged.
        first_row (`torch.FloatTensor` of shape `(batch_size, hidden_size, num_frames)`):
            The entries of row C1 alone, with the same straight-through gradient.
        codes (`torch.LongTensor` of shape `(num_rows, batch_size, num_frames)`):
            Codes of every row, active or not.
        commitment_loss (`torch.FloatTensor` of shape `(1,)`):
            Mean squared distance of the embeddings to the partial sums of active rows.
    """

    quantized: torch.Tensor
    first_row: torch.Tensor
    codes: torch.Tensor
    commitment_loss: torch.Tensor


def kmeans(points: torch.Tensor, num_clusters: int, generator: torch.Generator, num_iterations: int = 10):
    r"""
    Lloyd's algorithm from distinct random points; a cluster that loses all its points restarts at a random point.

    Args:
        points (`torch.FloatTensor` of shape `(num_points, dim)`):
            What to cluster. With fewer points than clusters, points are drawn more than once.
        num_clusters (`int`):
            Number of centres.
        generator (`torch.Generator`):
            Source of all randomness: the same seed gives the same centres.
        num_iterations (`int`, *optional*, defaults to 10):
            Number of assignment and update rounds.

    Returns:
        `(torch.FloatTensor, torch.FloatTensor)`: centres of shape `(num_clusters, dim)` and the number of points of
        each, of shape `(num_clusters,)`.
    """
    centres = _random_rows(points, num_clusters, generator)
    counts = points.new_ones(num_clusters)
    for _ in range(num_iterations):
        assignment = torch.cdist(points, centres).argmin(dim=-1)
        counts, sums = _cluster_sums(points, assignment, num_clusters)
        centres = sums / counts.clamp(min=1).unsqueeze(-1)
        empty = counts == 0
        if empty.any():
            centres[empty] = _random_rows(points, int(empty.sum()), generator)
    return centres, counts


def _random_rows(points: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    order = torch.randperm(len(points), generator=generator)[:count]
    if len(order) < count:
        more = torch.randint(len(points), (count - len(order),), generator=generator)
        order = torch.cat([order, more])
    return points[order]


def _cluster_sums(points: torch.Tensor, assignment: torch.Tensor, num_clusters: int):
    # A product with the one-hot matrix, not `index_add_`: its order of summation is fixed, so runs repeat exactly.
    one_hot = nn.functional.one_hot(assignment, num_clusters).to(points.dtype)
    return one_hot.sum(dim=0), one_hot.t() @ points


class ResidualQuantizerTrainer:
    r"""
    Trains the codebooks of an [`~transformers.EncodecModel`] in place, in its own buffers (`embed`, `embed_avg`,
    `cluster_size`), so that the saved model is a plain `EncodecModel`.

    Codebooks follow an exponential moving average (EMA) of the frames assigned to them (VQ-VAE, arXiv 1711.00937,
    appendix A.1), start from k-means, and entries that fall out of use restart at frames of the current batch
    (EnCodec, arXiv 2210.13438, section 3.2; SoundStream, arXiv 2107.03312).

    Args:
        quantizer (`nn.Module`):
            `EncodecModel.quantizer`.
        decay (`float`, *optional*, defaults to 0.99):
            EMA decay per update, in [0, 1).
        dead_threshold (`float`, *optional*, defaults to 0.2):
            An entry restarts when its EMA count falls under this share of the count that equal use of all entries
            would give.
        epsilon (`float`, *optional*, defaults to 1e-5):
            Laplace smoothing of the counts.

    Raises:
        `ValueError`: if `decay` is outside [0, 1) or `dead_threshold` outside [0, 1).
    """

    def __init__(
        self, quantizer: nn.Module, decay: float = 0.99, dead_threshold: float = 0.2, epsilon: float = 1e-5
    ) -> None:
        for name, value in (("decay", decay), ("dead_threshold", dead_threshold)):
            if not 0 <= value < 1:
                raise ValueError(f"`{name}` must be in [0, 1), got {value}.")
        self.codebooks = [layer.codebook for layer in quantizer.layers]
        self.decay = decay
        self.dead_threshold = dead_threshold
        self.epsilon = epsilon

    @torch.no_grad()
    def initialize(self, frames: torch.Tensor, generator: torch.Generator, num_iterations: int = 10) -> None:
        r"""
        Sets every row by k-means on what the rows before it leave over.

        Args:
            frames (`torch.FloatTensor` of shape `(num_frames, hidden_size)`):
                Outputs of the encoder on real audio; about twenty frames an entry are enough.
            generator (`torch.Generator`):
                Source of randomness.
            num_iterations (`int`, *optional*, defaults to 10):
                Rounds of k-means.
        """
        residual = frames
        for codebook in self.codebooks:
            centres, counts = kmeans(residual, codebook.codebook_size, generator, num_iterations)
            # Counts start at the scale of one entry's fair share, so that no entry counts as dead at once.
            counts = counts.clamp(min=1)
            codebook.cluster_size.copy_(counts)
            codebook.embed_avg.copy_(centres * counts.unsqueeze(-1))
            codebook.embed.copy_(centres)
            codebook.inited.fill_(1)
            residual = residual - codebook.decode(codebook.quantize(residual))

    @torch.no_grad()
    def update(
        self, codebook: nn.Module, frames: torch.Tensor, assignment: torch.Tensor, generator: torch.Generator
    ) -> int:
        r"""
        One EMA update of one row, then the restart of its dead entries.

        Args:
            codebook (`nn.Module`):
                `quantizer.layers[i].codebook`.
            frames (`torch.FloatTensor` of shape `(num_frames, hidden_size)`):
                What this row had to quantize.
            assignment (`torch.LongTensor` of shape `(num_frames,)`):
                The codes it chose.
            generator (`torch.Generator`):
                Source of the frames that dead entries restart at.

        Returns:
            `int`: number of entries restarted.
        """
        size = codebook.codebook_size
        counts, sums = _cluster_sums(frames, assignment, size)
        codebook.cluster_size.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        codebook.embed_avg.mul_(self.decay).add_(sums, alpha=1 - self.decay)

        fair_share = len(frames) / size
        dead = codebook.cluster_size < self.dead_threshold * fair_share
        num_dead = int(dead.sum())
        if num_dead:
            # The averages restart too, else the next update would pull the entry straight back to its old place.
            codebook.cluster_size[dead] = fair_share
            codebook.embed_avg[dead] = _random_rows(frames, num_dead, generator) * fair_share

        total = codebook.cluster_size.sum()
        smoothed = (codebook.cluster_size + self.epsilon) / (total + size * self.epsilon) * total
        codebook.embed.copy_(codebook.embed_avg / smoothed.unsqueeze(-1))
        return num_dead

    def quantize(
        self,
        embeddings: torch.Tensor,
        num_active_rows: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> QuantizerOutput:
        r"""
        Residual quantization with a straight-through gradient; updates the codebooks when a generator is given.

        Args:
            embeddings (`torch.FloatTensor` of shape `(batch_size, hidden_size, num_frames)`):
                Outputs of the encoder.
            num_active_rows (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
                How many rows, from the first, each example's sum takes (quantizer dropout). All by default.
            generator (`torch.Generator`, *optional*):
                Turns training of the codebooks on, and draws the restarts.

        Returns:
            [`QuantizerOutput`]
        """
        batch_size, hidden_size, num_frames = embeddings.shape
        if num_active_rows is None:
            num_active_rows = torch.full((batch_size,), len(self.codebooks), device=embeddings.device)
        target = embeddings.detach()
        total = torch.zeros_like(target)
        partial_sum = torch.zeros_like(target)
        first_row = total
        codes = []
        commitment = embeddings.new_zeros(())
        for row, codebook in enumerate(self.codebooks):
            residual = (target - partial_sum).transpose(1, 2)
            indices = codebook.encode(residual)
            entries = codebook.decode(indices).transpose(1, 2)
            codes.append(indices)
            if generator is not None:
                self.update(codebook, residual.reshape(-1, hidden_size), indices.reshape(-1), generator)
            active = (num_active_rows > row).to(embeddings.dtype).view(-1, 1, 1)
            partial_sum = partial_sum + entries
            total = total + active * entries
            if row == 0:
                first_row = entries
            commitment = commitment + (active * (embeddings - partial_sum).pow(2)).mean()
        return QuantizerOutput(
            quantized=embeddings + (total - target),
            first_row=embeddings + (first_row - target),
            codes=torch.stack(codes),
            commitment_loss=commitment / len(self.codebooks),
        )
