"""Reader for ESC-50 and ESC-10: `meta/esc50.csv` and `audio/`."""

from pathlib import Path

from ..listing import ListedClip, Listing
from .tables import read_table

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
        ValueError: If the table or a column is missing.
    """
    folder = Path(folder)
    rows = read_table(folder / TABLE, ("filename", "fold", "target", "category"))
    there = {path.name for path in (folder / "audio").iterdir()} if (folder / "audio").is_dir() else set()
    clips, missing = [], []
    for row in rows:
        if row["filename"] not in there:
            missing.append(row["filename"])
            continue
        clips.append(
            ListedClip(
                Path(row["filename"]).stem,
                str(folder / "audio" / row["filename"]),
                (row["category"],),
                fold=int(row["fold"]),
                group=row.get("src_file") or None,
            )
        )
    targets = {row["category"]: int(row["target"]) for row in rows}
    return Listing(
        name=folder.resolve().name,
        layout="esc50",
        source=str(folder),
        clips=clips,
        labels=sorted(targets, key=targets.__getitem__),
        multi_label=False,
        missing=missing,
    )
