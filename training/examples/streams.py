"""Examples from a stream: the clips of shards one after the other, in the workers of the loader, without an end."""

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from audioformer.data.audio.augmentation import Augmentation
from audioformer.data.audio.stream import Crop, CropStream, StreamPosition
from audioformer.files import write_whole

from .codes import draw_seed

STREAM = "stream"
"""Entry of an item, and of a batch, that says where it was read. It is no input of a model."""


class StreamedExamples(IterableDataset[dict[str, Any]]):
    """Clips as waveforms, read from a stream by the processes of a run and the workers of their loaders.

    Every process and every worker reads shards of its own. The positions of what a training has seen are those that
    `count` was told of, whatever the workers have read ahead; a training that begins from them sees what follows.

    Args:
        stream ([`CropStream`]): The clips.
        process_index (`int`, defaults to 0): Number of this process.
        num_processes (`int`, defaults to 1): Number of processes.
        num_workers (`int`, defaults to 0): Workers of the loader; without any, the process reads itself.
        is_drawn (`bool`, defaults to `False`): Whether items have a `draw_seed`, from which the collator draws.
        augmentation ([`Augmentation`], *optional*): How augmented copies of the clips differ from them.
        num_copies (`int`, defaults to 0): Copies of each clip. In every pass through the data, the clip itself or one
            of them is drawn.
        max_length_s (`float`, *optional*): Longest copy in seconds.
        seed (`int`, defaults to 0): Seed of the draws.

    Raises:
        ValueError: If there are fewer shards than readers.
    """

    def __init__(
        self,
        stream: CropStream,
        *,
        process_index: int = 0,
        num_processes: int = 1,
        num_workers: int = 0,
        is_drawn: bool = False,
        augmentation: Augmentation | None = None,
        num_copies: int = 0,
        max_length_s: float | None = None,
        seed: int = 0,
    ) -> None:
        self.stream, self.process_index, self.num_processes = stream, process_index, num_processes
        self.is_drawn, self.augmentation, self.num_copies, self.seed = is_drawn, augmentation, num_copies, seed
        self.max_samples = None if max_length_s is None else round(max_length_s * stream.sampling_rate)
        self.num_workers, self.positions = num_workers, [StreamPosition()] * max(1, num_workers)
        self.next_worker = 0
        if len(stream.numbers) < self.num_readers:
            raise ValueError(
                f"`data` has {len(stream.numbers)} shards to train on, but {num_processes} processes with "
                f"`dataloader_num_workers` {num_workers} need at least {self.num_readers}: each reads its own."
            )

    @property
    def num_readers(self) -> int:
        """Readers in all processes."""
        return self.num_processes * len(self.positions)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        info = get_worker_info()
        # A new loader takes its first batch from its first worker: that is to be the one whose turn it is.
        worker = (self.next_worker + (0 if info is None else info.id)) % len(self.positions)
        reader = self.process_index * len(self.positions) + worker
        for crop, position in self.stream.read(reader, self.num_readers, self.positions[worker]):
            yield {**self._item(crop), STREAM: (worker, *position.to_list())}

    def _item(self, crop: Crop) -> dict[str, Any]:
        name = zlib.crc32(crop.id.encode("utf-8", "surrogateescape"))
        seed = draw_seed(self.seed, crop.epoch, name)
        item: dict[str, Any] = {"waveform": crop.waveform}
        if self.augmentation is not None:
            number = int(np.random.default_rng(seed).integers(self.num_copies + 1))
            if number:
                item["waveform"] = self.augmentation.copy_of(crop.waveform, crop.id, number, self.max_samples)
        if self.is_drawn:
            item["draw_seed"] = seed
        return item

    def loader(self, batch_size: int, collate: Any, **options: Any) -> DataLoader:
        """A loader of batches that say where they end, for `count`.

        Args:
            batch_size (`int`): Clips per batch of this process.
            collate: Makes a batch of a list of items.
            options: Passed to `DataLoader`.
        """
        # A generator of its own: that of the training gives the same numbers whether or not a run was resumed.
        return DataLoader(
            self,
            batch_size=batch_size,
            collate_fn=partial(_collate, collate),
            generator=torch.Generator(),
            num_workers=self.num_workers,
            **options,
        )

    def count(self, batch: dict[str, Any]) -> None:
        """Remember where a batch ends that a model is trained on, and take that entry out of it."""
        worker, *position = batch.pop(STREAM)
        self.positions[worker] = StreamPosition.from_list(position)
        self.next_worker = (worker + 1) % len(self.positions)

    def save(self, folder: Path) -> None:
        """Write the positions of this process into the folder of a checkpoint."""
        state = {
            "num_processes": self.num_processes,
            "num_workers": len(self.positions),
            "next_worker": self.next_worker,
            "positions": [position.to_list() for position in self.positions],
        }
        write_whole(_file(folder, self.process_index), lambda path: path.write_text(json.dumps(state) + "\n"))

    def load(self, folder: Path) -> None:
        """Begin from the positions in the folder of a checkpoint.

        Raises:
            ValueError: If it has none, or those of another number of processes or workers.
        """
        file = _file(folder, self.process_index)
        try:
            state = json.loads(file.read_text())
            begun = (state["num_processes"], state["num_workers"])
            positions = [StreamPosition.from_list(position) for position in state["positions"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"`resume_from_checkpoint`: {file} says where process {self.process_index} was in its stream, but "
                f"cannot be read: {error!r}. A run goes on with the number of processes that it was begun with, and "
                "with `streaming` or without it as then."
            ) from error
        own = (self.num_processes, len(self.positions))
        if begun != own:
            raise ValueError(
                f"`resume_from_checkpoint`: the run was begun by {begun[0]} processes with {begun[1]} readers each, "
                f"and these are {own[0]} with {own[1]}: its shards are divided among as many. Resume with the number "
                "of processes and the `dataloader_num_workers` of then."
            )
        self.positions, self.next_worker = positions, int(state["next_worker"])


def _file(folder: Path, process_index: int) -> Path:
    return folder / f"stream_{process_index}.json"


def _collate(collate: Any, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {**collate(items), STREAM: items[-1][STREAM]}
