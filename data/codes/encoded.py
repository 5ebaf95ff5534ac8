"""Clips that were encoded before: a `datasets.Dataset` with what is needed to train on it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codec import accepted_fingerprints
from audioformer.files import ARROW_CACHE, CODES_MANIFEST, CODES_PATTERN

from ..clips import Clips
from ..report import DataReport


class CodeColumn(Sequence[np.ndarray]):
    """The codes of clips as uint16 arrays of shape `(num_codebooks, num_frames)`, read straight from the mapped file.

    On the way to an array, `datasets` builds a Python list of all codes: 3,000 of them for ten seconds of audio.

    Args:
        column (`pyarrow.ChunkedArray`): Lists of lists of uint16.
        indices (`np.ndarray` of shape `(num_clips,)`): Positions in the column, in the order wanted.
        num_frames (`np.ndarray` of shape `(num_clips,)`): Frames of each clip.
    """

    def __init__(self, column: pa.ChunkedArray, indices: np.ndarray, num_frames: np.ndarray) -> None:
        self.indices, self.lengths = indices, num_frames
        self._starts = np.cumsum([0, *(len(chunk) for chunk in column.chunks)])
        self._chunks = [
            (
                chunk.offsets.to_numpy(),
                chunk.values.offsets.to_numpy(),
                chunk.values.values.to_numpy(zero_copy_only=True),
            )
            for chunk in column.chunks
        ]

    def __len__(self) -> int:
        return len(self.indices)

    # A `Sequence` also takes slices, which nothing here needs.
    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        position = self.indices[index]
        number = int(np.searchsorted(self._starts, position, side="right")) - 1
        clips, codebooks, codes = self._chunks[number]
        first, last = clips[position - self._starts[number] :][:2]
        limits = codebooks[first : last + 1]
        return codes[limits[0] : limits[-1]].reshape(last - first, -1)


@dataclass(frozen=True)
class EncodedClips(Clips):
    """Clips as codes, with labels.

    Args:
        dataset (`datasets.Dataset` of `num_clips` rows): Has, in addition to the columns of [`Clips`], `codes`
            (`num_codebooks` lists of `num_frames` codes, uint16) and `n_frames`.
        codec_fingerprint (`str`): SHA-256 of the codec that made the codes.
    """

    codec_fingerprint: str

    @cached_property
    def codes(self) -> CodeColumn:
        """Codes of each clip, uint16 of shape `(num_codebooks, num_frames)`."""
        table, indices = self.dataset.data, self.dataset._indices
        rows = np.arange(len(table)) if indices is None else indices.column(0).to_numpy().astype(np.int64)
        return CodeColumn(table.column("codes"), rows, np.asarray(self.dataset["n_frames"][:]))

    def check_codec(self, extractor: AudioFormerFeatureExtractor) -> None:
        """Check that an extractor would make the same codes.

        Raises:
            ValueError: If it has another codec.
        """
        if self.codec_fingerprint not in accepted_fingerprints(extractor.codec):
            raise ValueError(
                "The codes were made by another codec than the model's (fingerprints differ): give the codec that "
                "made them with --codec, or encode the audio again with --data."
            )


def read_codes_info(folder: str | Path) -> dict[str, Any]:
    """Read what a finished folder of codes says about itself.

    Args:
        folder (`str` or `Path`): Contains `codes.json`.

    Returns:
        `dict`: The content of `codes.json`.

    Raises:
        ValueError: If it is not such a folder, or was not finished.
    """
    folder = Path(folder)
    if not (folder / CODES_MANIFEST).is_file():
        begun = any(folder.glob(CODES_PATTERN)) if folder.is_dir() else False
        reason = "encoding it was not finished: run it again" if begun else f"it has no {CODES_MANIFEST}"
        raise ValueError(f"`codes` {str(folder)!r} is not a folder of codes: {reason}.")
    return json.loads((folder / CODES_MANIFEST).read_text(encoding="utf-8"))


def load_codes(folder: str | Path) -> EncodedClips:
    """Open a folder of codes; nothing is read into memory.

    Args:
        folder (`str` or `Path`): Made by [`encode_listing`]; contains `codes.json` and `codes-*.parquet`.

    Returns:
        [`EncodedClips`]: One entry per clip or window.

    Raises:
        ValueError: If it is not such a folder, or was not finished.
    """
    folder, info = Path(folder), read_codes_info(folder)
    files = sorted(str(path) for path in folder.glob(CODES_PATTERN))
    # Parquet is compressed: `datasets` unpacks it once into an Arrow file beside it, which is mapped from then on.
    dataset = Dataset.from_parquet(files, cache_dir=str(folder / ARROW_CACHE))
    return EncodedClips(
        dataset=dataset,
        labels=info["labels"],
        multi_label=info["multi_label"],
        label_ids=info["label_ids"],
        codec_fingerprint=info["codec_fingerprint"],
        report=DataReport(**info["report"]),
    )
