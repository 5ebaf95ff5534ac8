"""Data sets that are read sequentially: tar shards in the WebDataset layout, and streamed `datasets` data sets."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets import Audio, ClassLabel, IterableDataset, IterableDatasetDict, List, Value, load_dataset

from ..listing import ListedClip
from ..shards import ClipShards

WEBDATASET_LABELS = ("cls", "json.label", "json.labels", "json.tags", "json.category")
"""Where the labels of tar shards are, unless `label_column` exists."""


def is_tar_source(source: str | Path) -> bool:
    """Return whether a path is a tar file or a folder of tar files."""
    return bool(_tar_files(source))


def read_stream(source: str | Path, audio_column: str = "audio", label_column: str = "label") -> ClipShards:
    """Open a data set shard by shard, without downloading or unpacking it first.

    Args:
        source (`str` or `Path`): A tar file or a folder of tar files (the files of a clip share a name: `a.flac` with
            `a.json`, `a.cls` or neither), or the Hub id or folder of a `datasets` data set.
        audio_column (`str`, defaults to `"audio"`): Column with the audio. In tar shards, the suffix decides.
        label_column (`str`, defaults to `"label"`): Column with the label or labels; a dot leads into a nested entry,
            as in `json.tags`. If there is no such column, clips have no labels.

    Returns:
        [`ClipShards`]: One shard per tar file or per file of the `datasets` data set.

    Raises:
        ValueError: If there is no audio column; the message lists the columns.
    """
    tars = _tar_files(source)
    if tars:
        files = [str(path) for path in tars]
        parts = {"train": load_dataset("webdataset", data_files=files, split="train", streaming=True)}
        described: list[Any] = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in tars]
    else:
        loaded = load_dataset(str(source), streaming=True)
        parts = dict(loaded) if isinstance(loaded, IterableDatasetDict) else {str(loaded.split or "train"): loaded}
        described = [(split, part.num_shards, str(part.info.version)) for split, part in parts.items()]
    streams = [_Stream.open(split, part, audio_column, label_column, bool(tars)) for split, part in parts.items()]
    opened = [(stream, index) for stream in streams for index in range(stream.dataset.num_shards)]
    text = json.dumps([str(source) if not tars else "webdataset", described, audio_column, label_column])
    name = Path(str(source)).resolve().name if Path(str(source)).exists() else str(source).replace("/", "--")
    return ClipShards(
        name=name.removesuffix(".tar"),
        layout="webdataset" if tars else "datasets",
        num_shards=len(opened),
        open_shard=lambda number: opened[number][0].clips(opened[number][1]),
        fingerprint=hashlib.sha256(text.encode()).hexdigest(),
        labels=streams[0].names,
        multi_label=any(stream.multi_label for stream in streams),
    )


@dataclass(frozen=True)
class _Stream:
    """One split of a streamed data set."""

    split: str | None
    dataset: IterableDataset
    audio_columns: list[str]
    label_path: list[str] | None
    names: list[str] | None
    multi_label: bool

    @classmethod
    def open(
        cls, split: str, dataset: IterableDataset, audio_column: str, label_column: str, is_tar: bool
    ) -> "_Stream":
        features = dataset.features or {}
        audio_columns = [name for name, feature in features.items() if isinstance(feature, Audio)]
        if not is_tar:
            audio_columns = [name for name in audio_columns if name == audio_column]
        if not audio_columns:
            raise ValueError(
                f"`audio_column` {audio_column!r} is not an audio column; the columns are {list(features)}."
            )
        for name in audio_columns:
            # `Audio(decode=False)` would still need torchcodec, just to pass on what is encoded already.
            dataset = dataset.cast_column(name, {"bytes": Value("binary"), "path": Value("string")})
        candidates = (label_column, *WEBDATASET_LABELS) if is_tar else (label_column,)
        found = next((column for column in candidates if _feature(features, column) is not None), None)
        feature = None if found is None else _feature(features, found)
        several = isinstance(feature, (List, list))
        inner = getattr(feature, "feature", feature) if several else feature
        names = list(inner.names) if isinstance(inner, ClassLabel) else None
        # Tar shards are files and have no splits.
        split_name = None if is_tar else split
        label_path = None if found is None else found.split(".")
        return cls(split_name, dataset, audio_columns, label_path, names, several)

    def clips(self, index: int) -> Iterator[ListedClip]:
        """Iterate over the clips of one shard."""
        shard = self.dataset.shard(num_shards=self.dataset.num_shards, index=index)
        for position, row in enumerate(shard):
            audio: dict[str, Any] = next((row[name] for name in self.audio_columns if row[name] is not None), {})
            yield ListedClip(self._name(row, index, position), audio, self._labels(row), split=self.split)

    def _name(self, row: Mapping[str, Any], index: int, position: int) -> str:
        if row.get("__key__") is not None:
            # Keys are unique only within a tar file.
            return f"{Path(row['__url__']).stem}/{row['__key__']}"
        return str(row["id"]) if row.get("id") is not None else f"{self.split}-{index:05d}/{position}"

    def _labels(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        value: Any = row
        for key in self.label_path or ():
            value = None if value is None else value.get(key)
        if value is row or value is None:
            return ()
        values = value if isinstance(value, list) else [value]
        return tuple(self.names[entry] if self.names and isinstance(entry, int) else str(entry) for entry in values)


def _feature(features: Mapping[str, Any], path: str) -> Any:
    feature: Any = features
    for key in path.split("."):
        if not isinstance(feature, Mapping) or key not in feature:
            return None
        feature = feature[key]
    return feature


def _tar_files(source: str | Path) -> list[Path]:
    path = Path(str(source))
    if path.is_file() and path.suffix == ".tar":
        return [path]
    return sorted(path.glob("*.tar")) if path.is_dir() else []
