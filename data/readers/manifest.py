"""Reader for a manifest: a CSV, TSV, JSON or JSON Lines file that lists audio files with their labels."""

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..listing import ListedClip, Listing
from .tables import (
    JSON_SUFFIXES,
    WrongRows,
    check_unicode,
    delimiter_of,
    read_json_rows,
    read_table,
    separator_hint,
    shown,
    whole_number,
)

SUFFIXES = (".csv", ".tsv", *JSON_SUFFIXES)
PATH_COLUMNS = ("path", "file", "filename", "file_name", "audio")
LABEL_COLUMNS = ("label", "labels", "category")
JUDGED = "judged"


def is_manifest(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in SUFFIXES


def read_manifest(path: str | Path, label_column: str = "label", label_delimiter: str = ";") -> Listing:
    """List the clips of a table with a path and one or several labels in each row.

    The path, relative to the manifest, is the first existing column of `path`, `file`, `filename`, `file_name` and
    `audio`. The labels are in `label_column` or else in `label`, `labels` or `category`: one name, several names
    separated by `label_delimiter`, or a JSON list. Optional columns: `id`, `split`, `fold`, `group`, `start_s`,
    `end_s`, and `judged`: the classes of which somebody said whether they apply, in the same form as the labels, which
    are among them. Of other classes nothing is known; an empty cell means that all were judged.

    A row without labels is a clip to which no class applies if other rows have several; if all other rows have one,
    its label is missing. A table in which no row has a label is a data set without labels.

    Args:
        path (`str` or `Path`): `.csv` (commas), `.tsv` (tabs), `.json` (a list of objects) or `.jsonl` (one object per
            line), in UTF-8.
        label_column (`str`, defaults to `"label"`): Column with the label or labels.
        label_delimiter (`str`, defaults to `";"`): What separates the labels of a clip.

    Returns:
        [`Listing`]: Rows whose file does not exist count as missing.

    Raises:
        ValueError: If the file is no such table, a column is missing, or rows cannot be meant: without a path or a
            label, with an id that is taken, or with a number that is none. The message names the file and shows the
            first ten of them.
    """
    path = Path(path)
    if not label_delimiter:
        raise ValueError("`label_delimiter` must not be empty.")
    rows: list[Mapping[str, Any]]
    rows = read_json_rows(path) if path.suffix.lower() in JSON_SUFFIXES else list(read_table(path, ()))
    path_column = _first_column(path, rows, PATH_COLUMNS)
    label_column = _first_column(path, rows, (label_column, *LABEL_COLUMNS))
    wrong = WrongRows(path)
    listed: list[tuple[int, ListedClip]] = []
    rows_of_ids: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        try:
            clip = _read_row(row, path.parent, path_column, label_column, label_delimiter)
            taken = rows_of_ids.setdefault(clip.id, number)
            if taken != number:
                raise ValueError(f"the id {shown(clip.id)} is taken by row {taken}; ids must be unique.")
            listed.append((number, clip))
        except ValueError as error:
            wrong.add(number, error)
    clips = [clip for _, clip in listed]
    has_labels = any(clip.labels for clip in clips)
    partly_judged = any(clip.judged is not None for clip in clips)
    multi_label = any(len(clip.labels) > 1 for clip in clips) or any(row.get(label_column) == [] for row in rows)
    multi_label = multi_label or partly_judged
    if has_labels and not multi_label:
        for number, clip in listed:
            if not clip.labels:
                wrong.add(number, f"`{label_column}` is empty, although no other row has several labels.")
    wrong.check()
    there = [clip for clip in clips if os.path.isfile(str(clip.audio))]
    found = {clip.id for clip in there}
    return Listing(
        name=path.stem,
        layout="manifest",
        source=str(path),
        clips=there,
        # Those of missing files, too: a class does not vanish with its files.
        labels=sorted({label for clip in clips for label in (*clip.labels, *(clip.judged or ()))}),
        multi_label=multi_label or not has_labels,
        partly_judged=partly_judged,
        missing=[clip.id for clip in clips if clip.id not in found],
    )


def _first_column(path: Path, rows: list[Mapping[str, Any]], wanted: tuple[str, ...]) -> str:
    # JSON may leave out what a row does not have.
    there = dict.fromkeys(name for row in rows for name in row)
    for column in wanted:
        if column in there:
            return column
    hint = "" if path.suffix.lower() in JSON_SUFFIXES else separator_hint(there, delimiter_of(path))
    raise ValueError(
        f"{path} must have one of the columns {list(dict.fromkeys(wanted))}, it has {sorted(there)}.{hint}"
    )


def _read_row(
    row: Mapping[str, Any], folder: Path, path_column: str, label_column: str, label_delimiter: str
) -> ListedClip:
    file = row.get(path_column)
    if not isinstance(file, str) or not file.strip():
        raise ValueError(f"`{path_column}` must be the path of a file, got {shown(file)}.")
    check_unicode(file)
    start_s, end_s = _seconds(row, "start_s"), _seconds(row, "end_s")
    if end_s is not None and end_s <= (start_s or 0.0):
        raise ValueError(f"`end_s` must be after `start_s` ({start_s or 0.0:g}), got {end_s:g}.")
    labels = _labels(row.get(label_column), label_column, label_delimiter)
    judged = _judged(row.get(JUDGED), labels, label_delimiter)
    return ListedClip(
        _text(row, "id") or Path(file).as_posix(),
        # An absolute path stands for itself.
        str(folder / file),
        labels,
        split=_text(row, "split"),
        fold=None if row.get("fold") in (None, "") else whole_number(row, "fold"),
        group=_text(row, "group"),
        start_s=start_s,
        end_s=end_s,
        judged=judged,
    )


def _judged(value: Any, labels: tuple[str, ...], delimiter: str) -> tuple[str, ...] | None:
    if value is None or value == "":
        return None
    judged = _labels(value, JUDGED, delimiter)
    if not judged:
        raise ValueError(f"`{JUDGED}` must name a class, or be left out if all were judged, got {shown(value)}.")
    others = [label for label in labels if label not in judged]
    if others:
        raise ValueError(f"`{JUDGED}` must name all labels of the clip, {others[0]!r} is not in {shown(value)}.")
    return judged


def _labels(value: Any, column: str, delimiter: str) -> tuple[str, ...]:
    if isinstance(value, str) and value.startswith("["):
        try:
            value = json.loads(value)
        except (json.JSONDecodeError, RecursionError) as error:
            raise ValueError(f"`{column}` begins with `[` but is no JSON list: {shown(value)}.") from error
    names = value.split(delimiter) if isinstance(value, str) else value if isinstance(value, list) else [value]
    for name in names:
        if not isinstance(name, (str, int, float)) or (isinstance(name, float) and not math.isfinite(name)):
            raise ValueError(f"`{column}` must be a name, or a list of names, got {shown(value)}.")
    stripped = [check_unicode(str(name).strip()) for name in names]
    if isinstance(value, list) and not all(stripped):
        raise ValueError(f"`{column}` must be a list of names, got an empty one in {shown(value)}.")
    # A label that is repeated counts once.
    return tuple(dict.fromkeys(name for name in stripped if name))


def _text(row: Mapping[str, Any], column: str) -> str | None:
    value = row.get(column)
    if value is None or value == "":
        return None
    if not isinstance(value, (str, int, float)):
        raise ValueError(f"`{column}` must be text or a number, got {shown(value)}.")
    return check_unicode(str(value))


def _seconds(row: Mapping[str, Any], column: str) -> float | None:
    value = row.get(column)
    if value is None or value == "":
        return None
    try:
        seconds = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"`{column}` must be a number of seconds, 0 or more, got {shown(value)}.")
    return seconds
