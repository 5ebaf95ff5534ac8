"""Reader for FSD50K as distributed on Zenodo: `FSD50K.ground_truth/`, `FSD50K.dev_audio/`, `FSD50K.eval_audio/`."""

from pathlib import Path

from ..listing import ListedClip, Listing
from .tables import WrongRows, read_cells, read_table, whole_number

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
        ValueError: If a table or a column is missing, or rows are not in the form above, or have a class that the
            vocabulary lacks; the message shows the first of them.
    """
    folder = Path(folder)
    truth = folder / GROUND_TRUTH
    vocabulary = truth / "vocabulary.csv"
    classes = _read_vocabulary(vocabulary)
    names = {name for _, name, _ in classes}
    clips, missing = [], []
    for part, columns in (("dev", ("fname", "labels", "split")), ("eval", ("fname", "labels"))):
        table = truth / f"{part}.csv"
        if part == "eval" and not table.is_file():
            continue
        audio = folder / f"FSD50K.{part}_audio"
        there = {path.name for path in audio.iterdir()} if audio.is_dir() else set()
        wrong = WrongRows(table)
        for number, row in enumerate(read_table(table, columns), start=1):
            labels = tuple(row["labels"].split(","))
            unknown = [label for label in labels if label not in names]
            if unknown:
                wrong.add(number, f"{row['fname']} has labels that {vocabulary.name} does not list: {unknown}.")
                continue
            file = f"{row['fname']}.wav"
            if file not in there:
                missing.append(f"{part}/{row['fname']}")
                continue
            split = "test" if part == "eval" else SPLITS.get(row["split"], row["split"])
            clips.append(ListedClip(f"{part}/{row['fname']}", str(audio / file), labels, split=split))
        wrong.check()
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


def _read_vocabulary(path: Path) -> list[tuple[int, str, str]]:
    """Index, name and machine id of each class, in the order of the indices."""
    wrong = WrongRows(path)
    classes = []
    for number, row in enumerate(read_cells(path), start=1):
        try:
            if len(row) != 3:
                raise ValueError(f"`index,name,machine id` is required, got {row}.")
            index, name, mid = row
            classes.append((whole_number({"index": index}, "index"), name, mid))
        except ValueError as error:
            wrong.add(number, error)
    wrong.check()
    return sorted(classes)
