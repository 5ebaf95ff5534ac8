"""Training of EnCodec's residual vector quantizer, for which transformers only has inference code."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass
class QuantizerOutput:
    """
    Output of [`ResidualQuantizerTrainer.quantize`].

    Args:
        quantized (`torch.FloatTensor` of shape `(batch_size, hidden_size, num_frames)`):
            Sum of the chosen entries of the active codebooks.
        codes (`torch.LongTensor` of shape `(num_codebooks, batch_size, num_frames)`):
            Codes of every codebook, active or not.
        error (`torch.FloatTensor` of shape `()`):
            Mean squared distance of the embeddings to the sums of all codebooks.
    """

    quantized: torch.Tensor
    codes: torch.Tensor
    error: torch.Tensor


def kmeans(
    points: torch.Tensor, num_clusters: int, generator: torch.Generator, num_iterations: int = 10
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""
    Cluster points with Lloyd's algorithm, starting from distinct random points. A cluster that loses all its points
    restarts at a random point.

    Args:
        points (`torch.FloatTensor` of shape `(num_points, hidden_size)`):
            Points to cluster. If there are fewer points than clusters, some are drawn more than once.
        num_clusters (`int`):
            Number of clusters.
        generator (`torch.Generator`):
            Source of all random numbers.
        num_iterations (`int`, *optional*, defaults to 10):
            Number of rounds of assignment and update.

    Returns:
        `(torch.FloatTensor, torch.FloatTensor)`: Centers of shape `(num_clusters, hidden_size)` and the number of
        points of each, of shape `(num_clusters,)`.
    """
    centers = _random_points(points, num_clusters, generator)
    counts = points.new_ones(num_clusters)
    for _ in range(num_iterations):
        assignment = torch.cdist(points, centers).argmin(dim=-1)
        counts, sums = _cluster_sums(points, assignment, num_clusters)
        centers = sums / counts.clamp(min=1).unsqueeze(-1)
        empty = counts == 0
        if empty.any():
            centers[empty] = _random_points(points, int(empty.sum()), generator)
    return centers, counts


def _random_points(points: torch.Tensor, count: int, generator: torch.Generator) -> torch.Tensor:
    order = torch.randperm(len(points), generator=generator)[:count]
    if len(order) < count:
        more = torch.randint(len(points), (count - len(order),), generator=generator)
        order = torch.cat([order, more])
    return points[order]


def _cluster_sums(
    points: torch.Tensor, assignment: torch.Tensor, num_clusters: int
) -> tuple[torch.Tensor, torch.Tensor]:
    # A product with the one-hot matrix sums in a fixed order, unlike `index_add_`, so that runs are reproducible.
    one_hot = nn.functional.one_hot(assignment, num_clusters).to(points.dtype)
    return one_hot.sum(dim=0), one_hot.t() @ points


class ResidualQuantizerTrainer:
    r"""
    Trains the codebooks of an [`~transformers.EncodecModel`] in place, in the model's own buffers (`embed`,
    `embed_avg`, `cluster_size`), so that the saved model is a plain `EncodecModel`.

    Codebooks start from k-means. Their entries follow an exponential moving average (EMA) of the frames assigned to
    them (VQ-VAE, arXiv 1711.00937, appendix A.1), and entries that fall out of use restart at frames of the current
    batch (EnCodec, arXiv 2210.13438, section 3.2; SoundStream, arXiv 2107.03312).

    Args:
        quantizer (`nn.Module`):
            `EncodecModel.quantizer`.
        decay (`float`, *optional*, defaults to 0.99):
            EMA decay per update, in [0, 1).
        dead_threshold (`float`, *optional*, defaults to 0.2):
            An entry restarts when its EMA count falls below this share of the count that it would have if all entries
            were used equally. In [0, 1).
        epsilon (`float`, *optional*, defaults to 1e-5):
            Laplace smoothing of the counts.

    Raises:
        ValueError: If `decay` or `dead_threshold` is outside [0, 1).
    """

    def __init__(
        self, quantizer: nn.Module, decay: float = 0.99, dead_threshold: float = 0.2, epsilon: float = 1e-5
    ) -> None:
        for name, value in (("decay", decay), ("dead_threshold", dead_threshold)):
            if not 0 <= value < 1:
                raise ValueError(f"`{name}` must be in [0, 1), got {value}.")
        layers: Any = quantizer.layers
        self.codebooks: list[Any] = [layer.codebook for layer in layers]
        self.decay = decay
        self.dead_threshold = dead_threshold
        self.epsilon = epsilon

    @torch.no_grad()
    def initialize(self, frames: torch.Tensor, generator: torch.Generator, num_iterations: int = 10) -> None:
        r"""
        Set every codebook by k-means on the residuals that the codebooks before it leave.

        Args:
            frames (`torch.FloatTensor` of shape `(num_frames, hidden_size)`):
                Outputs of the encoder for real audio. About twenty frames per entry are enough.
            generator (`torch.Generator`):
                Source of all random numbers.
            num_iterations (`int`, *optional*, defaults to 10):
                Rounds of k-means.
        """
        residual = frames
        for codebook in self.codebooks:
            centers, counts = kmeans(residual, codebook.codebook_size, generator, num_iterations)
            # Every entry starts with a count of at least 1, so that none is considered dead immediately.
            counts = counts.clamp(min=1)
            codebook.cluster_size.copy_(counts)
            codebook.embed_avg.copy_(centers * counts.unsqueeze(-1))
            codebook.embed.copy_(centers)
            codebook.inited.fill_(1)
            residual = residual - codebook.decode(codebook.quantize(residual))

    @torch.no_grad()
    def update(self, codebook: Any, frames: torch.Tensor, assignment: torch.Tensor, generator: torch.Generator) -> int:
        r"""
        Update one codebook by EMA, then restart its dead entries.

        Args:
            codebook (`nn.Module`):
                `quantizer.layers[i].codebook`.
            frames (`torch.FloatTensor` of shape `(num_frames, hidden_size)`):
                The residuals that this codebook quantized.
            assignment (`torch.LongTensor` of shape `(num_frames,)`):
                Their codes.
            generator (`torch.Generator`):
                Draws the frames at which dead entries restart.

        Returns:
            `int`: Number of restarted entries.
        """
        size = codebook.codebook_size
        counts, sums = _cluster_sums(frames, assignment, size)
        codebook.cluster_size.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        codebook.embed_avg.mul_(self.decay).add_(sums, alpha=1 - self.decay)

        fair_share = len(frames) / size
        dead = codebook.cluster_size < self.dead_threshold * fair_share
        num_dead = int(dead.sum())
        if num_dead:
            # The averages restart too; otherwise the next update would pull the entry back to its old place.
            codebook.cluster_size[dead] = fair_share
            codebook.embed_avg[dead] = _random_points(frames, num_dead, generator) * fair_share

        total = codebook.cluster_size.sum()
        smoothed = (codebook.cluster_size + self.epsilon) / (total + size * self.epsilon) * total
        codebook.embed.copy_(codebook.embed_avg / smoothed.unsqueeze(-1))
        return num_dead

    @torch.no_grad()
    def quantize(
        self,
        embeddings: torch.Tensor,
        num_active_codebooks: torch.Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> QuantizerOutput:
        r"""
        Quantize residually, without gradients. With a generator, also update the codebooks.

        Args:
            embeddings (`torch.FloatTensor` of shape `(batch_size, hidden_size, num_frames)`):
                Outputs of the encoder.
            num_active_codebooks (`torch.LongTensor` of shape `(batch_size,)`, *optional*):
                Number of codebooks, from the first, that each example's sum takes (quantizer dropout). All by default.
            generator (`torch.Generator`, *optional*):
                Enables training of the codebooks, and draws the frames at which entries restart.

        Returns:
            [`QuantizerOutput`]
        """
        if num_active_codebooks is None:
            num_active_codebooks = torch.full((len(embeddings),), len(self.codebooks), device=embeddings.device)
        total = torch.zeros_like(embeddings)
        partial_sum = torch.zeros_like(embeddings)
        codes = []
        for index, codebook in enumerate(self.codebooks):
            residual = (embeddings - partial_sum).transpose(1, 2)
            chosen = codebook.encode(residual)
            entries = codebook.decode(chosen).transpose(1, 2)
            codes.append(chosen)
            if generator is not None:
                self.update(codebook, residual.reshape(-1, embeddings.shape[1]), chosen.reshape(-1), generator)
            active = (num_active_codebooks > index).to(embeddings.dtype).view(-1, 1, 1)
            partial_sum = partial_sum + entries
            total = total + active * entries
        return QuantizerOutput(total, torch.stack(codes), (embeddings - partial_sum).pow(2).mean())
