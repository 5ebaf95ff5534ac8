"""Reading of CSV files with a check of their columns."""

import csv
from collections.abc import Iterable
from pathlib import Path


def read_table(path: Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """Rows of a CSV file with a header.

    Raises:
        ValueError: If the file or one of `columns` is missing, or there is no row.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist.")
    with path.open(newline="", encoding="utf-8-sig") as lines:
        rows = list(csv.DictReader(lines))
    if not rows or not set(columns) <= rows[0].keys():
        has = sorted(rows[0]) if rows else "no rows"
        raise ValueError(f"{path} must have rows with the columns {sorted(columns)}, it has {has}.")
    return rows
