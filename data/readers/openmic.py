"""Reader for OpenMIC-2018 as distributed on Zenodo: `openmic-2018-aggregated-labels.csv`, `partitions/`, `audio/`."""

import math
from pathlib import Path

from ..listing import ListedClip, Listing
from .tables import WrongRows, read_cells, read_table, shown

LABELS = "openmic-2018-aggregated-labels.csv"
PARTITIONS = {"train": "split01_train.csv", "test": "split01_test.csv"}
PRESENT = 0.5
"""Relevance from which on an instrument counts as present."""


def is_openmic(folder: Path) -> bool:
    return (folder / LABELS).is_file()


def read_openmic(folder: str | Path) -> Listing:
    """List the clips with the instruments that they have, and those that listeners were asked about.

    Of each clip, listeners judged few of the 20 instruments: of the others nothing is known (`judged` of
    [`ListedClip`]).

    Args:
        folder (`str` or `Path`): Contains `openmic-2018-aggregated-labels.csv` (sample_key, instrument, relevance),
            `partitions/split01_train.csv` and `split01_test.csv` (keys, without a header), and the audio as
            `audio/000/000046_3840.ogg`, in folders named after the first three characters of a key.

    Returns:
        [`Listing`]: Clips with several labels each, judged in part. A clip that no partition names has no split.

    Raises:
        ValueError: If a table or a column is missing, or a relevance is no number between 0 and 1.
    """
    folder = Path(folder)
    table = folder / LABELS
    relevance: dict[str, dict[str, float]] = {}
    wrong = WrongRows(table)
    for number, row in enumerate(read_table(table, ("sample_key", "instrument", "relevance")), start=1):
        try:
            value = float(row["relevance"])
        except ValueError:
            value = math.nan
        if not 0 <= value <= 1:
            wrong.add(number, f"`relevance` must be a number from 0 to 1, got {shown(row['relevance'])}.")
            continue
        relevance.setdefault(row["sample_key"], {})[row["instrument"]] = value
    wrong.check()
    splits = _read_partitions(folder / "partitions")
    clips, missing = [], []
    for key, values in relevance.items():
        file = folder / "audio" / key[:3] / f"{key}.ogg"
        if not file.is_file():
            missing.append(key)
            continue
        labels = tuple(sorted(name for name, value in values.items() if value >= PRESENT))
        clips.append(ListedClip(key, str(file), labels, split=splits.get(key), judged=tuple(sorted(values))))
    return Listing(
        name=folder.resolve().name,
        layout="openmic",
        source=str(folder),
        clips=clips,
        labels=sorted({name for values in relevance.values() for name in values}),
        multi_label=True,
        missing=missing,
        partly_judged=True,
    )


def _read_partitions(folder: Path) -> dict[str, str]:
    """Split of each key."""
    return {row[0].strip(): split for split, name in PARTITIONS.items() for row in read_cells(folder / name) if row}
