"""Reader of the layout of ESC-50 and ESC-10: `audio/` beside `meta/esc50.csv`."""

import csv
from collections.abc import Sequence
from pathlib import Path

from audioformer.feature_extraction import load_audio
from audioformer.training.data.audio_folder import names_with_license
from audioformer.training.data.clip import Clip


def read_esc50(
    folder: str | Path, licenses: Sequence[str] | None = None, sampling_rate: int | None = None
) -> list[Clip]:
    """Read every clip that `meta/esc50.csv` lists.

    Args:
        folder (`str` or `Path`): The data set, with `audio/` and `meta/esc50.csv`.
        licenses (sequence of `str`, *optional*): Keep only clips that `meta/attribution.csv` puts under these.
        sampling_rate (`int`, *optional*): Resample to this rate in Hz; by default each clip keeps its own.

    Returns:
        `list[Clip]`: In the order of the table; `id` is the file name, `fold` the table's.

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
        allowed = names_with_license(folder / "meta" / "attribution.csv", licenses)
        rows = [row for row in rows if row["filename"] in allowed]
    missing = [row["filename"] for row in rows if not (folder / "audio" / row["filename"]).is_file()]
    if missing:
        raise ValueError(f"{len(missing)} of {len(rows)} clips that {table} lists do not exist, first: {missing[0]}")
    clips = []
    for row in rows:
        waveform, rate = load_audio(folder / "audio" / row["filename"], sampling_rate=sampling_rate)
        clips.append(Clip(row["filename"], waveform, rate, row["category"], int(row["fold"])))
    return clips
