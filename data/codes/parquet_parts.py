"""The files of codes: Parquet, written as a whole or not at all, with metadata on how they were made."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from audioformer.files import CODES_PATTERN, EMPTY_PATTERN, codes_part_name, write_whole

from ..rejections import Rejection

SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "codes": pa.list_(pa.list_(pa.uint16())),
        "n_frames": pa.int32(),
        "labels": pa.list_(pa.string()),
        "split": pa.string(),
        "fold": pa.int32(),
        "group": pa.string(),
        "duration_s": pa.float64(),
        "sampling_rate": pa.int32(),
    }
)
_FOOTER_KEY = b"audioformer"
_NO_PART = (-1, -1)


@dataclass
class PartMetadata:
    """What a file says about itself in its footer, so that one write makes both the codes and their metadata.

    Args:
        num_listed (`int`): Listed clips that the file covers; the next part of the shard begins after them.
        is_last (`bool`): Whether the shard ends with this part.
        codec (`dict`): Where the codec comes from, its fingerprint, rates and sizes.
        rejected (`list[Rejection]`): Clips and windows that are left out.
        code_counts (`list[list[int]]` of shape `(num_codebooks, codebook_size)`): How often each code occurs.
        origin (`str`): From [`part_origin`]: a file of other clips, or one that was moved, has another one. Empty in
            files of earlier versions.
    """

    num_listed: int
    is_last: bool
    codec: dict[str, Any]
    rejected: list[Rejection] = field(default_factory=list)
    code_counts: list[list[int]] = field(default_factory=list)
    origin: str = ""


def part_path(folder: Path, shard: int, part: int, is_empty: bool = False) -> Path:
    """Return the path of a part. A shard has several parts if its clips become many windows, or if it is a stream."""
    return folder / codes_part_name(shard, part, is_empty)


def part_of_name(name: str) -> tuple[int, int]:
    """Shard and part in the name of a file of codes; -1 twice if no part has that name."""
    match = re.fullmatch(r"(codes|empty)-(\d+)-(\d+)\.parquet", name, flags=re.ASCII)
    if match is None:
        return _NO_PART
    shard, part = int(match[2]), int(match[3])
    return (shard, part) if name == codes_part_name(shard, part, match[1] == "empty") else _NO_PART


def part_origin(fingerprint: str, shard: int, part: int) -> str:
    """A name for the place of a part in an encoding: SHA-256 of the clips' fingerprint and both numbers."""
    return hashlib.sha256(f"{fingerprint} {shard} {part}".encode()).hexdigest()


def parts_of_shard(folder: Path, shard: int) -> Iterator[tuple[Path, PartMetadata]]:
    """Iterate over the existing parts of a shard in order, as far as none is missing and up to the last one.

    Raises:
        ValueError: If a file cannot be read.
    """
    for part in count():
        candidates = (part_path(folder, shard, part, is_empty) for is_empty in (False, True))
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            return
        metadata = read_part_metadata(path)
        yield path, metadata
        if metadata.is_last:
            return


def all_parts(folder: Path, shard: int | None = None) -> list[Path]:
    """List all existing parts, or those of a shard, in the order of shards and parts."""
    files = [*folder.glob(CODES_PATTERN), *folder.glob(EMPTY_PATTERN)]
    chosen = [path for path in files if shard is None or part_of_name(path.name)[0] == shard]
    return sorted(chosen, key=lambda path: path.name.partition("-")[2])


def read_part_metadata(path: Path) -> PartMetadata:
    """Read the metadata in the footer of a file, without its codes.

    Raises:
        ValueError: If the file cannot be read or has no such metadata; the message names it.
    """
    try:
        stored = json.loads((pq.read_metadata(path).metadata or {})[_FOOTER_KEY])
        known = {entry.name for entry in fields(PartMetadata)}
        return PartMetadata(**{name: value for name, value in stored.items() if name in known})
    except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged, or is no file of codes: {error}") from error


def write_part(path: Path, clips: Sequence[dict[str, Any]], metadata: PartMetadata) -> None:
    """Write a file of codes.

    Args:
        path (`Path`): From [`part_path`].
        clips (sequence of `dict`): Columns of `SCHEMA`; `codes` are uint16 of shape `(num_codebooks, num_frames)`.
        metadata ([`PartMetadata`]): `code_counts` is filled in here.
    """
    num_codebooks, codebook_size = metadata.codec["num_codebooks"], metadata.codec["codebook_size"]
    codes = [clip["codes"] for clip in clips] or [np.empty((num_codebooks, 0), np.uint16)]
    metadata.code_counts = [
        np.bincount(codebook, minlength=codebook_size).tolist() for codebook in np.concatenate(codes, axis=1)
    ]
    table = pa.Table.from_pylist([{**clip, "codes": list(clip["codes"])} for clip in clips], schema=SCHEMA)
    write_whole(path, lambda unfinished: _write_table(unfinished, table, json.dumps(asdict(metadata))))


def _write_table(path: Path, table: pa.Table, metadata: str) -> None:
    # Codes are stored as indices of a dictionary: ten bits each for 1,024 entries, which zstd hardly improves on.
    # Arrow's own copy of the schema would contain the metadata a second time; Parquet's types say the same.
    with pq.ParquetWriter(
        path, table.schema, compression="zstd", store_schema=False, write_page_checksum=True
    ) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_FOOTER_KEY: metadata})
