"""Reader for AudioSet: segment lists, the class list of the ontology, and audio files named by YouTube id.

The lists are those that Google distributes (`balanced_train_segments.csv` and so on: three lines that begin with `#`,
then `YTID, start_seconds, end_seconds, positive_labels`, separated by a comma and a space, with quoted labels). They
come without audio, so copies of AudioSet differ in which clips they have, in their folders, and in their file names.
"""

import csv
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

from ..audio.folder import AUDIO_SUFFIXES
from ..listing import ListedClip, Listing
from .tables import WrongRows, read_table, whole_number

CLASSES = "class_labels_indices.csv"
SPLITS = {
    "balanced_train_segments.csv": "balanced_train",
    "unbalanced_train_segments.csv": "unbalanced_train",
    "eval_segments.csv": "eval",
}
"""Segment lists and the names of their splits, for `--train-split` and `--eval-split`."""
ID_LENGTH = 11
TIMES = re.compile(r"_(\d+(?:\.\d+)?)(?:_\d+(?:\.\d+)?)?")


def is_audioset(folder: Path) -> bool:
    return (folder / CLASSES).is_file() and any((folder / name).is_file() for name in SPLITS)


def read_audioset(folder: str | Path) -> Listing:
    """List the clips of all segment lists that exist; clips without a file count as missing.

    A file belongs to a clip if its name, without the suffix, is the YouTube id, with or without a leading `Y`, and
    with or without the start, or the start and end, after it (`Y-0abc_30.000_40.000.wav`), in any subfolder. Files are
    used from their beginning: most copies contain only the ten seconds, not the whole video.

    Args:
        folder (`str` or `Path`): Contains `class_labels_indices.csv`, at least one segment list, and the audio.

    Returns:
        [`Listing`]: Clips with several labels each; the group of a clip is its video.

    Raises:
        ValueError: If a list has other columns, or a class that is not in the class list.
    """
    folder = Path(folder)
    classes = read_table(folder / CLASSES, ("index", "mid", "display_name"))
    wrong = WrongRows(folder / CLASSES)
    for number, row in enumerate(classes, start=1):
        try:
            whole_number(row, "index")
        except ValueError as error:
            wrong.add(number, error)
    wrong.check()
    classes.sort(key=lambda row: int(float(row["index"])))
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
            # Some videos are in two lists, or twice in one list, with different times.
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
    """Iterate over the segments of a list: YouTube id, start and end in seconds, and class ids.

    Raises:
        ValueError: If the list is not UTF-8, or a segment is not in this form; the message names the file and the
            segment.
    """
    with path.open(newline="", encoding="utf-8-sig") as lines:
        rows = csv.reader((line for line in lines if not line.startswith("#")), skipinitialspace=True)
        number, row = 0, list[str]()
        try:
            for row in rows:
                number += 1
                if not row:
                    continue
                video, start, end, mids = row
                start_s, end_s = float(start), float(end)
                if not 0 <= start_s < end_s < math.inf:
                    raise ValueError("times in a wrong order")
                yield video, start_s, end_s, mids.split(",")
        except UnicodeDecodeError as error:
            raise ValueError(f"{path} must be text in UTF-8, behind segment {number} it is not: {error}.") from error
        except (ValueError, csv.Error) as error:
            raise ValueError(
                f"{path}: segment {number} must be `YTID, start_seconds, end_seconds, positive_labels`, got {row}."
            ) from error


def index_by_id(folder: Path) -> dict[str, str]:
    """Map YouTube ids to paths of audio files below `folder`, and `id_start` where a file name has a start.

    This takes one pass over the folders: checking for two million files one by one takes hours on a network disk.
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
    """Split a file name into YouTube id and start in seconds; a name of any other form is an id as it is.

    Ids may contain, begin with and end with `_` and `-`, and may begin with `Y`, so only their length is reliable.
    """
    for first in (0, 1) if stem.startswith("Y") else (0,):
        rest = stem[first + ID_LENGTH :]
        times = TIMES.fullmatch(rest)
        if len(stem) >= first + ID_LENGTH and (not rest or times):
            return stem[first : first + ID_LENGTH], float(times[1]) if times else None
    return stem, None
