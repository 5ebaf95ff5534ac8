"""Reader for a manifest: a CSV, JSON or JSON Lines file that lists audio files with their labels."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..listing import ListedClip, Listing, sorted_labels
from .tables import read_table

SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
PATH_COLUMNS = ("path", "file", "filename", "file_name", "audio")
LABEL_COLUMNS = ("label", "labels", "category")


def is_manifest(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES


def read_manifest(path: str | Path, label_column: str = "label", label_delimiter: str = ";") -> Listing:
    """List the clips of a table with a path and one or several labels in each row.

    The path, relative to the manifest, is the first existing column of `path`, `file`, `filename`, `file_name` and
    `audio`. The labels are in `label_column` or else in `label`, `labels` or `category`: one name, several names
    separated by `label_delimiter`, or a JSON list. Optional columns: `id`, `split`, `fold`, `group`, `start_s`,
    `end_s`.

    Args:
        path (`str` or `Path`): `.csv`, `.tsv`, `.json` (a list of objects) or `.jsonl` (one object per line).
        label_column (`str`, defaults to `"label"`): Column with the label or labels.
        label_delimiter (`str`, defaults to `";"`): What separates the labels of a clip.

    Returns:
        [`Listing`]: Rows whose file does not exist count as missing.

    Raises:
        ValueError: If a column is missing, an id is not unique, or a number cannot be parsed; the message names the
            row.
    """
    path = Path(path)
    rows = _read_rows(path)
    path_column = _first_column(path, rows[0], PATH_COLUMNS)
    label_column = _first_column(path, rows[0], (label_column, *LABEL_COLUMNS))
    clips: list[ListedClip] = []
    missing: list[str] = []
    seen: set[str] = set()
    for number, row in enumerate(rows, start=1):
        file = Path(str(row[path_column]))
        name = str(row.get("id") or file.as_posix())
        if name in seen:
            raise ValueError(f"{path}: row {number} has the id {name!r}, which is taken; ids must be unique.")
        seen.add(name)
        absolute = file if file.is_absolute() else path.parent / file
        if not absolute.is_file():
            missing.append(name)
            continue
        try:
            clip = ListedClip(
                name,
                str(absolute),
                _labels(row[label_column], label_delimiter),
                split=row.get("split") or None,
                fold=_number(row, "fold", int),
                group=str(row["group"]) if row.get("group") not in (None, "") else None,
                start_s=_number(row, "start_s", float),
                end_s=_number(row, "end_s", float),
            )
        except ValueError as error:
            raise ValueError(f"{path}: row {number}: {error}") from error
        clips.append(clip)
    return Listing(
        name=path.stem,
        layout="manifest",
        source=str(path),
        clips=clips,
        labels=sorted_labels(clips),
        multi_label=any(len(clip.labels) != 1 for clip in clips),
        missing=missing,
    )


def _read_rows(path: Path) -> list[Mapping[str, Any]]:
    if path.suffix.lower() in (".csv", ".tsv"):
        return list(read_table(path, ()))
    text = path.read_text(encoding="utf-8")
    try:
        if path.suffix.lower() == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise ValueError(f"{path} must be a list with at least one object, each with a path and labels.")
    return rows


def _first_column(path: Path, row: Mapping[str, Any], wanted: tuple[str, ...]) -> str:
    for column in wanted:
        if column in row:
            return column
    raise ValueError(f"{path} must have one of the columns {list(dict.fromkeys(wanted))}, it has {sorted(row)}.")


def _labels(value: Any, delimiter: str) -> tuple[str, ...]:
    if isinstance(value, str) and value.startswith("["):
        value = json.loads(value)
    parts = value if isinstance(value, list) else str(value).split(delimiter)
    # A label that is repeated counts once.
    return tuple(dict.fromkeys(str(part).strip() for part in parts if str(part).strip()))


def _number(row: Mapping[str, Any], column: str, kind: type) -> Any:
    value = row.get(column)
    if value is None or value == "":
        return None
    try:
        return kind(value)
    except ValueError as error:
        raise ValueError(f"`{column}` must be a number, got {value!r}.") from error
