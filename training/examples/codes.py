"""Encoded clips as a data set for the Trainer."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from audioformer.feature_extraction.token_ids import codes_to_ids


def draw_seed(seed: int, epoch: int, index: int) -> int:
    """A seed of 63 bits for the random choices of one clip in one epoch.

    All random choices for a clip follow from it. They do not depend on the process or worker that makes the item, on
    prefetching, or on where a run was resumed.
    """
    digest = hashlib.blake2b(f"{seed} {epoch} {index}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


class CodeExamples(Dataset[dict[str, Any]]):
    """Sequences `[BOA, codes + 3, EOA]` of one codebook or several, with labels, and with the positives of FT2.

    The copy, the crop and the masking of the collator depend on `(seed, epoch, index)` alone, through the entry
    `draw_seed` of an item, see [`draw_seed`]. The trainer calls `set_epoch`.

    Args:
        clips (sequence): Codes of each clip, without special ids: an array of shape `(num_frames,)`; an array of shape
            `(num_codebooks, num_frames)`, of which `codebook` is read; or a list of such arrays, augmented copies of
            the clip, one of which is drawn. Items are read on demand, so that a sequence on disk stays there.
        labels (sequence, *optional*): Class index or multi-hot vector of each clip.
        crop_frames (`int`, *optional*): Maximum number of frames in an item; longer clips are cropped at random.
        codebook (`int` or sequence of `int`, defaults to 0): Codebook to read, from 0 (C1), if clips have several; of
            a sequence of codebooks, `input_ids` have the shape `(sequence_length, num_codebooks)`.
        positives (`np.ndarray` of shape `(num_clips, num_codebooks - 1, hidden_size)`, *optional*): The frozen models'
            vectors of the whole clips (paper section 3.3.2).
        positive_codebooks (sequence of `int`, *optional*): Codebooks that frozen models read in every step.
        seed (`int`, defaults to 0): Seed of all random choices.

    Raises:
        ValueError: If the numbers of clips, labels and positives differ, a clip has no codes or, when it is read, not
            those of several codebooks, or `positives`, which belong to whole clips, are combined with crops or copies.
    """

    def __init__(
        self,
        clips: Sequence[Any],
        labels: Sequence[Any] | np.ndarray | None = None,
        crop_frames: int | None = None,
        *,
        codebook: int | Sequence[int] = 0,
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
        self.clips, self.labels, self.crop_frames = clips, labels, crop_frames
        self.codebook = list(codebook) if isinstance(codebook, Sequence) else codebook
        self.positives, self.positive_codebooks, self.seed = positives, positive_codebooks, seed
        # In shared memory, for workers that live on through the epochs.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.clips)

    def set_epoch(self, epoch: int) -> None:
        """Make other random choices from now on."""
        self._epoch.fill_(epoch)

    @property
    def lengths(self) -> np.ndarray:
        """Number of ids of each item, BOA and EOA included, int64 of shape `(num_clips,)`."""
        if hasattr(self.clips, "lengths"):
            frames = np.asarray(self.clips.lengths, dtype=np.int64)
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
        # A clip given as a single row holds the requested codebook, whatever its number.
        rows = 0 if np.ndim(codes) < 2 and not isinstance(self.codebook, list) else self.codebook
        codes = np.atleast_2d(codes)
        if isinstance(rows, list) and max(rows) >= len(codes):
            raise ValueError(f"clip {index} must have the codebooks {rows}, got codes of the shape {codes.shape}")
        if self.crop_frames is not None and codes.shape[1] > self.crop_frames:
            start = int(rng.integers(codes.shape[1] - self.crop_frames + 1))
            codes = codes[:, start : start + self.crop_frames]
        # Transposed for several codebooks: their ids follow each other frame by frame.
        item["input_ids"] = torch.from_numpy(codes_to_ids(codes[rows].T))
        if self.positive_codebooks is not None:
            item["positive_input_ids"] = torch.from_numpy(codes_to_ids(codes[list(self.positive_codebooks)].T).T)
        if self.positives is not None:
            item["positives"] = torch.from_numpy(np.array(self.positives[index], dtype=np.float32))
        if self.labels is not None:
            item["labels"] = torch.as_tensor(self.labels[index])
        return item
