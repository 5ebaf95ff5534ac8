"""Whether the files of a folder of codes are those that were written: what `codes.json` records, and comparing it."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from audioformer.files import CODES_MANIFEST, CODES_PATTERN, ENCODING_SETTINGS

from .parquet_parts import SCHEMA, PartMetadata, all_parts, read_part_metadata

FILES_KEY = "files"
"""Where `codes.json` records its files. Folders of earlier versions have no such record."""
FOREIGN = "belongs to other clips, or to another place in the order of the files"

_THREADS = 8
_BLOCK_BYTES = 1 << 20


class FileRecord(TypedDict):
    """What `codes.json` records of a file.

    Args:
        num_rows (`int`): Number of clips and windows; 0 for a part in which every clip was rejected.
        num_bytes (`int`): Size.
        sha256 (`str`): SHA-256 of its bytes, in hexadecimal digits.
    """

    num_rows: int
    num_bytes: int
    sha256: str


@dataclass(frozen=True)
class Damage:
    """A file that is not what it should be.

    Args:
        file (`str`): Name of the file in its folder.
        reason (`str`): What is wrong with it, as the rest of a sentence: "is missing".
    """

    file: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file} {self.reason}"


def record_file(path: Path) -> FileRecord:
    """Read a file of codes and describe it for `codes.json`."""
    return {
        "num_rows": pq.read_metadata(path).num_rows,
        "num_bytes": path.stat().st_size,
        "sha256": sha256_of(path),
    }


def record_files(paths: Iterable[Path]) -> dict[str, FileRecord]:
    """Describe files of codes by their names, see [`record_file`]."""
    paths = list(paths)
    with ThreadPoolExecutor(_THREADS) as pool:
        return {path.name: record for path, record in zip(paths, pool.map(record_file, paths), strict=True)}


def sha256_of(path: Path) -> str:
    """SHA-256 of the bytes of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def find_damage(folder: Path, info: Mapping[str, Any], *, checksums: bool = False) -> list[Damage]:
    """Compare the files of a finished folder with what `codes.json` says of them.

    Without `checksums` no codes are read: existence, size, number of rows and columns are compared. For a folder of an
    earlier version, which records no files, the columns and the number of all rows are.

    Args:
        folder (`Path`): The folder.
        info (`Mapping`): Content of its `codes.json`.
        checksums (`bool`, defaults to `False`): Whether to read every byte: to compare it with the checksums or, where
            there are none, to count the codes and compare their numbers with those in the footer of each file.

    Returns:
        `list[Damage]`: What is wrong, in the order of the files; empty if nothing is.
    """
    records: Mapping[str, FileRecord] | None = info.get(FILES_KEY)
    there = {path.name: path for path in all_parts(folder)}
    if records is None:
        found = {name: unrecorded_damage(path, contents=checksums) for name, path in there.items()}
        damaged = [Damage(name, reason) for name, reason in found.items() if reason is not None]
        return damaged or _compare_totals(there.values(), info)
    # Parts without rows are not published, so that a download lacks them.
    may_lack_empty = not (folder / ENCODING_SETTINGS).is_file()

    def compare(name: str) -> str | None:
        if name not in there:
            return None if may_lack_empty and records[name]["num_rows"] == 0 else "is missing"
        return recorded_damage(there[name], records[name], checksums=checksums)

    with ThreadPoolExecutor(_THREADS) as pool:
        reasons = dict(zip(records, pool.map(compare, records), strict=True))
    reasons |= dict.fromkeys(
        there.keys() - records.keys(), f"does not belong there: {CODES_MANIFEST} does not list it"
    )
    return [Damage(name, reason) for name, reason in sorted(reasons.items()) if reason is not None]


def digest_of_codes(folder: Path) -> str:
    """SHA-256 of what the footers of a folder record of its codes: how often each code occurs, by file.

    Not of the checksums: footers also name the place that the audio came from, and the same clips may have moved.

    Args:
        folder (`Path`): The folder.
    """
    counts = {path.name: read_part_metadata(path).code_counts for path in sorted(folder.glob(CODES_PATTERN))}
    # Downloads lack the files without rows.
    contents = [(name, rows) for name, rows in counts.items() if any(map(any, rows))]
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()


def recorded_damage(path: Path, record: FileRecord, *, checksums: bool) -> str | None:
    """Compare a file with its record.

    Args:
        path (`Path`): The file.
        record ([`FileRecord`]): What was recorded when it was written.
        checksums (`bool`): Whether to compare every byte as well.

    Returns:
        `str`, *optional*: What is wrong with the file.
    """
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    if size != record["num_bytes"]:
        return f"has {size:,} bytes instead of {record['num_bytes']:,}"
    if checksums and sha256_of(path) != record["sha256"]:
        return "has other content than it was written with (SHA-256 differs)"
    try:
        rows = _num_rows(path)
    except ValueError as error:
        return str(error)
    return None if rows == record["num_rows"] else f"has {rows:,} rows instead of {record['num_rows']:,}"


def unrecorded_damage(path: Path, *, contents: bool, origin: str = "") -> str | None:
    """Check a file against itself: its columns, its footer, and whether its codes are as many as the footer counts.

    Args:
        path (`Path`): The file.
        contents (`bool`): Whether to read the codes; else only the footer is read.
        origin (`str`): What the footer should say about the origin of the file, if it says anything; empty if any
            origin is right.

    Returns:
        `str`, *optional*: What is wrong with the file.
    """
    try:
        _num_rows(path)
    except ValueError as error:
        return str(error)
    try:
        metadata = read_part_metadata(path)
    except ValueError:
        return "is no file of codes: its footer does not say how it was made"
    if origin and metadata.origin and metadata.origin != origin:
        return FOREIGN
    return _damaged_contents(path, metadata) if contents else None


def _num_rows(path: Path) -> int:
    """Number of rows of a Parquet file with the columns of codes; raises `ValueError` with what is wrong."""
    try:
        metadata = pq.read_metadata(path)
        columns = metadata.schema.to_arrow_schema()
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"cannot be read: {_one_line(error)}") from error
    for column in SCHEMA:
        if column.name not in columns.names or columns.field(column.name).type != column.type:
            raise ValueError(f"is no file of codes: it has no column `{column.name}` of the type {column.type}")
    return metadata.num_rows


def _damaged_contents(path: Path, metadata: PartMetadata) -> str | None:
    try:
        table = pq.read_table(path, page_checksum_verification=True)
        num_codebooks, size = metadata.codec["num_codebooks"], metadata.codec["codebook_size"]
        if len(table) == 0:
            counts = np.zeros((num_codebooks, size), dtype=np.int64)
        else:
            rows = table["codes"].combine_chunks()
            lengths, frames = rows.value_lengths().to_numpy(), rows.flatten().value_lengths().to_numpy()
            if not np.array_equal(lengths, np.full(len(table), num_codebooks)):
                return f"has clips that do not have {num_codebooks} rows of codes"
            if not np.array_equal(frames, np.repeat(table["n_frames"].to_numpy(), num_codebooks)):
                return "has clips with other numbers of codes than `n_frames`"
            codes = rows.flatten().flatten().to_numpy().astype(np.int64)
            if codes.max(initial=0) >= size:
                return f"has the code {codes.max()}, its codebooks have {size:,} entries"
            of_codebook = np.repeat(np.tile(np.arange(num_codebooks), len(table)), frames)
            counts = np.bincount(of_codebook * size + codes, minlength=num_codebooks * size).reshape(-1, size)
    except (pa.ArrowException, OSError, ValueError) as error:
        return f"cannot be read: {_one_line(error)}"
    if not np.array_equal(counts, metadata.code_counts):
        return "has other codes than its footer counts"
    return None


def _compare_totals(files: Iterable[Path], info: Mapping[str, Any]) -> list[Damage]:
    """What of a folder without records tells whether files are missing, or are too many."""
    found, listed = sum(pq.read_metadata(path).num_rows for path in files), info["report"]["found"]
    if found == listed:
        return []
    kind = "a file is missing" if found < listed else "a file does not belong there"
    return [Damage(CODES_MANIFEST, f"counts {listed:,} rows, but the files have {found:,}: {kind}")]


def _one_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read `codes.json`.

    Raises:
        ValueError: If it cannot be read, or is not the manifest of a folder of codes.
    """
    file = folder / CODES_MANIFEST
    try:
        info = json.loads(file.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{file} is damaged, it is no JSON: {error}") from error
    needed = {"labels", "multi_label", "label_ids", "codec_fingerprint", "num_codebooks", "report"}
    missing = needed - info.keys() if isinstance(info, dict) else needed
    if missing:
        raise ValueError(f"{file} is not the manifest of a folder of codes: {', '.join(sorted(missing))} missing.")
    return info
