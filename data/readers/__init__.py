"""Readers of data sets as they lie on a disk, one file a layout; each gives a [`Listing`]."""

from pathlib import Path

from ..listing import Listing
from .audio_files import read_audio_files
from .audioset import is_audioset, read_audioset
from .class_folders import read_class_folders
from .esc50 import is_esc50, read_esc50_listing
from .fsd50k import is_fsd50k, read_fsd50k
from .hf_datasets import is_saved_dataset, read_dataset
from .manifest import is_manifest, read_manifest
from .speech_commands import is_speech_commands, read_speech_commands

LAYOUTS = {
    "audioset": (is_audioset, "class_labels_indices.csv and segment lists such as balanced_train_segments.csv"),
    "fsd50k": (is_fsd50k, "FSD50K.ground_truth/dev.csv"),
    "esc50": (is_esc50, "meta/esc50.csv"),
    "speech_commands": (is_speech_commands, "validation_list.txt and testing_list.txt"),
    "manifest": (is_manifest, "a .csv, .json or .jsonl file"),
    "datasets": (is_saved_dataset, "a folder of save_to_disk or of Parquet files, or an id on the Hub"),
    "folder": (Path.is_dir, "one sub-folder a class"),
    "audio_files": (lambda path: False, "any tree of audio files, without labels; only where it is asked for"),
}
"""Names for `--layout`, in the order in which they are tried: how each is known, and by what."""


def read_listing(
    source: str | Path,
    layout: str = "auto",
    *,
    audio_column: str = "audio",
    label_column: str = "label",
    label_delimiter: str = ";",
) -> Listing:
    """List the labelled clips of a data set; no audio is read.

    Args:
        source (`str` or `Path`): Folder, manifest file, or Hub id of a `datasets` data set.
        layout (`str`, defaults to `"auto"`): A key of `LAYOUTS`; by default found out by what lies there.
        audio_column, label_column (`str`): Columns of a `datasets` data set; the latter also of a manifest.
        label_delimiter (`str`, defaults to `";"`): Between several labels of a clip in a manifest.

    Raises:
        ValueError: If the layout is unknown, nothing fits, nothing is listed, or nothing of it is there.
    """
    if layout == "auto":
        layout = _find_layout(source)
    elif layout not in LAYOUTS:
        raise ValueError(f"`layout` must be 'auto' or one of {list(LAYOUTS)}, got {layout!r}.")
    if layout == "datasets":
        listing = read_dataset(source, audio_column, label_column)
    elif layout == "manifest":
        listing = read_manifest(source, label_column, label_delimiter)
    else:
        read = {
            "audioset": read_audioset,
            "fsd50k": read_fsd50k,
            "esc50": read_esc50_listing,
            "speech_commands": read_speech_commands,
            "folder": read_class_folders,
            "audio_files": read_audio_files,
        }[layout]
        listing = read(source)
    if not len(listing.clips):
        raise ValueError(f"{source}: none of the {len(listing.missing)} listed clips is there.")
    return listing


def _find_layout(source: str | Path) -> str:
    path = Path(source)
    if not path.exists():
        # A Hub id is "name" or "user/name"; anything else was meant as a path.
        text = str(source)
        if text.count("/") > 1 or text[:1] in "/.~" or path.suffix:
            raise ValueError(f"`data` {text!r} does not exist.")
        return "datasets"
    for layout, (fits, _) in LAYOUTS.items():
        if fits(path):
            return layout
    known = "; ".join(f"{name}: {sign}" for name, (_, sign) in LAYOUTS.items())
    raise ValueError(f"`data` {str(source)!r} has no known layout. Known are: {known}.")


__all__ = ["LAYOUTS", "read_listing"]
