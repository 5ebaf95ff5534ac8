"""Data sets that are read sequentially: tar shards in the WebDataset layout, and streamed `datasets` data sets."""

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from datasets import Audio, ClassLabel, IterableDataset, IterableDatasetDict, List, Value, load_dataset

from ..listing import ListedClip
from ..shards import ClipShards
from .tables import shown

WEBDATASET_LABELS = ("cls", "json.label", "json.labels", "json.tags", "json.category")
"""Where the labels of tar shards are, unless `label_column` exists."""

_SHOWN = 10
_FILES_WITH_COLUMNS = 40
"""Files that `datasets` may look at to find the columns: five clips of several files each."""


def is_tar_source(source: str | Path) -> bool:
    """Return whether a path is a tar file or a folder of tar files."""
    return bool(_tar_files(source))


def read_stream(
    source: str | Path,
    audio_column: str = "audio",
    label_column: str = "label",
    splits: Sequence[str] | None = None,
) -> ClipShards:
    """Open a data set shard by shard, without downloading or unpacking it first.

    Args:
        source (`str` or `Path`): A tar file or a folder of tar files (the files of a clip share a name: `a.flac` with
            `a.json`, `a.cls` or neither), or the Hub id or folder of a `datasets` data set.
        audio_column (`str`, defaults to `"audio"`): Column with the audio. In tar shards, the suffix decides.
        label_column (`str`, defaults to `"label"`): Column with the label or labels; a dot leads into a nested entry,
            as in `json.tags`. If there is no such column, clips have no labels.
        splits (sequence of `str`, *optional*): Splits of a `datasets` data set to open; by default all of them.

    Returns:
        [`ClipShards`]: One shard per tar file or per file of the `datasets` data set.

    A tar file that is damaged counts as one clip that cannot be read, after those that come before the damage; the
    same holds for a label that is none.

    Raises:
        ValueError: If there is no audio column (the message lists the columns), no tar file can be read, or a split is
            not in the data.
    """
    tars = _tar_files(source)
    damaged = _find_damaged(tars)
    if tars:
        if splits is not None:
            raise ValueError(f"{source}: tar files have no splits, so no {list(splits)}.")
        files = [str(path) for path in tars if path not in damaged]
        if not files:
            reasons = "".join(f"\n  {path.name}: {reason}" for path, reason in list(damaged.items())[:_SHOWN])
            raise ValueError(f"{source}: none of the {len(tars)} tar files can be read:{reasons}")
        parts = {"train": load_dataset("webdataset", data_files=files, split="train", streaming=True)}
        described: list[Any] = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in tars]
    else:
        loaded = load_dataset(str(source), streaming=True)
        parts = dict(loaded) if isinstance(loaded, IterableDatasetDict) else {str(loaded.split or "train"): loaded}
        unknown = sorted(set(splits or ()) - set(parts))
        if unknown:
            raise ValueError(f"{source} has no splits {unknown}; it has {sorted(parts)}.")
        parts = {split: part for split, part in parts.items() if splits is None or split in splits}
        described = [(split, part.num_shards, str(part.info.version)) for split, part in parts.items()]
    readable = [path for path in tars if path not in damaged] if tars else None
    streams = [_Stream.open(split, part, audio_column, label_column, readable) for split, part in parts.items()]
    shards: list[Callable[[], Iterator[ListedClip]]] = [
        partial(stream.clips, index) for stream in streams for index in range(stream.dataset.num_shards)
    ]
    for path, reason in damaged.items():
        shards.insert(tars.index(path), partial(_damaged_clips, path, reason))
    text = json.dumps([str(source) if not tars else "webdataset", described, audio_column, label_column])
    name = Path(str(source)).resolve().name if Path(str(source)).exists() else str(source).replace("/", "--")
    return ClipShards(
        name=name.removesuffix(".tar"),
        layout="webdataset" if tars else "datasets",
        num_shards=len(shards),
        open_shard=lambda number: shards[number](),
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
    tars: list[Path] | None = None

    @classmethod
    def open(
        cls, split: str, dataset: IterableDataset, audio_column: str, label_column: str, tars: list[Path] | None
    ) -> "_Stream":
        features, is_tar = dataset.features or {}, tars is not None
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
        return cls(split_name, dataset, audio_columns, label_path, names, several, tars)

    def clips(self, index: int) -> Iterator[ListedClip]:
        """Iterate over the clips of one shard."""
        shard = self.dataset.shard(num_shards=self.dataset.num_shards, index=index)
        # In a worker of a `DataLoader`, `iter(shard)` would give the shard to one of the workers, and the others none.
        rows = ({name: values[0] for name, values in row.items()} for row in shard.iter(batch_size=1))
        for position, row in enumerate(rows if self.tars is None else _up_to_damage(rows, self.tars[index])):
            if isinstance(row, ListedClip):
                yield row
                continue
            audio: dict[str, Any] = next((row[name] for name in self.audio_columns if row[name] is not None), {})
            name = self._name(row, index, position)
            try:
                yield ListedClip(name, audio, self._labels(row), split=self.split)
            except ValueError as error:
                yield ListedClip(name, audio, split=self.split, error=str(error))

    def _name(self, row: Mapping[str, Any], index: int, position: int) -> str:
        if row.get("__key__") is not None:
            # Keys are unique only within a tar file.
            return f"{Path(row['__url__']).stem}/{row['__key__']}"
        return str(row["id"]) if row.get("id") is not None else f"{self.split}-{index:05d}/{position}"

    def _labels(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        value: Any = row
        for key in self.label_path or ():
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is row or value is None:
            return ()
        values = value if isinstance(value, list) else [value]
        for entry in values:
            is_class = not self.names or not isinstance(entry, int) or 0 <= entry < len(self.names)
            if not isinstance(entry, (str, int, float)) or not str(entry).strip() or not is_class:
                raise ValueError(f"the label must be a name or a list of names, got {shown(value)}")
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
    # Not folders; other things that are no files are reported with the damaged ones.
    return sorted(file for file in path.glob("*.tar") if not file.is_dir()) if path.is_dir() else []


def _find_damaged(tars: list[Path]) -> dict[Path, str]:
    """The tar files from which nothing can be read, with the reason.

    From the first that is not among them, `datasets` reads the columns of all: a few clips of it must be whole.
    """
    damaged: dict[Path, str] = {}
    has_columns = False
    for path in tars:
        reason = _find_damage(path, num_files=1 if has_columns else _FILES_WITH_COLUMNS)
        if reason is None:
            has_columns = True
        else:
            damaged[path] = reason
    return damaged


def _find_damage(path: Path, num_files: int) -> str | None:
    """Say why the first files in a tar file cannot be read, or `None` if they can."""
    if not path.is_file():
        return "not a file"
    try:
        with tarfile.open(path, "r:") as tar:
            is_empty = True
            for member in islice((entry for entry in tar if entry.isfile()), num_files):
                is_empty = False
                stored = tar.extractfile(member)
                if stored is None or len(stored.read()) < member.size:
                    return "the tar file is cut off"
            if is_empty:
                return "an empty tar file"
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        return f"not readable as a tar file: {error}"
    return None


def _damaged_clips(path: Path, reason: str) -> Iterator[ListedClip]:
    """What stands for the clips of a tar file that cannot be read."""
    yield ListedClip(path.stem, {"bytes": None, "path": str(path)}, error=reason)


def _up_to_damage(rows: Iterable[Mapping[str, Any]], path: Path) -> Iterator[Mapping[str, Any] | ListedClip]:
    """The rows of a tar file up to where it is damaged, and a clip that says so."""
    iterator, num_rows = iter(rows), 0
    while True:
        try:
            row = next(iterator)
        except StopIteration:
            return
        # What comes up depends on where the damage is: in the archive, in a text, or in a table.
        except Exception as error:
            reason = f"the tar file is damaged after {num_rows} clips: {type(error).__name__}: {error}"
            yield from _damaged_clips(path, reason)
            return
        num_rows += 1
        yield row
