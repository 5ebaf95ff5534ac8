"""Reading tables as text: CSV, TSV and JSON, with messages that name the file and the row."""

import csv
import io
import json
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

JSON_SUFFIXES = (".json", ".jsonl")
SHOWN = 10
"""Number of wrong rows that a message lists."""

_FIELD_SIZE_LIMIT = 1 << 27
"""Characters of a cell. Python's own limit of 131,072 would end a table at one long description."""
_csv_limit = threading.Lock()


class WrongRows:
    """Collects the rows of a table that cannot be meant, to show the first of them at once.

    Args:
        path (`Path`): The table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[str] = []

    def add(self, number: int, reason: object) -> None:
        """Add a row by its number, from 1, and say what is wrong with it."""
        self.rows.append(f"row {number}: {reason}")

    def check(self) -> None:
        """Refuse the table if rows were added.

        Raises:
            ValueError: The message names the file, counts the rows and shows the first ten.
        """
        if not self.rows:
            return
        if len(self.rows) == 1:
            raise ValueError(f"{self.path}: {self.rows[0]}")
        first = "".join(f"\n  {row}" for row in self.rows[:SHOWN])
        more = f"\n  ... and {len(self.rows) - SHOWN:,} more" if len(self.rows) > SHOWN else ""
        raise ValueError(f"{self.path}: {len(self.rows):,} rows are wrong:{first}{more}")


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Raises:
        ValueError: If it does not exist, or is in another encoding; the message names the file and the line.
    """
    if not path.is_file():
        raise ValueError(f"{path} {'is not a file' if path.exists() else 'does not exist'}.")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path} must be text in UTF-8, but line {line} has the byte 0x{content[error.start]:02x} where UTF-8 has "
            "none: save it in that encoding."
        ) from error
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{path} must be text in UTF-8, but line {line} holds a NUL: save it in that encoding.")
    return text


def delimiter_of(path: Path) -> str:
    """What separates the cells of a table: tabs in a `.tsv` file, commas in others."""
    return "\t" if path.suffix.lower() == ".tsv" else ","


def read_cells(path: Path, delimiter: str = ",") -> list[list[str]]:
    """Read the rows of a table without a header; rows of empty cells are left out.

    Raises:
        ValueError: If the file does not exist, is no text, or its quotes do not match; the message names the line.
    """
    lines = io.StringIO(read_text(path), newline="")
    # The limit is one for the whole process.
    with _csv_limit:
        limit = csv.field_size_limit(_FIELD_SIZE_LIMIT)
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        try:
            # Spreadsheets write rows of empty cells at the end.
            return [row for row in rows if any(cell.strip() for cell in row)]
        except csv.Error as error:
            raise ValueError(f"{path}, line {rows.line_num}: {error}; are the quotes in pairs?") from error
        finally:
            csv.field_size_limit(limit)


def read_table(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Read the rows of a CSV file with a header; of a `.tsv` file, cells are separated by tabs.

    Args:
        path (`Path`): The file.
        columns (iterable of `str`): Columns that it must have.

    Returns:
        `list[dict[str, str]]`: One dict per row.

    Raises:
        ValueError: If the file or a column is missing, a column comes twice, there are no rows, or rows have more or
            fewer cells than the header.
    """
    delimiter = delimiter_of(path)
    header, *rows = read_cells(path, delimiter) or [[]]
    header = [name.strip() for name in header]
    missing = set(columns) - set(header)
    if not rows or missing:
        has = f"the columns {header}" if rows else "no rows"
        raise ValueError(
            f"{path} must have rows with the columns {sorted(columns)}, it has {has}."
            f"{separator_hint(header, delimiter)}"
        )
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise ValueError(f"{path} must have each column once, these come twice: {twice}.")
    wrong = WrongRows(path)
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            wrong.add(number, f"{len(row)} cells, but the header has {len(header)}: {shown(row)}")
    wrong.check()
    return [dict(zip(header, row, strict=True)) for row in rows]


def read_json_rows(path: Path) -> list[Mapping[str, Any]]:
    """Read a JSON file with a list of objects, or a `.jsonl` file with one object per line.

    Raises:
        ValueError: If the file is no JSON, or an entry is no object; the message names the file and the row.
    """
    text = read_text(path)
    if path.suffix.lower() != ".jsonl":
        rows = _parse_json(text, f"{path}")
    else:
        # Not `splitlines`: a line of JSON may hold other separators within its strings.
        lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
        rows = [_parse_json(line, f"{path}, line {number},") for number, line in lines]
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{path} must be a list with at least one object, each with a path and labels.")
    wrong = WrongRows(path)
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            wrong.add(number, f"must be an object with a path and labels, it is {shown(row)}")
    wrong.check()
    return rows


def whole_number(row: Mapping[str, Any], column: str) -> int:
    """The whole number in a cell, of 32 bits.

    Raises:
        ValueError: If there is none; the message names the column and the value.
    """
    value = row[column]
    try:
        number = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        number = None
    if number is None or not number.is_integer() or not -(2**31) <= number < 2**31:
        raise ValueError(f"`{column}` must be a whole number, got {shown(value)}.")
    return int(number)


def check_unicode(text: str) -> str:
    """Return a text that can be written as UTF-8; JSON can spell others.

    Raises:
        ValueError: If it holds half a character.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{shown(text)} is not valid Unicode.") from error
    return text


def shown(value: object) -> str:
    """A value for a message, not longer than a line."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def separator_hint(header: Iterable[str], delimiter: str) -> str:
    """A sentence for a table whose header was not divided, because its cells are separated by something else."""
    found = [mark for mark in (";", "\t", ",") if mark != delimiter and any(mark in name for name in header)]
    if not found:
        return ""
    wanted = "commas (tabs in a .tsv file)" if delimiter == "," else "tabs (commas in a .csv file)"
    return f" Its header holds {found[0]!r}: cells must be separated by {wanted}."


def _parse_json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{name} is not JSON: {error}") from error
