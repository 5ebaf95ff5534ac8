"""Reader of a manifest: a CSV, JSON or JSON-lines file that lists audio files with their labels."""

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
    """Read a table with a path and a label or several in each row.

    The path is the first of the columns `path`, `file`, `filename`, `file_name`, `audio` that is there, relative to
    the manifest; the labels are `label_column`, else `label`, `labels` or `category`: one name, several with
    `label_delimiter` between them, or a JSON list. Optional: `id`, `split`, `fold`, `group`, `start_s`, `end_s`.

    Args:
        path (`str` or `Path`): `.csv`, `.json` (a list of objects) or `.jsonl` (one object a line).
        label_column (`str`, defaults to `"label"`): Where the labels are.
        label_delimiter (`str`, defaults to `";"`): Between the labels of a clip.

    Raises:
        ValueError: If columns are missing, an id comes twice, or a number cannot be read; with the row.
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
            raise ValueError(f"{path}: row {number} has the id {name!r}, which is taken; ids must differ.")
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
        raise ValueError(f"{path} must be a list of objects with a path and labels each, with at least one of them.")
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
    # The same label twice says no more than once.
    return tuple(dict.fromkeys(str(part).strip() for part in parts if str(part).strip()))


def _number(row: Mapping[str, Any], column: str, kind: type) -> Any:
    value = row.get(column)
    if value is None or value == "":
        return None
    try:
        return kind(value)
    except ValueError as error:
        raise ValueError(f"`{column}` must be a number, got {value!r}.") from error
