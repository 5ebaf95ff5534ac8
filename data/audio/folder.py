"""Audio files in a folder: finding them, selecting them by name and licence, and reading all of them."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .reading import load_audio

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64")


def _read_attribution(attribution: str | Path) -> list[dict[str, str]]:
    with open(attribution, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows or not {"filename", "license"} <= rows[0].keys():
        raise ValueError(f"{str(attribution)!r} must have the columns `filename` and `license`, and at least one row.")
    return rows


def names_with_license(attribution: str | Path, licenses: Sequence[str]) -> set[str]:
    """List the files under some licences.

    Args:
        attribution (`str` or `Path`): CSV file with the columns `filename` and `license`.
        licenses (sequence of `str`): Licences to allow, as written in the file.

    Returns:
        `set[str]`: Names of the files.

    Raises:
        ValueError: If a column is missing, or no row of the file has one of the licences (a likely misspelling).
    """
    rows = _read_attribution(attribution)
    known = {row["license"] for row in rows}
    unknown = [name for name in licenses if name not in known]
    if unknown:
        raise ValueError(f"`licenses` {unknown} are not in {str(attribution)!r}, which has {sorted(known)}.")
    return {row["filename"] for row in rows if row["license"] in licenses}


def copy_attribution(attribution: str | Path, paths: Sequence[Path], output: str | Path) -> None:
    """Copy those rows of an attribution file that belong to the audio in use, with all columns.

    Args:
        attribution (`str` or `Path`): CSV file with the columns `filename` and `license`.
        paths (sequence of `Path`): The audio files in use.
        output (`str` or `Path`): File to write.

    Raises:
        ValueError: If a column is missing.
    """
    rows = _read_attribution(attribution)
    used = {path.name for path in paths}
    with open(output, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for row in rows if row["filename"] in used)


def find_audio(folder: str | Path, exclude: Sequence[str] = (), allowed: set[str] | None = None) -> list[Path]:
    """Find the audio files in a folder and all its subfolders, by their suffixes (`AUDIO_SUFFIXES`).

    Args:
        folder (`str` or `Path`): Where to search.
        exclude (sequence of `str`, *optional*): File names to leave out; each of them must exist.
        allowed (`set[str]`, *optional*): File names to keep; by default all.

    Returns:
        `list[Path]`: Sorted, so that a seed selects the same files on every machine.

    Raises:
        ValueError: If the folder or an excluded file does not exist, or no file is left.
    """
    if not Path(folder).is_dir():
        raise ValueError(f"{str(folder)!r} is not a folder.")
    named = (path for path in Path(folder).rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    paths = sorted(path for path in named if not path.is_dir())
    missing = set(exclude) - {path.name for path in paths}
    if missing:
        raise ValueError(f"`exclude` names files that are not in {str(folder)!r}: {sorted(missing)}.")
    chosen = [path for path in paths if path.name not in exclude and (allowed is None or path.name in allowed)]
    if not chosen:
        raise ValueError(
            f"No audio to use in {str(folder)!r}: {len(paths)} files with the suffixes {', '.join(AUDIO_SUFFIXES)}, "
            f"none left after `exclude`, `attribution` and `licenses`."
        )
    return chosen


def readable_name(name: str) -> str:
    """A file name as text that can be written as UTF-8: file systems also have other names."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def load_audio_files(paths: Sequence[Path], sampling_rate: int) -> list[np.ndarray]:
    """Read all files before any work begins, so that a damaged file does not end a run half-way.

    Args:
        paths (sequence of `Path`): Files to read.
        sampling_rate (`int`): Sampling rate of the result in Hz.

    Returns:
        `list[np.ndarray]`: One mono float32 waveform of shape `(num_samples,)` per file.

    Raises:
        ValueError: If files cannot be used; the message counts them and names the first ten.
    """
    waveforms, problems = [], []
    for path in paths:
        try:
            waveform, _ = load_audio(path, sampling_rate)
        except (ValueError, OSError) as error:
            problems.append(str(error))
            continue
        waveforms.append(waveform.astype(np.float32, copy=False))
    if problems:
        shown = "\n  ".join(problems[:10])
        raise ValueError(f"{len(problems)} of {len(paths)} files cannot be used:\n  {shown}")
    return waveforms
