"""Reader of AudioSet: segment lists, the ontology's class list, and audio named by YouTube id.

The lists are Google's (`balanced_train_segments.csv` and so on: three lines that begin with `#`, then `YTID,
start_seconds, end_seconds, positive_labels`, separated by comma and blank, the labels quoted). Nobody distributes the
audio with them, so that copies differ: in which clips are left, in the folders, and in the names of the files.
"""

import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..audio.folder import AUDIO_SUFFIXES
from ..listing import ListedClip, Listing
from .tables import read_table

CLASSES = "class_labels_indices.csv"
SPLITS = {
    "balanced_train_segments.csv": "balanced_train",
    "unbalanced_train_segments.csv": "unbalanced_train",
    "eval_segments.csv": "eval",
}
"""Names of the splits for `--train_split` and `--eval_split`."""
ID_LENGTH = 11
TIMES = re.compile(r"_(\d+(?:\.\d+)?)(?:_\d+(?:\.\d+)?)?")


def is_audioset(folder: Path) -> bool:
    return (folder / CLASSES).is_file() and any((folder / name).is_file() for name in SPLITS)


def read_audioset(folder: str | Path) -> Listing:
    """Read every segment list that is there; clips without a file are counted as missing.

    A file belongs to a clip if its name, without suffix, is the YouTube id, with or without a leading `Y`, and with or
    without the start or the start and end behind it (`Y-0abc_30.000_40.000.wav`); in whatever sub-folder it lies. A
    file of a whole video is not cut: most copies hold the ten seconds only.

    Args:
        folder (`str` or `Path`): Holds `class_labels_indices.csv`, at least one of the segment lists, and the audio.

    Raises:
        ValueError: If a list has other columns, or names a class that is not in the class list.
    """
    folder = Path(folder)
    classes = read_table(folder / CLASSES, ("index", "mid", "display_name"))
    classes.sort(key=lambda row: int(row["index"]))
    name_of = {row["mid"]: row["display_name"] for row in classes}
    files = index_by_id(folder)
    clips, missing = [], []
    for list_name, split in SPLITS.items():
        path = folder / list_name
        if not path.is_file():
            continue
        for video, start, end, mids in read_segments(path):
            unknown = [mid for mid in mids if mid not in name_of]
            if unknown:
                raise ValueError(f"{path}: {video} has labels that {CLASSES} does not list: {unknown}.")
            # Some videos are in two lists, or twice in one, with other times.
            file = files.get(f"{video}_{start:.3f}") or files.get(video)
            name = f"{video}_{start:.3f}_{end:.3f}"
            if file is None:
                missing.append(name)
            else:
                labels = tuple(name_of[mid] for mid in mids)
                clips.append(ListedClip(name, file, labels, split=split, group=video))
    return Listing(
        name=folder.resolve().name,
        layout="audioset",
        source=str(folder),
        clips=clips,
        labels=[row["display_name"] for row in classes],
        multi_label=True,
        label_ids={row["display_name"]: row["mid"] for row in classes},
        missing=missing,
    )


def read_segments(path: Path) -> Iterator[tuple[str, float, float, list[str]]]:
    """YouTube id, start and end in seconds, and class ids of each segment of a list."""
    with path.open(newline="", encoding="utf-8") as lines:
        rows = csv.reader((line for line in lines if not line.startswith("#")), skipinitialspace=True)
        for number, row in enumerate(rows, start=1):
            try:
                video, start, end, mids = row
                yield video, float(start), float(end), mids.split(",")
            except ValueError as error:
                raise ValueError(
                    f"{path}: segment {number} must be `YTID, start_seconds, end_seconds, positive_labels`, got {row}."
                ) from error


def index_by_id(folder: Path) -> dict[str, str]:
    """Path of each audio file below `folder` by YouTube id, and by `id_start` where the name has a start.

    One pass over the folders: asking for two million files one by one takes hours on a network disk.
    """
    files: dict[str, str] = {}
    folders = [os.fspath(folder)]
    while folders:
        for entry in os.scandir(folders.pop()):
            if entry.is_dir():
                folders.append(entry.path)
                continue
            stem, suffix = os.path.splitext(entry.name)
            if suffix.lower() not in AUDIO_SUFFIXES:
                continue
            video, start = parse_name(stem)
            if start is not None:
                files[f"{video}_{start:.3f}"] = entry.path
            files.setdefault(video, entry.path)
    return files


def parse_name(stem: str) -> tuple[str, float | None]:
    """YouTube id and start of a file's name; a name of any other form is taken for an id as it is.

    Ids may contain, begin and end with `_` and `-`, and begin with `Y`: only their length tells where they end.
    """
    for first in (0, 1) if stem.startswith("Y") else (0,):
        rest = stem[first + ID_LENGTH :]
        times = TIMES.fullmatch(rest)
        if len(stem) >= first + ID_LENGTH and (not rest or times):
            return stem[first : first + ID_LENGTH], float(times[1]) if times else None
    return stem, None
