"""In which order clips are drawn: clips of similar length together, or clips of rare classes more often.

Both give the same sequence of indices on every process, a function of `(seed, epoch)` alone. Accelerate deals whole
batches of it out to the processes, so that together they see exactly what one process would see.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from torch.utils.data import Sampler


class EpochSampler(Sampler[int]):
    """A sampler whose draws follow from a seed and the epoch that the Trainer sets.

    Args:
        seed (`int`): Seed of all epochs.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.epoch = seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer at the beginning of each epoch, on every process."""
        self.epoch = epoch

    def rng(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.epoch])


SHARDS_IN_A_BUFFER = 16
"""Stretches of neighbours that are mixed in a buffer."""


def shuffled_buffers(num_clips: int, buffer_size: int | None, rng: np.random.Generator) -> list[np.ndarray]:
    """Every clip once, in random order, so that what is drawn for a while lies in few places of the disk.

    Clips are cut into shards of neighbours, a sixteenth of a buffer each. The shards are shuffled, sixteen of them
    fill a buffer, its clips are shuffled. Another epoch puts other shards together.

    Args:
        num_clips (`int`): How many there are.
        buffer_size (`int`, *optional*): Clips a buffer; without it all clips are one.
        rng (`np.random.Generator`): Where the order comes from.

    Returns:
        `list[np.ndarray]`: Indices of the clips of each buffer.
    """
    if buffer_size is None or buffer_size >= num_clips:
        return [rng.permutation(num_clips)]
    size = -(-buffer_size // SHARDS_IN_A_BUFFER)
    starts = size * rng.permutation(-(-num_clips // size))
    buffers = []
    for first in range(0, len(starts), SHARDS_IN_A_BUFFER):
        shards = starts[first : first + SHARDS_IN_A_BUFFER]
        buffers.append(rng.permutation(np.concatenate([np.arange(n, min(n + size, num_clips)) for n in shards])))
    return buffers


def check_positive(**values: int | None) -> None:
    """Raise `ValueError` for a size below 1."""
    for name, value in values.items():
        if value is not None and value < 1:
            raise ValueError(f"`{name}` must be at least 1, got {value}.")


class ShuffledSampler(EpochSampler):
    """Every clip once an epoch, in random order.

    Args:
        num_clips (`int`): How many there are.
        seed (`int`, defaults to 0): Seed of the order.
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
        return iter(np.concatenate(shuffled_buffers(self.num_clips, self.buffer_size, self.rng())).tolist())


class LengthGroupedSampler(EpochSampler):
    """Every clip once an epoch, each batch of clips of similar length, the batches in random order.

    Clips are shuffled, cut into stretches of `batches_a_stretch` batches, sorted by length within each, cut into
    batches, and these are shuffled. Sorting all clips at once would put the same clips together in every epoch.

    Args:
        lengths (sequence of `int`): Length of each clip, in any unit.
        batch_size (`int`): Clips that are computed together: those of a step on all processes.
        batches_a_stretch (`int`, defaults to 50): As many batches are sorted together.
        seed (`int`, defaults to 0): Seed of the order.
        buffer_size (`int`, *optional*): Shuffle by shard and buffer, see [`shuffled_buffers`]; batches are shuffled
            within a buffer.

    Raises:
        ValueError: If `batch_size`, `batches_a_stretch` or `buffer_size` is below 1.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        batches_a_stretch: int = 50,
        seed: int = 0,
        buffer_size: int | None = None,
    ) -> None:
        super().__init__(seed)
        check_positive(batch_size=batch_size, batches_a_stretch=batches_a_stretch, buffer_size=buffer_size)
        self.lengths = np.asarray(lengths)
        self.batch_size, self.batches_a_stretch, self.buffer_size = batch_size, batches_a_stretch, buffer_size

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = self.rng()
        order: list[np.ndarray] = []
        rest = np.empty(0, dtype=np.int64)
        for buffer in shuffled_buffers(len(self.lengths), self.buffer_size, rng):
            batches, rest = self._group(np.concatenate([rest, buffer]), rng)
            order += batches
        # A last batch that is not full stays last: anywhere else it would shift the limits of all that follow.
        return iter(np.concatenate([*order, rest]).tolist())

    def _group(self, clips: np.ndarray, rng: np.random.Generator) -> tuple[list[np.ndarray], np.ndarray]:
        """Full batches of shuffled clips in random order, and the clips that are left over."""
        stretch = self.batch_size * self.batches_a_stretch
        # Stable, so that clips of equal length stay shuffled.
        sorted_stretches = [
            part[np.argsort(-self.lengths[part], kind="stable")]
            for part in (clips[start : start + stretch] for start in range(0, len(clips), stretch))
        ]
        clips = np.concatenate(sorted_stretches) if sorted_stretches else clips
        full = len(clips) // self.batch_size
        batches = np.split(clips[: full * self.batch_size], full) if full else []
        return [batches[index] for index in rng.permutation(full)], clips[full * self.batch_size :]


class ClassBalancedSampler(EpochSampler):
    r"""
    Clips with replacement, those of rare classes more often, for unbalanced sets such as AudioSet's.

    The weight of a clip is the sum over its classes of `1 / (clips of the class)`: each class is drawn about equally
    often, and a clip of several classes stands for each of them, as in PSLA (Gong et al., arXiv 2102.01243,
    `src/gen_weight_file.py` of its code) and AST. A clip without classes gets the smallest weight of all clips.

    Args:
        labels (`np.ndarray` of shape `(num_clips,)` or `(num_clips, num_labels)`): Classes, or multi-hot vectors.
        num_samples (`int`, *optional*): Draws an epoch; by default as many as there are clips.
        distinct_within (`int`, *optional*): Draw no clip twice within each block of so many draws. The contrastive
            loss of FT2 needs it at the size of a step on all processes: a clip must not be its own negative.
        seed (`int`, defaults to 0): Seed of the draws.

    Raises:
        ValueError: If `distinct_within` is more than there are clips, or the labels have another number of dimensions.
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
            return iter(self._draw(rng, self.num_samples).tolist())
        blocks = [
            self._distinct(rng, min(block, self.num_samples - start)) for start in range(0, self.num_samples, block)
        ]
        return iter(np.concatenate(blocks).tolist())

    def _draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        # `Generator.choice` would sum up two million weights at every call.
        return np.searchsorted(self._cumulative, rng.random(count) * self._cumulative[-1], side="right")

    def _distinct(self, rng: np.random.Generator, count: int) -> np.ndarray:
        # Drawing again what came up twice has the distribution of drawing without replacement.
        chosen: dict[int, None] = {}
        for _ in range(100):
            chosen.update(dict.fromkeys(self._draw(rng, count).tolist()))
            if len(chosen) >= count:
                return np.array(list(chosen)[:count])
        # Nearly all the weight lies on fewer than `count` clips: the rest is drawn from the others.
        rest = self.weights.copy()
        rest[list(chosen)] = 0
        rare = rng.choice(len(rest), count - len(chosen), replace=False, p=rest / rest.sum())
        return np.array([*chosen, *rare.tolist()])


def class_balanced_weights(labels: np.ndarray) -> np.ndarray:
    """Probability of each clip, float64 of shape `(num_clips,)`: see [`ClassBalancedSampler`]."""
    labels = np.asarray(labels)
    if labels.ndim == 1:
        counts = np.bincount(labels)
        weights = 1.0 / counts[labels]
    elif labels.ndim == 2:
        rarity = 1.0 / np.maximum(labels.sum(axis=0, dtype=np.int64), 1)
        # In parts: NumPy makes floats of what it multiplies, eight bytes each.
        parts = np.array_split(labels, max(1, len(labels) // 65_536))
        weights = np.concatenate([(part > 0) @ rarity for part in parts])
        without = weights == 0
        if without.any() and not without.all():
            weights[without] = weights[~without].min()
        elif without.all():
            weights[:] = 1.0
    else:
        raise ValueError(f"`labels` must be (num_clips,) or (num_clips, num_labels), got shape {labels.shape}.")
    return weights / weights.sum()
