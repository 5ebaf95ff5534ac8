"""Clips that were encoded before: a `datasets.Dataset` with what is needed to train on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Dataset
from datasets.exceptions import DatasetGenerationError
from pyarrow.dataset import ParquetFragmentScanOptions

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codes_fingerprint import accepted_codes_fingerprints
from audioformer.feature_extraction.level import NORMALIZATION_SETTINGS
from audioformer.files import ARROW_CACHE, CODES_MANIFEST, CODES_PATTERN

from ..audio.windows import clip_id_of
from ..clips import Clips
from ..report import DataReport
from .integrity import FILES_KEY, Damage, digest_of_codes, find_damage, read_manifest, unrecorded_damage


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


class ClipVersions(Sequence[list[np.ndarray]]):
    """The codes of each clip and of its augmented copies, read when they are asked for.

    Args:
        columns (sequence of [`CodeColumn`]): Codes of the clips themselves, then of each copy.

    Attributes:
        lengths (`np.ndarray` of shape `(num_clips,)`): Frames of the clips themselves; copies differ by their speed.
    """

    def __init__(self, columns: Sequence[CodeColumn]) -> None:
        self.columns, self.lengths = columns, columns[0].lengths

    def __len__(self) -> int:
        return len(self.lengths)

    # A `Sequence` also takes slices, which nothing here needs.
    def __getitem__(self, index: int) -> list[np.ndarray]:  # type: ignore[override]
        return [column[index] for column in self.columns]


_REPAIR = (
    "`audioformer encode` with the same source and settings makes such files again; `audioformer verify` checks all "
    "files; of a downloaded folder, download these files again."
)
_SHOWN = 10


def damage_message(folder: Path, damaged: Sequence[Damage]) -> str:
    """What is wrong with the files of a folder, and what to do about it."""
    shown = "; ".join(map(str, damaged[:_SHOWN]))
    more = f"; and {len(damaged) - _SHOWN} more" if len(damaged) > _SHOWN else ""
    return f"The codes in {str(folder)!r} are damaged: {shown}{more}. {_REPAIR}"


@dataclass(frozen=True)
class EncodedClips(Clips):
    """Clips as codes, with labels.

    Args:
        dataset (`datasets.Dataset` of `num_clips` rows): Has, in addition to the columns of [`Clips`], `codes`
            (`num_codebooks` lists of `num_frames` codes, uint16) and `n_frames`.
        codec_fingerprint (`str`): SHA-256 of the codec that made the codes, and of the level if it was normalized.
        num_codebooks (`int`): Codebooks that were kept, starting with the first.
        source (`str`): Folder of the codes.
        contents (`str`): SHA-256 of what the footers of the files record of the codes. It does not
            depend on the place or the times of the files.
        normalization (mapping): Settings of the extractor that decided the level; empty if waveforms were encoded as
            they are.
        copies (tuple of [`EncodedClips`]): Augmented copies, each of all clips, in the order of the clips.
    """

    codec_fingerprint: str
    num_codebooks: int
    source: str
    contents: str
    normalization: Mapping[str, Any] = field(default_factory=dict)
    copies: tuple["EncodedClips", ...] = ()

    def select(self, indices: Sequence[int] | np.ndarray) -> "EncodedClips":
        """Return some of the clips, in the order of `indices`, with their copies."""
        return replace(super().select(indices), copies=tuple(copy.select(indices) for copy in self.copies))

    @property
    def versions(self) -> Sequence[Any]:
        """What [`CodeExamples`] draws from: the codes of each clip, with those of its copies if there are any."""
        return ClipVersions([self.codes, *(copy.codes for copy in self.copies)]) if self.copies else self.codes

    @property
    def origin(self) -> str:
        """The codes themselves, which the digest of the clips depends on."""
        return self.contents

    @cached_property
    def codes(self) -> CodeColumn:
        """Codes of each clip, uint16 of shape `(num_codebooks, num_frames)`."""
        table, indices = self.dataset.data, self.dataset._indices
        rows = np.arange(len(table)) if indices is None else indices.column(0).to_numpy().astype(np.int64)
        # Not through `datasets`, which makes a list of Python numbers first.
        frames = table.column("n_frames").to_numpy()
        return CodeColumn(table.column("codes"), rows, frames if indices is None else frames[rows])

    def check_codebooks(self, codebooks: Sequence[int]) -> None:
        """Check that codebooks were kept when the clips were encoded.

        Args:
            codebooks (sequence of `int`): Indices of codebooks, from 0 (C1).

        Raises:
            ValueError: If one of them was not kept.
        """
        lacking = [codebook for codebook in codebooks if not 0 <= codebook < self.num_codebooks]
        if lacking:
            names = ", ".join(f"{codebook} (C{codebook + 1})" for codebook in lacking)
            kept = "0" if self.num_codebooks == 1 else f"0 to {self.num_codebooks - 1}"
            raise ValueError(
                f"`codes` {self.source!r} has no codebook {names}: it was encoded with `num_codebooks` "
                f"{self.num_codebooks}, which keeps {kept}."
            )

    def check_codec(self, extractor: AudioFormerFeatureExtractor) -> None:
        """Check that an extractor would make the same codes.

        Raises:
            ValueError: If it has another codec, or gives waveforms another level.
        """
        if self.normalization != extractor.normalization:
            raise ValueError(
                f"The codes in {self.source!r} were made with {describe_normalization(self.normalization)}, but the "
                f"feature extractor has {describe_normalization(extractor.normalization)}. Give codes that were made "
                "with the same setting (--normalize of encode, pretrain and finetune), or the audio with --data."
            )
        if self.codec_fingerprint not in accepted_codes_fingerprints(extractor):
            raise ValueError(
                "The codes were made by another codec than the model's (fingerprints differ): give the codec that "
                "made them with --codec, or encode the audio again with --data."
            )


def describe_normalization(normalization: Mapping[str, Any]) -> str:
    """The settings that decide the level, for messages."""
    if not normalization:
        return "`normalize` None"
    return ", ".join(f"`{name}` {value!r}" for name, value in normalization.items())


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
    return read_manifest(folder)


def _unpack(folder: Path, has_checksums: bool) -> Dataset:
    """Map the codes of a folder, unpacked on first use.

    Parquet is compressed: `datasets` unpacks it once into an Arrow file beside it, which is mapped from then on.
    """
    files = sorted(folder.glob(CODES_PATTERN))
    # Other options would give the Arrow files of earlier versions, whose pages have no checksums, another name.
    options = {"fragment_scan_options": ParquetFragmentScanOptions(page_checksum_verification=True)}
    try:
        return Dataset.from_parquet(
            [str(file) for file in files],
            cache_dir=str(folder / ARROW_CACHE),
            **(options if has_checksums else {}),
        )
    except (DatasetGenerationError, pa.ArrowException, OSError, ValueError) as error:
        reasons = {file.name: unrecorded_damage(file, contents=True) for file in files}
        damaged = [Damage(name, reason) for name, reason in reasons.items() if reason is not None]
        if not damaged:
            # The files are right: the disk is full, or the like.
            cause = error.__cause__
            raise cause if isinstance(error, DatasetGenerationError) and cause is not None else error from None
        raise ValueError(damage_message(folder, damaged)) from error


def load_codes(folder: str | Path) -> EncodedClips:
    """Open a folder of codes; nothing is read into memory.

    Args:
        folder (`str` or `Path`): Made by [`encode_listing`]; contains `codes.json` and `codes-*.parquet`.

    Returns:
        [`EncodedClips`]: One entry per clip or window.

    Raises:
        ValueError: If it is not such a folder, was not finished, or a file is missing, damaged or foreign; the message
            names the file. Which bytes are wrong is seen only while they are unpacked: `audioformer verify` reads all.
    """
    folder, info = Path(folder), read_codes_info(folder)
    damaged = find_damage(folder, info)
    if damaged:
        raise ValueError(damage_message(folder, damaged))
    dataset = _unpack(folder, has_checksums=FILES_KEY in info)
    return EncodedClips(
        dataset=dataset,
        labels=info["labels"],
        multi_label=info["multi_label"],
        label_ids=info["label_ids"],
        codec_fingerprint=info["codec_fingerprint"],
        num_codebooks=info["num_codebooks"],
        source=str(folder),
        contents=digest_of_codes(folder),
        normalization={name: info[name] for name in NORMALIZATION_SETTINGS if name in info},
        report=DataReport(**info["report"]),
    )


def has_no_windows(folder: Path) -> bool:
    """Whether a folder of codes is finished and all of its clips are whole, so that no rule of windows mattered."""
    if not (folder / CODES_MANIFEST).is_file():
        return False
    columns = (pq.read_table(file, columns=["id"])["id"].to_pylist() for file in folder.glob(CODES_PATTERN))
    return all(clip_id_of(name) == name for column in columns for name in column)
