"""Reader for ESC-50 and ESC-10: `meta/esc50.csv` and `audio/`."""

from pathlib import Path

from ..listing import ListedClip, Listing
from .tables import WrongRows, read_table, whole_number

TABLE = Path("meta") / "esc50.csv"


def is_esc50(folder: Path) -> bool:
    return (folder / TABLE).is_file()


def read_esc50_listing(folder: str | Path) -> Listing:
    """List the clips of the table with their folds; clips of one Freesound recording (`src_file`) are a group.

    Args:
        folder (`str` or `Path`): Contains `meta/esc50.csv` (filename, fold, target, category, src_file) and `audio/`.

    Returns:
        [`Listing`]: Clips with one label each.

    Raises:
        ValueError: If the table or a column is missing, or rows have no class, or a number that is none; the message
            shows the first of them.
    """
    folder = Path(folder)
    rows = read_table(folder / TABLE, ("filename", "fold", "target", "category"))
    there = {path.name for path in (folder / "audio").iterdir()} if (folder / "audio").is_dir() else set()
    clips, missing = [], []
    folds, targets = _read_numbers(folder / TABLE, rows)
    for row, fold in zip(rows, folds, strict=True):
        if row["filename"] not in there:
            missing.append(row["filename"])
            continue
        clips.append(
            ListedClip(
                Path(row["filename"]).stem,
                str(folder / "audio" / row["filename"]),
                (row["category"],),
                fold=fold,
                group=row.get("src_file") or None,
            )
        )
    return Listing(
        name=folder.resolve().name,
        layout="esc50",
        source=str(folder),
        clips=clips,
        labels=sorted(targets, key=targets.__getitem__),
        multi_label=False,
        missing=missing,
    )


def _read_numbers(table: Path, rows: list[dict[str, str]]) -> tuple[list[int], dict[str, int]]:
    """The fold of each row, and the index of each class."""
    wrong = WrongRows(table)
    folds: list[int] = []
    targets: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        try:
            if not row["category"].strip():
                raise ValueError("`category` is empty.")
            folds.append(whole_number(row, "fold"))
            target = whole_number(row, "target")
            if targets.setdefault(row["category"], target) != target:
                raise ValueError(f"`target` {target} is not that of {row['category']!r} in rows before.")
        except ValueError as error:
            wrong.add(number, error)
    wrong.check()
    return folds, targets
