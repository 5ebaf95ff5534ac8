"""Reader of the layout of ESC-50 and ESC-10: `audio/` beside `meta/esc50.csv`."""

import csv
from collections.abc import Collection
from pathlib import Path

from audioformer.feature_extraction import load_audio
from audioformer.training.data.clip import Clip


def clips_under_licenses(folder: Path, licenses: Collection[str]) -> set[str]:
    """File names that `meta/attribution.csv` lists under one of `licenses`.

    Raises:
        ValueError: If the file has no clip under any of them.
    """
    with (folder / "meta" / "attribution.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    allowed = {row["filename"] for row in rows if row["license"] in licenses}
    if not allowed:
        found = sorted({row["license"] for row in rows})
        raise ValueError(f"no clip of {folder} is under {sorted(licenses)}; attribution.csv names {found}")
    return allowed


def read_esc50(
    folder: str | Path, licenses: Collection[str] | None = None, sampling_rate: int | None = None
) -> list[Clip]:
    """Read every clip that `meta/esc50.csv` lists.

    Args:
        folder (`str` or `Path`): The data set, with `audio/` and `meta/esc50.csv`.
        licenses (collection of `str`, *optional*): Keep only clips that `meta/attribution.csv` puts under these.
        sampling_rate (`int`, *optional*): Resample to this rate in Hz; by default each clip keeps its own.

    Returns:
        `list[Clip]`: In the order of the table; `fold` is the table's.

    Raises:
        ValueError: If the table, a column or an audio file is missing, or an audio file cannot be read.
    """
    folder = Path(folder)
    table = folder / "meta" / "esc50.csv"
    if not table.is_file():
        raise ValueError(f"{folder} is not in the layout of ESC-50: {table} does not exist")
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    needed = {"filename", "fold", "category"}
    if not rows or not needed <= rows[0].keys():
        raise ValueError(f"{table} must have rows with the columns {sorted(needed)}")
    if licenses is not None:
        allowed = clips_under_licenses(folder, licenses)
        rows = [row for row in rows if row["filename"] in allowed]
    missing = [row["filename"] for row in rows if not (folder / "audio" / row["filename"]).is_file()]
    if missing:
        raise ValueError(f"{len(missing)} of {len(rows)} clips that {table} lists do not exist, first: {missing[0]}")
    clips = []
    for row in rows:
        waveform, rate = load_audio(folder / "audio" / row["filename"], sampling_rate=sampling_rate)
        clips.append(Clip(Path(row["filename"]).stem, waveform, rate, row["category"], int(row["fold"])))
    return clips
