"""How the entries of each codebook are used: a codec that fits the audio uses many of them evenly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CodeStatistics:
    """Use of the codebooks over a data set.

    Args:
        counts (`list[list[int]]`): For each row of codes how often each entry occurs.
        entries_used (`list[int]`): Entries that occur, for each row.
        entropy_bits (`list[float]`): Entropy of each row in bits; log2 of the codebook's size at most.
    """

    counts: list[list[int]]
    entries_used: list[int]
    entropy_bits: list[float]

    @classmethod
    def of_counts(cls, parts: Sequence[Sequence[Sequence[int]]]) -> "CodeStatistics":
        """Statistics of counts `(parts, rows, codebook_size)`."""
        counts = np.zeros_like(np.asarray(parts[0], dtype=np.int64))
        for part in parts:
            counts += np.asarray(part, dtype=np.int64)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        logs = np.log2(shares, where=shares > 0, out=np.zeros_like(shares))
        return cls(
            counts=counts.tolist(),
            entries_used=(counts > 0).sum(axis=1).tolist(),
            entropy_bits=[round(float(value), 4) for value in -(shares * logs).sum(axis=1)],
        )

    @property
    def codebook_size(self) -> int:
        return len(self.counts[0])

    @property
    def perplexity(self) -> list[float]:
        """Entries that an even use of the same entropy would have, for each row."""
        return [round(2**bits, 1) for bits in self.entropy_bits]

    @property
    def num_frames(self) -> int:
        return sum(self.counts[0])
