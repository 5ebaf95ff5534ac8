"""How many codes a tokenizer uses, and how evenly: what tells a tokenizer that works from one that has collapsed."""

import math

import torch


class CodeUsage:
    """Counts labels until they are summarized.

    Args:
        num_codes (`int`): Number of codes.
    """

    def __init__(self, num_codes: int) -> None:
        self.num_codes = num_codes
        self._counts: torch.Tensor | None = None

    def add(self, labels: torch.Tensor) -> None:
        """Count labels, of any shape; negative ones are padding. Nothing waits for the device."""
        # One place more, for padding: choosing the others would need their number.
        places = torch.where(labels < 0, self.num_codes, labels).flatten()
        counts = torch.zeros(self.num_codes + 1, dtype=torch.int64, device=labels.device)
        counts = counts.index_add(0, places, torch.ones_like(places))[:-1]
        self._counts = counts if self._counts is None else self._counts + counts

    def take(self, device: torch.device) -> torch.Tensor:
        """The counts so far, int64 of shape `(num_codes,)`; counting begins anew."""
        counts, self._counts = self._counts, None
        return torch.zeros(self.num_codes, dtype=torch.int64, device=device) if counts is None else counts.to(device)


def perplexity(counts: torch.Tensor) -> float:
    """The exponential of the entropy of labels: the number of codes that, used evenly, would say as much.

    Args:
        counts (`torch.Tensor` of shape `(num_codes,)`): How often each label occurs; at least one does.
    """
    shares = counts.double() / counts.sum()
    return math.exp(-torch.special.xlogy(shares, shares).sum().item())


def used_share(counts: torch.Tensor) -> float:
    """Share of the codes that occur at all.

    Args:
        counts (`torch.Tensor` of shape `(num_codes,)`): How often each label occurs.
    """
    return (counts > 0).double().mean().item()
