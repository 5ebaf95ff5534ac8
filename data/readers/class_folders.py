"""Reader for a folder with one subfolder per class, with or without a level of splits above."""

from pathlib import Path

from ..audio.folder import find_audio, readable_name
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
    """List clips whose class is the name of their folder: `dog/1.wav`, or `train/dog/1.wav` and `test/dog/2.wav`.

    If all top-level folders have names of splits, they are the splits.

    Args:
        folder (`str` or `Path`): Searched for audio with all its subfolders.

    Returns:
        [`Listing`]: Clips with one label each.

    Raises:
        ValueError: If there is no audio, or a file is not directly in the folder of a class.
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
                f"{folder}: {path} must be in the folder of its class, {expected}. For audio that is not sorted into "
                "folders, write a manifest (a CSV file with the columns `path` and `label`) or, if labels are not "
                "needed, use the layout `audio_files`."
            )
        split = SPLITS[path.parts[0].lower()] if has_splits else None
        name, label = readable_name(path.as_posix()), readable_name(path.parts[-2])
        clips.append(ListedClip(name, str(folder / path), (label,), split=split))
    return Listing(
        name=folder.resolve().name,
        layout="folder",
        source=str(folder),
        clips=clips,
        labels=sorted_labels(clips),
        multi_label=False,
    )
