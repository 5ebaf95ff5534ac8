"""Encoded clips as a data set for the Trainer."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from audioformer.feature_extraction.token_ids import codes_to_ids


def draw_seed(seed: int, epoch: int, index: int) -> int:
    """A number of 63 bits for the random choices of one clip in one epoch.

    Everything that is drawn for a clip follows from it: whatever process or worker makes the item, whatever was
    fetched ahead, and wherever a run was resumed, the choices are the same.
    """
    digest = hashlib.blake2b(f"{seed} {epoch} {index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class CodeExamples(Dataset[dict[str, Any]]):
    """Sequences `[BOA, codes + 3, EOA]` of one row of codes, with labels, and with what FT2 needs besides.

    Which copy, which crop, and the masking of the collator are functions of `(seed, epoch, index)` alone: item
    `draw_seed`, see [`draw_seed`]. Accelerate's data loaders call `set_epoch`.

    Args:
        clips (sequence): Codes of each clip, without special ids: an array `(frames,)`; an array `(rows, frames)`, of
            which row `codebook` is read; or a list of such, changed copies of the clip of which one is drawn. Items
            are read when asked for, so that a sequence that lies on a disk stays there.
        labels (sequence, *optional*): Of each clip the class, or a multi-hot vector.
        crop_frames (`int`, *optional*): Longest stretch of codes in an item; longer clips are cropped at random.
        codebook (`int`, defaults to 0): Row to read, from 0 (C1), where clips have rows.
        positives (array-like of shape `(num_clips, N - 1, hidden_size)`, *optional*): The frozen models' vectors of
            the whole clips (paper section 3.3.2).
        positive_codebooks (sequence of `int`, *optional*): Rows that frozen models are to read in every step.
        seed (`int`, defaults to 0): Seed of all choices.

    Raises:
        ValueError: If numbers of clips, labels and positives differ, a clip has no array, or `positives` come with
            crops or copies, of which they know nothing.
    """

    def __init__(
        self,
        clips: Sequence[Any],
        labels: Sequence[Any] | np.ndarray | None = None,
        crop_frames: int | None = None,
        *,
        codebook: int = 0,
        positives: np.ndarray | None = None,
        positive_codebooks: Sequence[int] | None = None,
        seed: int = 0,
    ) -> None:
        for name, given in (("labels", labels), ("positives", positives)):
            if given is not None and len(given) != len(clips):
                raise ValueError(f"as many {name} as clips are needed, got {len(given)} {name} for {len(clips)} clips")
        if isinstance(clips, list) and not all(len(clip) for clip in clips):
            raise ValueError("every clip needs at least one array of codes")
        has_copies = len(clips) > 0 and isinstance(clips[0], list)
        if positives is not None and (crop_frames is not None or has_copies):
            raise ValueError("`positives` belong to whole clips: they exclude `crop_frames` and copies of clips")
        self.clips, self.labels, self.crop_frames, self.codebook = clips, labels, crop_frames, codebook
        self.positives, self.positive_codebooks, self.seed = positives, positive_codebooks, seed
        # In shared memory, for workers that live on through the epochs.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.clips)

    def set_epoch(self, epoch: int) -> None:
        """Draw anew from now on."""
        self._epoch.fill_(epoch)

    @property
    def lengths(self) -> np.ndarray:
        """Number of ids of each item, BOA and EOA included, int64 of shape `(num_clips,)`."""
        if hasattr(self.clips, "lengths"):
            frames = np.asarray(self.clips.lengths)
        else:
            first_copies = (clip[0] if isinstance(clip, list) else clip for clip in self.clips)
            frames = np.fromiter((copy.shape[-1] for copy in first_copies), np.int64, len(self.clips))
        return np.minimum(frames, self.crop_frames or np.iinfo(np.int64).max) + 2

    def __getitem__(self, index: int) -> dict[str, Any]:
        item: dict[str, Any] = {"draw_seed": draw_seed(self.seed, int(self._epoch), index)}
        rng = np.random.default_rng(item["draw_seed"])
        codes = self.clips[index]
        if isinstance(codes, list):
            codes = codes[int(rng.integers(len(codes)))]
        codes = np.atleast_2d(codes)
        if self.crop_frames is not None and codes.shape[1] > self.crop_frames:
            start = int(rng.integers(codes.shape[1] - self.crop_frames + 1))
            codes = codes[:, start : start + self.crop_frames]
        # One row alone is the row that was asked for.
        item["input_ids"] = torch.from_numpy(codes_to_ids(codes[self.codebook if len(codes) > 1 else 0]))
        if self.positive_codebooks is not None:
            item["positive_input_ids"] = torch.from_numpy(codes_to_ids(codes[list(self.positive_codebooks)].T).T)
        if self.positives is not None:
            item["positives"] = torch.from_numpy(np.array(self.positives[index], dtype=np.float32))
        if self.labels is not None:
            item["labels"] = torch.as_tensor(self.labels[index])
        return item
