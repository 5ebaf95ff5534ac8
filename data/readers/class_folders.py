"""Reader of a folder with one sub-folder a class, with or without a level of splits above."""

from pathlib import Path

from ..audio.folder import find_audio
from ..listing import ListedClip, Listing, sorted_labels

SPLITS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
    "eval": "test",
}


def read_class_folders(folder: str | Path) -> Listing:
    """The class of a file is the name of its folder: `dog/1.wav`, or `train/dog/1.wav` and `test/dog/2.wav`.

    Where all first folders are names of splits, they are the splits.

    Args:
        folder (`str` or `Path`): Searched for audio with all its sub-folders.

    Raises:
        ValueError: If there is no audio, a file lies outside a class folder, or deeper than in one.
    """
    folder = Path(folder)
    relative = [path.relative_to(folder) for path in find_audio(folder)]
    has_splits = all(path.parts[0].lower() in SPLITS for path in relative)
    depth = 3 if has_splits else 2
    clips = []
    for path in relative:
        if len(path.parts) != depth:
            expected = "SPLIT/CLASS/FILE" if has_splits else "CLASS/FILE"
            raise ValueError(
                f"{folder}: {path} must lie in the folder of its class, {expected}. For audio that is not sorted into "
                "folders write a manifest, a CSV file with the columns `path` and `label`, or, where labels are not "
                "needed, choose the layout `audio_files`."
            )
        split = SPLITS[path.parts[0].lower()] if has_splits else None
        clips.append(ListedClip(path.as_posix(), str(folder / path), (path.parts[-2],), split=split))
    return Listing(
        name=folder.resolve().name,
        layout="folder",
        source=str(folder),
        clips=clips,
        labels=sorted_labels(clips),
        multi_label=False,
    )
