"""Codes that were encoded before: a `datasets.Dataset` with what is needed to train on it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from datasets import Dataset

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codec import codec_fingerprint
from audioformer.files import ARROW_CACHE, CODES_MANIFEST, CODES_PATTERN

from ..report import DataReport


class CodeColumn(Sequence[np.ndarray]):
    """The codes of some clips as arrays `(rows, frames)`, uint16, read straight from the mapped file.

    `datasets` builds a Python list of every code on the way to an array: 3,000 of them for ten seconds.

    Args:
        column (`pyarrow.ChunkedArray`): Lists of lists of uint16.
        indices (`np.ndarray` of shape `(num_clips,)`): Rows of the column, in the order wanted.
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

    def __getitem__(self, index: int) -> np.ndarray:  # type: ignore[override]
        row = self.indices[index]
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        clips, rows, codes = self._chunks[number]
        first, last = clips[row - self._starts[number] :][:2]
        limits = rows[first : last + 1]
        return codes[limits[0] : limits[-1]].reshape(last - first, -1)


@dataclass(frozen=True)
class EncodedData:
    """Clips as codes, with labels.

    Args:
        dataset (`datasets.Dataset`): Columns `id`, `codes` (rows x frames, uint16), `n_frames`, `labels` (names),
            `split`, `fold`, `group`, `duration_s` and `sampling_rate` (of the file, in Hz).
        labels (`list[str]`): Class names; their order gives the indices.
        multi_label (`bool`): Whether a clip can have several.
        label_ids (`dict[str, str]`): Machine ids of classes, where there are.
        codec_fingerprint (`str`): SHA-256 of the codec that made the codes.
        report (`DataReport`): What the whole data set holds.
    """

    dataset: Dataset
    labels: list[str]
    multi_label: bool
    label_ids: dict[str, str]
    codec_fingerprint: str
    report: DataReport

    def __len__(self) -> int:
        return len(self.dataset)

    def select(self, indices: Sequence[int] | np.ndarray) -> "EncodedData":
        """Some of the clips, in this order."""
        return replace(self, dataset=self.dataset.select(indices))

    def with_labels(self, labels: Sequence[str], multi_label: bool | None = None) -> "EncodedData":
        """The same clips with the class indices of a model that knows more classes, or another order."""
        multi_label = self.multi_label if multi_label is None else multi_label
        return replace(self, labels=list(labels), multi_label=multi_label)

    @cached_property
    def codes(self) -> CodeColumn:
        """Codes of each clip."""
        table, indices = self.dataset.data, self.dataset._indices
        rows = np.arange(len(table)) if indices is None else indices.column(0).to_numpy().astype(np.int64)
        return CodeColumn(table.column("codes"), rows, np.asarray(self.dataset["n_frames"][:]))

    @property
    def groups(self) -> list[str | None]:
        """Group of each clip."""
        return self.dataset["group"][:]

    @cached_property
    def targets(self) -> np.ndarray:
        """Class indices, int64 of shape `(num_clips,)`, or multi-hot vectors, uint8 of `(num_clips, num_labels)`.

        One byte each: in floats, AudioSet's two million rows of 527 would take four gigabytes in every process.

        Raises:
            ValueError: If a clip has a label that is not among `labels`, or not exactly one where it must.
        """
        index_of = {label: index for index, label in enumerate(self.labels)}
        targets = np.zeros((len(self), len(self.labels)), dtype=np.uint8)
        for row, (name, labels) in enumerate(zip(self.dataset["id"], self.dataset["labels"], strict=True)):
            unknown = [label for label in labels if label not in index_of]
            if unknown:
                raise ValueError(
                    f"Clip {name!r} has labels that are not among the {len(self.labels)} known: {unknown}."
                )
            if not self.multi_label and len(labels) != 1:
                raise ValueError(f"Clip {name!r} must have one label, it has {list(labels)}.")
            targets[row, [index_of[label] for label in labels]] = 1
        return targets if self.multi_label else targets.argmax(axis=1)

    @property
    def strata(self) -> np.ndarray:
        """What to keep in proportion when the clips are divided: `targets`, or nothing for clips without labels."""
        if not any(self.dataset["labels"]):
            return np.zeros(len(self), dtype=np.int64)
        return self.targets

    def check_codec(self, extractor: AudioFormerFeatureExtractor) -> None:
        """Make sure that an extractor would make the same codes.

        Raises:
            ValueError: If its codec is another one.
        """
        if codec_fingerprint(extractor.codec) != self.codec_fingerprint:
            raise ValueError(
                "The codes were made by another codec than the model's (fingerprints differ): give the codec that "
                "made them with --codec, or encode the audio again with --data."
            )


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """What a finished folder of codes says about itself.

    Raises:
        ValueError: If it is not such a folder, or was not finished.
    """
    folder = Path(folder)
    if not (folder / CODES_MANIFEST).is_file():
        begun = any(folder.glob(CODES_PATTERN)) if folder.is_dir() else False
        reason = "encoding it was not finished: run it again" if begun else f"it has no {CODES_MANIFEST}"
        raise ValueError(f"`codes` {str(folder)!r} is not a folder of codes: {reason}.")
    return json.loads((folder / CODES_MANIFEST).read_text(encoding="utf-8"))


def load_codes(folder: str | Path) -> EncodedData:
    """Open a folder of codes; nothing is read into memory.

    Args:
        folder (`str` or `Path`): What [`encode_listing`] made: `codes.json` and `codes-*.parquet`.

    Raises:
        ValueError: If it is not such a folder, or was not finished.
    """
    folder, manifest = Path(folder), read_manifest(folder)
    files = sorted(str(path) for path in folder.glob(CODES_PATTERN))
    # Parquet is compressed; `datasets` unpacks it into an Arrow file beside it once, which is mapped from then on.
    dataset = Dataset.from_parquet(files, cache_dir=str(folder / ARROW_CACHE))
    return EncodedData(
        dataset=dataset,
        labels=manifest["labels"],
        multi_label=manifest["multi_label"],
        label_ids=manifest["label_ids"],
        codec_fingerprint=manifest["codec_fingerprint"],
        report=DataReport(**manifest["report"]),
    )
