"""ESC-50 and ESC-10 in memory, with a choice by licence: what the bundled classifier was trained on."""

from collections.abc import Sequence
from pathlib import Path

from audioformer.data.audio import load_audio
from audioformer.data.audio.folder import names_with_license
from audioformer.data.clip import Clip
from audioformer.data.readers.esc50 import TABLE, is_esc50, read_esc50_listing
from audioformer.files import ATTRIBUTION


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
    if not is_esc50(folder):
        raise ValueError(f"{folder} is not in the layout of ESC-50: {folder / TABLE} does not exist")
    listing = read_esc50_listing(folder)
    files = {Path(str(clip.audio)).name: clip for clip in listing.clips}
    names = set(files) | set(listing.missing)
    if licenses is not None:
        names &= names_with_license(folder / "meta" / ATTRIBUTION, licenses)
    missing = sorted(names & set(listing.missing))
    if missing:
        raise ValueError(f"{len(missing)} of {len(names)} clips that {TABLE} lists do not exist, first: {missing[0]}")
    clips = []
    for name, listed in files.items():
        if name in names:
            waveform, rate = load_audio(str(listed.audio), sampling_rate=sampling_rate)
            clips.append(Clip(name, waveform, rate, listed.labels[0], listed.fold or 0))
    return clips
