"""The order in which clips are drawn: clips of similar length together, or clips of rare classes more often.

Samplers give the same sequence of indices on every process. It depends on `(seed, epoch)` only. Accelerate distributes
whole batches of it over the processes, so that together they see exactly what one process would see.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """A sampler whose sequence depends on a seed and on the epoch that the trainer sets.

    Args:
        seed (`int`, *optional*, defaults to 0): Seed for all epochs.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Draw another sequence. The trainer calls this at the beginning of each epoch, on every process."""
        self.epoch = epoch

    def rng(self) -> np.random.Generator:
        """Return the random numbers of the current epoch."""
        return np.random.default_rng([self.seed, self.epoch])


SHARDS_PER_BUFFER = 16
"""Number of shards whose clips are shuffled together."""


def shuffled_buffers(num_clips: int, buffer_size: int | None, rng: np.random.Generator) -> list[np.ndarray]:
    """Shuffle clips so that those drawn within a short time are stored in few places on the disk.

    Neighboring clips form shards of a sixteenth of a buffer. The shards are shuffled, sixteen of them at a time fill a
    buffer, and the clips of each buffer are shuffled. Other epochs combine other shards.

    Args:
        num_clips (`int`): Number of clips.
        buffer_size (`int`, *optional*): Clips per buffer. Without it, all clips are in one buffer.
        rng (`np.random.Generator`): Source of all random numbers.

    Returns:
        `list[np.ndarray]`: Indices of the clips in each buffer. Every clip occurs once.
    """
    if buffer_size is None or buffer_size >= num_clips:
        return [rng.permutation(num_clips)]
    size = -(-buffer_size // SHARDS_PER_BUFFER)
    starts = size * rng.permutation(-(-num_clips // size))
    buffers = []
    for first in range(0, len(starts), SHARDS_PER_BUFFER):
        shards = starts[first : first + SHARDS_PER_BUFFER]
        buffers.append(rng.permutation(np.concatenate([np.arange(n, min(n + size, num_clips)) for n in shards])))
    return buffers


def check_positive(**values: int | None) -> None:
    """Raise `ValueError` for a value below 1."""
    for name, value in values.items():
        if value is not None and value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")


class ShuffledSampler(EpochSampler):
    """Draws every clip once per epoch, in random order.

    Args:
        num_clips (`int`): Number of clips.
        seed (`int`, *optional*, defaults to 0): Seed of the order.
        buffer_size (`int`, *optional*): Shuffle by shard and buffer, see [`shuffled_buffers`].

    Raises:
        ValueError: If `buffer_size` is below 1.
    """

    def __init__(self, num_clips: int, seed: int = 0, buffer_size: int | None = None) -> None:
        super().__init__(seed)
        check_positive(buffer_size=buffer_size)
        self.num_clips, self.buffer_size = num_clips, buffer_size

    def __len__(self) -> int:
        return self.num_clips

    def __iter__(self) -> Iterator[int]:
        return map(int, np.concatenate(shuffled_buffers(self.num_clips, self.buffer_size, self.rng())))


class LengthGroupedSampler(EpochSampler):
    """Draws every clip once per epoch, in batches of clips of similar length. The batches are in random order.

    Clips are shuffled, divided into groups of `batches_per_group` batches, sorted by length within each group, and
    divided into batches, which are shuffled. Sorting all clips at once would combine the same clips in every epoch.

    Args:
        lengths (sequence of `int`): Length of each clip, in any unit.
        batch_size (`int`): Clips that are processed together: those of one step on all processes.
        batches_per_group (`int`, *optional*, defaults to 50): Number of batches that are sorted together.
        seed (`int`, *optional*, defaults to 0): Seed of the order.
        buffer_size (`int`, *optional*): Shuffle by shard and buffer, see [`shuffled_buffers`]. Batches are then
            shuffled within a buffer.

    Raises:
        ValueError: If `batch_size`, `batches_per_group` or `buffer_size` is below 1.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        batches_per_group: int = 50,
        seed: int = 0,
        buffer_size: int | None = None,
    ) -> None:
        super().__init__(seed)
        check_positive(batch_size=batch_size, batches_per_group=batches_per_group, buffer_size=buffer_size)
        self.lengths = np.asarray(lengths)
        self.batch_size, self.batches_per_group, self.buffer_size = batch_size, batches_per_group, buffer_size

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = self.rng()
        order: list[np.ndarray] = []
        rest = np.empty(0, dtype=np.int64)
        for buffer in shuffled_buffers(len(self.lengths), self.buffer_size, rng):
            batches, rest = self._group(np.concatenate([rest, buffer]), rng)
            order += batches
        # An incomplete batch stays last: anywhere else it would shift the boundaries of all later batches.
        return map(int, np.concatenate([*order, rest]))

    def _group(self, clips: np.ndarray, rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
        """Return the complete batches of shuffled clips, in random order, and the clips that are left over."""
        group_size = self.batch_size * self.batches_per_group
        # A stable sort keeps clips of equal length shuffled.
        sorted_groups = [
            part[np.argsort(-self.lengths[part], kind="stable")]
            for part in (clips[start : start + group_size] for start in range(0, len(clips), group_size))
        ]
        clips = np.concatenate(sorted_groups) if sorted_groups else clips
        full = len(clips) // self.batch_size
        batches = np.split(clips[: full * self.batch_size], full) if full else []
        return [batches[index] for index in rng.permutation(full)], clips[full * self.batch_size :]


class ClassBalancedSampler(EpochSampler):
    r"""
    Draws clips with replacement, those of rare classes more often, for unbalanced sets such as that of AudioSet.

    The weight of a clip is the sum of `1 / (clips of the class)` over its classes. Each class is drawn about equally
    often, and a clip of several classes represents each of them, as in PSLA (Gong et al., arXiv 2102.01243,
    `src/gen_weight_file.py` of its code) and AST. A clip without classes gets the smallest weight of all clips.

    Args:
        labels (`np.ndarray` of shape `(num_clips,)` or `(num_clips, num_labels)`): Class indices or multi-hot vectors.
        num_samples (`int`, *optional*): Draws per epoch; by default the number of clips.
        distinct_within (`int`, *optional*): Draw no clip twice within each block of this many draws. The contrastive
            loss of FT2 needs the number of clips in a step on all processes: a clip must not be its own negative.
        seed (`int`, *optional*, defaults to 0): Seed of the draws.

    Raises:
        ValueError: If `distinct_within` is not between 1 and the number of clips, or the labels have another number of
            dimensions.
    """

    def __init__(
        self,
        labels: np.ndarray,
        num_samples: int | None = None,
        distinct_within: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(seed)
        self.weights = class_balanced_weights(labels)
        self.num_samples = len(self.weights) if num_samples is None else num_samples
        if distinct_within is not None and not 1 <= distinct_within <= len(self.weights):
            raise ValueError(
                f"`distinct_within` must be 1 to the number of clips ({len(self.weights)}), got {distinct_within}."
            )
        self.distinct_within = distinct_within
        self._cumulative = np.cumsum(self.weights)

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[int]:
        rng = self.rng()
        block = self.distinct_within
        if block is None:
            return map(int, self._draw(rng, self.num_samples))
        blocks = [
            self._distinct(rng, min(block, self.num_samples - start)) for start in range(0, self.num_samples, block)
        ]
        return map(int, np.concatenate(blocks))

    def _draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        # `Generator.choice` would sum up two million weights in every call.
        return np.searchsorted(self._cumulative, rng.random(count) * self._cumulative[-1], side="right")

    def _distinct(self, rng: np.random.Generator, count: int) -> np.ndarray:
        # Repeating the draw of clips that came up twice gives the distribution of draws without replacement.
        chosen: dict[int, None] = {}
        for _ in range(100):
            chosen.update(dict.fromkeys(self._draw(rng, count).tolist()))
            if len(chosen) >= count:
                return np.array(list(chosen)[:count])
        # Fewer than `count` clips have nearly all of the weight: the rest is drawn from the others.
        rest = self.weights.copy()
        rest[list(chosen)] = 0
        rare = rng.choice(len(rest), count - len(chosen), replace=False, p=rest / rest.sum())
        return np.array([*chosen, *rare.tolist()])


def class_balanced_weights(labels: np.ndarray) -> np.ndarray:
    """Return the probability of each clip, float64 of shape `(num_clips,)`, see [`ClassBalancedSampler`]."""
    labels = np.asarray(labels)
    if labels.ndim == 1:
        counts = np.bincount(labels)
        weights = 1.0 / counts[labels]
    elif labels.ndim == 2:
        rarity = 1.0 / np.maximum(np.count_nonzero(labels > 0, axis=0), 1)
        # In parts, because NumPy converts what it multiplies to float64.
        parts = np.array_split(labels, max(1, len(labels) // 65_536))
        weights = np.concatenate([(part > 0) @ rarity for part in parts])
        without = weights == 0
        if without.any() and not without.all():
            weights[without] = weights[~without].min()
        elif without.all():
            weights[:] = 1.0
    else:
        raise ValueError(f"`labels` must have the shape (num_clips,) or (num_clips, num_labels), got {labels.shape}.")
    return weights / weights.sum()
