"""Reader for FSD50K as distributed on Zenodo: `FSD50K.ground_truth/`, `FSD50K.dev_audio/`, `FSD50K.eval_audio/`."""

import csv
from pathlib import Path

from ..listing import ListedClip, Listing
from .tables import read_table

GROUND_TRUTH = "FSD50K.ground_truth"
SPLITS = {"train": "train", "val": "validation"}


def is_fsd50k(folder: Path) -> bool:
    return (folder / GROUND_TRUTH / "dev.csv").is_file()


def read_fsd50k(folder: str | Path) -> Listing:
    """List the development set (splits `train` and `validation`) and the evaluation set (split `test`).

    Args:
        folder (`str` or `Path`): Contains the audio, and `FSD50K.ground_truth` with `dev.csv` (fname, labels, mids,
            split), `eval.csv` (fname, labels, mids) and `vocabulary.csv` (index, name, machine id; no header).

    Returns:
        [`Listing`]: Clips with several labels each.

    Raises:
        ValueError: If a table or a column is missing, or a clip has a class that is not in the vocabulary.
    """
    folder = Path(folder)
    truth = folder / GROUND_TRUTH
    vocabulary = truth / "vocabulary.csv"
    if not vocabulary.is_file():
        raise ValueError(f"{vocabulary} does not exist.")
    with vocabulary.open(newline="", encoding="utf-8") as lines:
        classes = sorted((int(index), name, mid) for index, name, mid in csv.reader(lines))
    names = {name for _, name, _ in classes}
    clips, missing = [], []
    for part, columns in (("dev", ("fname", "labels", "split")), ("eval", ("fname", "labels"))):
        table = truth / f"{part}.csv"
        if part == "eval" and not table.is_file():
            continue
        audio = folder / f"FSD50K.{part}_audio"
        there = {path.name for path in audio.iterdir()} if audio.is_dir() else set()
        for row in read_table(table, columns):
            labels = tuple(row["labels"].split(","))
            unknown = [label for label in labels if label not in names]
            if unknown:
                raise ValueError(
                    f"{table}: {row['fname']} has labels that {vocabulary.name} does not list: {unknown}."
                )
            file = f"{row['fname']}.wav"
            if file not in there:
                missing.append(f"{part}/{row['fname']}")
                continue
            split = "test" if part == "eval" else SPLITS.get(row["split"], row["split"])
            clips.append(ListedClip(f"{part}/{row['fname']}", str(audio / file), labels, split=split))
    return Listing(
        name=folder.resolve().name,
        layout="fsd50k",
        source=str(folder),
        clips=clips,
        labels=[name for _, name, _ in classes],
        multi_label=True,
        label_ids={name: mid for _, name, mid in classes},
        missing=missing,
    )
