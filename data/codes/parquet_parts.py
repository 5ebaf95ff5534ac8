"""The files of codes: Parquet, written whole or not at all, each with the account of how it came about."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from audioformer.files import CODES_PATTERN, EMPTY_PATTERN, codes_part_name, write_whole

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

_ACCOUNT = b"audioformer"


@dataclass
class Account:
    """What a file says about itself, in its footer: one write makes the rows and the account, or neither.

    Args:
        num_listed (`int`): Listed clips that this file covers; the next part of the shard begins behind them.
        is_last (`bool`): Whether the shard ends with it.
        codec (`dict`): Where the codec came from, its fingerprint, rates and sizes.
        rejected (`list[dict]`): Clips and windows that are left out, with `id`, `path`, `kind` and `reason`.
        code_counts (`list[list[int]]`): For each row of codes how often each entry occurs.
    """

    num_listed: int
    is_last: bool
    codec: dict[str, Any]
    rejected: list[dict[str, str]] = field(default_factory=list)
    code_counts: list[list[int]] = field(default_factory=list)


def part_path(folder: Path, shard: int, part: int, is_empty: bool = False) -> Path:
    """A shard has more than one part where its clips become many windows, or are not known beforehand."""
    return folder / codes_part_name(shard, part, is_empty)


def parts_of_shard(folder: Path, shard: int) -> Iterator[tuple[Path, Account]]:
    """The parts of a shard that are there, in their order."""
    for part in count():
        candidates = (part_path(folder, shard, part, is_empty) for is_empty in (False, True))
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            return
        yield path, read_account(path)


def all_parts(folder: Path) -> list[Path]:
    """Every part that is there, in the order of shards and parts."""
    files = [*folder.glob(CODES_PATTERN), *folder.glob(EMPTY_PATTERN)]
    return sorted(files, key=lambda path: path.name.partition("-")[2])


def read_account(path: Path) -> Account:
    """The account in the footer of a file; its rows are not read."""
    return Account(**json.loads(pq.read_metadata(path).metadata[_ACCOUNT]))


def write_part(path: Path, rows: Sequence[dict[str, Any]], account: Account) -> None:
    """Write a file of codes.

    Args:
        path (`Path`): From [`part_path`].
        rows (sequence of `dict`): Columns of `SCHEMA`; `codes` are uint16 arrays of shape `(rows, frames)`.
        account (`Account`): `code_counts` is filled in here.
    """
    num_rows, codebook_size = account.codec["num_codebooks"], account.codec["codebook_size"]
    codes = np.concatenate([row["codes"] for row in rows], axis=1) if rows else np.empty((num_rows, 0), np.uint16)
    account.code_counts = [np.bincount(row, minlength=codebook_size).tolist() for row in codes]
    table = pa.Table.from_pylist([{**row, "codes": list(row["codes"])} for row in rows], schema=SCHEMA)
    write_whole(path, lambda unfinished: _write_table(unfinished, table, json.dumps(asdict(account))))


def _write_table(path: Path, table: pa.Table, account: str) -> None:
    # Codes are indices of a dictionary: ten bits each for 1,024 entries, which zstd could hardly make less. Arrow's
    # own copy of the schema would hold the account a second time; Parquet's types say the same.
    with pq.ParquetWriter(path, table.schema, compression="zstd", store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({_ACCOUNT: account})
