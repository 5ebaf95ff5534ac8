"""Reader for any `datasets` data set with audio and labels, on disk or on the Hub."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
from datasets import (
    Audio,
    ClassLabel,
    Dataset,
    DatasetDict,
    List,
    concatenate_datasets,
    load_dataset,
    load_from_disk,
)

from ..listing import ListedClip, Listing
from .tables import WrongRows, shown, whole_number


def is_saved_dataset(folder: Path) -> bool:
    names = ("dataset_info.json", "dataset_dict.json", "state.json")
    return any((folder / name).is_file() for name in names) or bool(_parquet_files(folder))


class DatasetClips(Sequence[ListedClip]):
    """Clips of a `datasets.Dataset`, each read when it is asked for, so that not all audio is in memory at once."""

    def __init__(self, dataset: Dataset, audio_column: str, label_column: str, names: list[str]) -> None:
        self.dataset, self.audio_column, self.label_column, self.names = dataset, audio_column, label_column, names

    def __len__(self) -> int:
        return len(self.dataset)

    # A `Sequence` also takes slices, which nothing here needs.
    def __getitem__(self, index: int) -> ListedClip:  # type: ignore[override]
        row = self.dataset[int(index)]
        return self._clip(row, index, row[self.audio_column])

    def without_audio(self) -> Iterator[ListedClip]:
        """Iterate over the clips with the path of their audio, but none of its bytes, which may be many gigabytes."""
        audio = self.dataset.select_columns([self.audio_column]).with_format("arrow")
        batches = (batch[self.audio_column] for batch in audio.iter(batch_size=1000))
        paths = (path for column in batches for path in pc.struct_field(column, "path").to_pylist())
        rows = self.dataset.remove_columns([self.audio_column])
        for index, (row, path) in enumerate(zip(rows, paths, strict=True)):
            yield self._clip(row, index, {"bytes": None, "path": path})

    def _clip(self, row: dict[str, Any], index: int, audio: dict[str, Any]) -> ListedClip:
        name = row.get("id")
        fold = row.get("fold")
        return ListedClip(
            str(name) if name is not None else f"{row['__split__']}/{index}",
            audio,
            self._labels(row[self.label_column]),
            split=row["__split__"],
            fold=None if fold is None else whole_number(row, "fold"),
            group=str(row["group"]) if row.get("group") is not None else None,
        )

    def __iter__(self) -> Iterator[ListedClip]:
        return (self[index] for index in range(len(self)))

    def _labels(self, value: Any) -> tuple[str, ...]:
        if _is_missing(value):
            return ()
        values = value if isinstance(value, list) else [value]
        return tuple(self.names[entry] if isinstance(entry, int) else entry for entry in values)


def read_dataset(source: str | Path, audio_column: str = "audio", label_column: str = "label") -> Listing:
    """List the clips of a data set written by `save_to_disk`, stored as Parquet files, or on the Hub.

    `datasets` does not decode the audio (`Audio(decode=False)`), so torchcodec is not needed. Labels are a
    `ClassLabel`, strings, or lists of either, where clips have several labels. A split in which no clip has a label
    (null, or -1 for a `ClassLabel`) is one without labels.

    Args:
        source (`str` or `Path`): Folder or Hub id.
        audio_column (`str`, defaults to `"audio"`): Column with the audio.
        label_column (`str`, defaults to `"label"`): Column with the label or labels.

    Returns:
        [`Listing`]: The clips of all splits; audio is read when a clip is asked for.

    Raises:
        ValueError: If a column is missing (the message lists the columns) or has the wrong type, or rows have no label
            although others of their split do; the message shows the first of them.
    """
    dataset = _load(source)
    for name, column in (("audio_column", audio_column), ("label_column", label_column)):
        if column not in dataset.column_names:
            raise ValueError(f"`{name}` {column!r} is not in {source}, which has {dataset.column_names}.")
    if not isinstance(dataset.features[audio_column], Audio):
        raise ValueError(
            f"`audio_column` {audio_column!r} of {source} must be `Audio`, it is {dataset.features[audio_column]}."
        )
    dataset = dataset.cast_column(audio_column, Audio(decode=False))
    feature = dataset.features[label_column]
    several = isinstance(feature, (List, list))
    inner = getattr(feature, "feature", feature) if several else feature
    names = list(inner.names) if isinstance(inner, ClassLabel) else None
    if names is None and getattr(inner, "dtype", None) not in ("string", "large_string", "null"):
        raise ValueError(
            f"`label_column` {label_column!r} of {source} must contain `ClassLabel` or strings, or lists of them "
            f"(numbers have no class names), got {feature}."
        )
    seen = _check_labels(dataset, source, label_column, several, names)
    labels = sorted(seen) if names is None else names
    return Listing(
        name=Path(str(source)).name,
        layout="datasets",
        source=str(source),
        clips=DatasetClips(dataset, audio_column, label_column, labels),
        labels=labels,
        multi_label=several,
    )


def _is_missing(value: Any) -> bool:
    """Whether a cell of a label column says that there is none; -1 stands for no class in a `ClassLabel`."""
    return value is None or value == -1 or (isinstance(value, str) and not value.strip())


def _check_labels(
    dataset: Dataset, source: str | Path, column: str, several: bool, names: list[str] | None
) -> set[str]:
    """Check the labels of all clips, and collect those that are names.

    Raises:
        ValueError: If a label is not one, or is missing in a split that has labels.
    """
    wrong = WrongRows(Path(source))
    labels: set[str] = set()
    missing: dict[str, list[int]] = {}
    labelled: set[str] = set()
    values = dataset.select_columns([column, "__split__"])
    for number, row in enumerate(values, start=1):
        value, split = row[column], row["__split__"]
        if _is_missing(value):
            missing.setdefault(split, []).append(number)
            continue
        labelled.add(split)
        for entry in value if several else [value]:
            if _is_missing(entry) or (names is not None and not 0 <= entry < len(names)):
                wrong.add(number, f"`{column}` of the split {split!r} must name classes, got {shown(value)}.")
            elif names is None:
                labels.add(entry)
    for split in labelled & missing.keys():
        for number in missing[split]:
            wrong.add(number, f"`{column}` is missing, although other clips of the split {split!r} have a label.")
    wrong.check()
    return labels


def _parquet_files(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.parquet") if path.is_file()]


def _load(source: str | Path) -> Dataset:
    folder = Path(source)
    if folder.is_dir() and _parquet_files(folder):
        special = [path.name for path in folder.glob("*.parquet") if not path.is_file()]
        if special:
            raise ValueError(f"{folder} must hold Parquet files, these are no files: {special}.")
        loaded: Any = load_dataset("parquet", data_dir=str(folder))
    elif folder.is_dir():
        loaded = load_from_disk(str(folder))
    else:
        loaded = load_dataset(str(source))
    if not isinstance(loaded, (Dataset, DatasetDict)):
        raise ValueError(f"{source} must be a data set of known length, it is {type(loaded).__name__}.")
    parts = loaded if isinstance(loaded, DatasetDict) else DatasetDict({str(loaded.split or "train"): loaded})
    return concatenate_datasets([part.add_column("__split__", [split] * len(part)) for split, part in parts.items()])
