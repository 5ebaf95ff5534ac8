"""Completes a folder of codes: report, statistics, `codes.json`, and what `datasets` needs to know."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from datasets import DatasetInfo, Features
from datasets.splits import SplitDict, SplitInfo

from audioformer.files import CODES_MANIFEST, REJECTED, remove_unfinished, write_whole

from ..rejections import Rejection, Rejections, relative_rejection
from ..report import SHOWN, DataReport
from ..shards import ClipShards
from .code_statistics import CodeStatistics
from .integrity import FILES_KEY, record_files
from .parquet_parts import SCHEMA, PartMetadata, parts_of_shard
from .rejected_file import write_rejected
from .settings import EncodingSettings

REPORT_COLUMNS = ["duration_s", "sampling_rate", "labels", "split"]


def missing_shards(folder: Path, num_shards: int) -> list[int]:
    """Return the shards of which a part is missing or cannot be read."""
    return [shard for shard in range(num_shards) if not _is_whole(folder, shard)]


def _is_whole(folder: Path, shard: int) -> bool:
    try:
        return any(metadata.is_last for _, metadata in parts_of_shard(folder, shard))
    except ValueError:
        # Its process will find that out as well, and encode it again.
        return False


def finish_folder(shards: ClipShards, folder: Path, settings: EncodingSettings) -> None:
    """Write what depends on all files; `codes.json` comes last and says that the folder is complete.

    Any process may call this, even several at once: all of them write the same content.

    Args:
        shards ([`ClipShards`]): What was encoded.
        folder (`Path`): Contains all parts of all shards.
        settings ([`EncodingSettings`]): What it was encoded with.

    Raises:
        ValueError: If too many clips were unreadable, none is left, or the files cover other clips.
    """
    # Only what the shards consist of: a foreign file in the folder must not become part of the data.
    found = [part for shard in range(shards.num_shards) for part in parts_of_shard(folder, shard)]
    parts = [metadata for _, metadata in found]
    records = record_files(path for path, _ in found)
    files = [path for path, _ in found if records[path.name]["num_rows"] > 0]
    rejected = [relative_rejection(entry, shards.root) for entry in _rejections_of(parts)]
    num_listed = sum(part.num_listed for part in parts)
    if shards.num_clips not in (None, num_listed):
        raise ValueError(
            f"The files in {folder} cover {num_listed:,} clips, {shards.name} has {shards.num_clips:,}: some of them "
            "are of another data set. Encode into another folder."
        )
    Rejections(settings.max_rejected_share, num_listed, partial(write_rejected, folder)).check(rejected, final=True)
    write_rejected(folder, rejected)
    if not files:
        raise ValueError(f"None of the {num_listed} clips was encoded: {folder / REJECTED} says why.")

    table = pa.concat_tables([pq.read_table(file, columns=REPORT_COLUMNS).replace_schema_metadata() for file in files])
    columns = {name: table[name].to_pylist() for name in REPORT_COLUMNS}
    labels = shards.labels
    if labels is None:
        labels = sorted({label for clip in columns["labels"] for label in clip})
    report = DataReport(
        source=shards.name,
        layout=shards.layout,
        listed=num_listed + len(shards.missing),
        found=len(table),
        missing=len(shards.missing),
        missing_names=shards.missing[:SHOWN],
        max_length_s=settings.max_length_s,
        windows=settings.long_files == "windows",
        hop_s=settings.window_hop_s,
    )
    report.count_rejected(rejected).measure(
        durations_s=columns["duration_s"],
        sampling_rates=columns["sampling_rate"],
        labels=columns["labels"],
        splits=columns["split"],
        all_labels=labels,
    )
    statistics = CodeStatistics.of_counts([part.code_counts for part in parts])
    manifest: dict[str, Any] = {
        "format": "audioformer codes 1",
        "source": shards.name,
        **parts[0].codec,
        "settings": settings.to_stored(),
        "labels": labels,
        "label_ids": shards.label_ids,
        "multi_label": shards.multi_label,
        "missing": shards.missing,
        "report": asdict(report),
        "statistics": asdict(statistics),
        "duration_histogram": _duration_histogram(table["duration_s"].to_numpy()),
        "num_bytes": sum(file.stat().st_size for file in files),
        FILES_KEY: records,
    }
    _write_dataset_info(folder, shards.name, files, len(table))
    write_whole(
        folder / CODES_MANIFEST, lambda path: path.write_text(json.dumps(manifest, indent=2, ensure_ascii=False))
    )
    remove_unfinished(folder)


def _rejections_of(parts: list[PartMetadata]) -> Iterator[Rejection]:
    return (entry for part in parts for entry in part.rejected)


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
