"""Puts the files of an encoding together: report, statistics, manifest and what `datasets` wants to know."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import DatasetInfo, Features
from datasets.splits import SplitDict, SplitInfo

from audioformer.files import CODES_MANIFEST, CODES_PATTERN, REJECTED, remove_unfinished, write_whole

from ..report import DataReport
from ..shards import ClipShards
from .code_statistics import CodeStatistics
from .parquet_parts import (
    SCHEMA,
    Account,
    all_parts,
    parts_of_shard,
    read_account,
)
from .rejections import Rejections, write_rejected
from .settings import EncodingSettings

REPORT_COLUMNS = ["duration_s", "sampling_rate", "labels", "split"]


def missing_shards(folder: Path, num_shards: int) -> list[int]:
    """Shards whose last part is not there."""
    return [
        shard
        for shard in range(num_shards)
        if not any(account.is_last for _, account in parts_of_shard(folder, shard))
    ]


def finish_folder(shards: ClipShards, folder: Path, settings: EncodingSettings) -> None:
    """Write everything that follows from all files; the manifest last, which says that the folder is whole.

    Any process may do it, and several at once: all write the same.

    Raises:
        ValueError: If too many clips were unreadable, or none is left.
    """
    files = sorted(folder.glob(CODES_PATTERN))
    accounts = [read_account(file) for file in all_parts(folder)]
    rejected = [_relative(entry, shards.root) for entry in _rejections_of(accounts)]
    num_listed = sum(account.num_listed for account in accounts)
    judge = Rejections(settings.max_rejected_share, num_listed, folder)
    judge.check(rejected, final=True)
    write_rejected(folder, rejected)
    if not files:
        raise ValueError(f"None of the {num_listed} clips was encoded: {folder / REJECTED} says why.")

    table = pa.concat_tables([pq.read_table(file, columns=REPORT_COLUMNS).replace_schema_metadata() for file in files])
    columns = [table[name].to_pylist() for name in REPORT_COLUMNS]
    labels = shards.labels
    if labels is None:
        labels = sorted({label for clip in columns[REPORT_COLUMNS.index("labels")] for label in clip})
    report = DataReport(
        source=shards.name,
        layout=shards.layout,
        listed=num_listed + len(shards.missing),
        found=len(table),
        missing=len(shards.missing),
        max_length_s=settings.max_length_s,
        windows=settings.long_files == "windows",
    )
    report.count_rejected(rejected).measure(*columns, all_labels=labels)
    statistics = CodeStatistics.of_counts([account.code_counts for account in accounts])
    manifest: dict[str, Any] = {
        "format": "audioformer codes 1",
        "source": shards.name,
        **accounts[0].codec,
        "settings": asdict(settings),
        "labels": labels,
        "label_ids": shards.label_ids,
        "multi_label": shards.multi_label,
        "missing": shards.missing,
        "report": asdict(report),
        "statistics": asdict(statistics),
        "duration_histogram": _duration_histogram(table["duration_s"].to_numpy()),
        "num_bytes": sum(file.stat().st_size for file in files),
    }
    _write_dataset_info(folder, shards.name, files, len(table))
    write_whole(
        folder / CODES_MANIFEST, lambda path: path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False))
    )
    remove_unfinished(folder)


def _rejections_of(accounts: list[Account]) -> Iterator[dict[str, str]]:
    return (entry for account in accounts for entry in account.rejected)


def _relative(entry: dict[str, str], root: str | None) -> dict[str, str]:
    """Without the way to the data on this machine, which is nobody's business where the codes are published."""
    if root is None:
        return entry
    prefix = root.rstrip("/") + "/"
    return {name: value.replace(prefix, "") for name, value in entry.items()}


def _duration_histogram(durations_s: np.ndarray) -> dict[str, list[float]]:
    """Number of clips in each of 50 equal ranges of duration, for the card."""
    counts, edges = np.histogram(durations_s, bins=50)
    return {"edges_s": edges.tolist(), "num_clips": counts.tolist()}


def _write_dataset_info(folder: Path, name: str, files: list[Path], num_clips: int) -> None:
    size = sum(file.stat().st_size for file in files)
    split = SplitInfo("train", num_bytes=size, num_examples=num_clips)
    info = DatasetInfo(
        description=f"Codes of a neural audio codec for the clips of {name}.",
        features=Features.from_arrow_schema(SCHEMA),
        splits=SplitDict({"train": split}),
        download_size=size,
        dataset_size=size,
    )
    info.write_to_directory(str(folder), pretty_print=True)
