"""Reading CSV files with a check of their columns."""

import csv
from collections.abc import Iterable
from pathlib import Path


def read_table(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Read the rows of a CSV file with a header.

    Args:
        path (`Path`): The file.
        columns (iterable of `str`): Columns that it must have.

    Returns:
        `list[dict[str, str]]`: One dict per row.

    Raises:
        ValueError: If the file or a column is missing, or there are no rows.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist.")
    with path.open(newline="", encoding="utf-8-sig") as lines:
        rows = list(csv.DictReader(lines))
    if not rows or not set(columns) <= rows[0].keys():
        has = sorted(rows[0]) if rows else "no rows"
        raise ValueError(f"{path} must have rows with the columns {sorted(columns)}, it has {has}.")
    return rows
