"""How the entries of each codebook are used: a codec that suits the audio uses many of them, evenly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CodeStatistics:
    """Use of the codebooks over a data set.

    Args:
        counts (`list[list[int]]` of shape `(num_codebooks, codebook_size)`): How often each entry occurs.
        entries_used (`list[int]`): Number of entries that occur, per codebook.
        entropy_bits (`list[float]`): Entropy of the codes in bits, per codebook; at most log2 of the codebook's size.
    """

    counts: list[list[int]]
    entries_used: list[int]
    entropy_bits: list[float]

    @classmethod
    def of_counts(cls, parts: Sequence[Sequence[Sequence[int]]]) -> "CodeStatistics":
        """Add up the counts of several files, of shape `(num_parts, num_codebooks, codebook_size)`."""
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
