"""Crops of clips one after the other, shard by shard, without an end: what is trained on where no disk holds it."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import islice

import numpy as np

from ..rejections import Rejections, is_counted, relative_rejection
from ..shards import ClipShards
from .clip_reading import read_clip
from .windows import ReadingSettings

logger = logging.getLogger(__name__)

_ORDER, _BLOCK = 1, 2
"""Separate random numbers that come from the same seed and pass."""


@dataclass(frozen=True)
class Crop:
    """A clip, or a window of a longer one.

    Args:
        id (`str`): Name of the clip; of a window `clip#start`, with the start in seconds.
        waveform (`np.ndarray` of shape `(num_samples,)`): Mono float32.
        epoch (`int`): How often its shard was read before.
    """

    id: str
    waveform: np.ndarray
    epoch: int


@dataclass(frozen=True, order=True)
class Place:
    """A place between two crops of a stream.

    Args:
        epoch (`int`): Number of the pass through the data, from 0.
        shard (`int`): Position of the shard in the order of its pass.
        clip (`int`): Position of the clip in the shard.
        window (`int`): Position of the window in the clip.
    """

    epoch: int = 0
    shard: int = 0
    clip: int = 0
    window: int = 0


@dataclass(frozen=True)
class StreamPosition:
    """How far a stream was read: the block of crops that are shuffled together, and how many of them were given out.

    Args:
        block ([`Place`]): Where the block begins.
        taken (`int`): Crops of the block that were given out.
    """

    block: Place = Place()
    taken: int = 0

    def to_list(self) -> list[int]:
        """Five numbers, for JSON."""
        return [*astuple(self.block), self.taken]

    @classmethod
    def from_list(cls, values: Sequence[int]) -> "StreamPosition":
        """The position that `to_list` described."""
        *block, taken = values
        return cls(Place(*block), taken)


class CropStream:
    """Reads shards without an end, in another order in each pass, and shuffles neighbouring crops in blocks.

    Several readers share the shards: in each pass, every shard is read by one of them. What a reader gives out
    depends on the seed, its number and the number of readers alone. It can go on from any position, for which it reads
    no more than the clips of one block again.

    Args:
        shards ([`ClipShards`]): The clips.
        numbers (sequence of `int`): The shards that are read.
        sampling_rate (`int`): Rate in Hz that crops are resampled to.
        reading ([`ReadingSettings`]): Lengths, windows and silence.
        block_size (`int`): Crops that are shuffled together; 1 leaves them in the order of the shard. Up to twice as
            many are in memory.
        max_rejected_share (`float`, defaults to 0.01): Share of the clips that may be unreadable, in [0, 1]; each
            reader judges those that it has seen, from 1,000 on.
        seed (`int`, defaults to 0): Seed of the order.
    """

    def __init__(
        self,
        shards: ClipShards,
        numbers: Sequence[int],
        sampling_rate: int,
        reading: ReadingSettings,
        *,
        block_size: int,
        max_rejected_share: float = 0.01,
        seed: int = 0,
    ) -> None:
        self.shards, self.numbers = shards, np.asarray(numbers)
        self.sampling_rate, self.reading = sampling_rate, reading
        self.block_size, self.max_rejected_share, self.seed = block_size, max_rejected_share, seed

    def read(self, reader: int, num_readers: int, position: StreamPosition) -> Iterator[tuple[Crop, StreamPosition]]:
        """Give out the crops of a reader from a position on, without an end, each with the position after it.

        Args:
            reader (`int`): Number of the reader, from 0.
            num_readers (`int`): Number of readers, at most that of the shards.
            position ([`StreamPosition`]): Where to begin.

        Raises:
            ValueError: If too many clips are unreadable, or the reader finds no crop in a whole pass.
        """
        start, taken = position.block, position.taken
        rejections = Rejections(self.max_rejected_share, None)
        crops = self._pass(reader, num_readers, start, rejections)
        block = list(islice(crops, self.block_size))
        while True:
            if not block:
                if start == Place(start.epoch):
                    number = len(self._order(reader, num_readers, start.epoch))
                    raise ValueError(
                        f"{self.shards.name}: no clip of {number} shards can be used, all are unreadable or silent."
                    )
                start, taken = Place(start.epoch + 1), 0
                crops = self._pass(reader, num_readers, start, rejections)
                block = list(islice(crops, self.block_size))
                continue
            following: list[tuple[Crop, Place]] = []
            end = block[-1][1]
            order = np.random.default_rng([self.seed, _BLOCK, reader, *astuple(start)]).permutation(len(block))
            for number in range(taken, len(block)):
                crop, _ = block[order[number]]
                yield crop, StreamPosition(start, number + 1)
                # Decoding goes on meanwhile: the next block must not keep the training waiting.
                following += islice(crops, 1)
            following += islice(crops, self.block_size - len(following))
            block, start, taken = following, end, 0

    def _order(self, reader: int, num_readers: int, epoch: int) -> np.ndarray:
        """The shards that a reader reads in a pass, in order."""
        order = np.random.default_rng([self.seed, _ORDER, epoch]).permutation(len(self.numbers))
        return self.numbers[order[reader::num_readers]]

    def _pass(
        self, reader: int, num_readers: int, place: Place, rejections: Rejections
    ) -> Iterator[tuple[Crop, Place]]:
        """The crops of a reader from a place to the end of its pass, each with the place after it."""
        order = self._order(reader, num_readers, place.epoch)
        for position in range(place.shard, len(order)):
            first, window = (place.clip, place.window) if position == place.shard else (0, 0)
            clips = islice(self.shards.open_shard(int(order[position])), first, None)
            for index, listed in enumerate(clips, first):
                start: int | None = window if index == first else 0
                num_seen = 1
                while start is not None:
                    entries, after = read_clip(listed, self.sampling_rate, self.reading, start)
                    rejected = [
                        relative_rejection(entry.rejection, self.shards.root) for entry in entries if entry.rejection
                    ]
                    for rejection in filter(is_counted, rejected):
                        logger.warning("%s is left out: %s", rejection["path"], rejection["reason"])
                    rejections.add(rejected, num_seen)
                    num_seen = 0
                    for number, entry in enumerate(entries, start + 1):
                        if entry.waveform is not None:
                            yield (
                                Crop(entry.id, entry.waveform, place.epoch),
                                Place(place.epoch, position, index, number),
                            )
                    start = after
