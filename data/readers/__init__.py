"""Readers of data sets on disk and on the Hub, one module per layout; each of them returns a [`Listing`]."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..listing import Listing
from ..missing import check_missing
from .audio_files import read_audio_files
from .audioset import is_audioset, read_audioset
from .class_folders import read_class_folders
from .esc50 import is_esc50, read_esc50_listing
from .fsd50k import is_fsd50k, read_fsd50k
from .hf_datasets import is_saved_dataset, read_dataset
from .manifest import is_manifest, read_manifest
from .openmic import is_openmic, read_openmic
from .speech_commands import is_speech_commands, read_speech_commands


@dataclass(frozen=True)
class Layout:
    """A layout of data sets.

    Args:
        recognises (function): Whether a path has this layout.
        sign (`str`): How it is recognised, for messages.
        read (function): Lists the clips of a source.
        options (`tuple[str, ...]`): Keyword arguments of [`read_listing`] that are passed on to `read`.
        loses_clips (`bool`, defaults to `False`): Whether copies of such data sets lack clips that nobody can have any
            more, so that missing files are no mistake.
    """

    recognises: Callable[[Path], bool]
    sign: str
    read: Callable[..., Listing]
    options: tuple[str, ...] = ()
    loses_clips: bool = False


LAYOUTS = {
    "audioset": Layout(
        is_audioset,
        "class_labels_indices.csv and segment lists such as balanced_train_segments.csv",
        read_audioset,
        loses_clips=True,
    ),
    "fsd50k": Layout(is_fsd50k, "FSD50K.ground_truth/dev.csv", read_fsd50k),
    "esc50": Layout(is_esc50, "meta/esc50.csv", read_esc50_listing),
    "openmic": Layout(is_openmic, "openmic-2018-aggregated-labels.csv", read_openmic),
    "speech_commands": Layout(is_speech_commands, "validation_list.txt and testing_list.txt", read_speech_commands),
    "manifest": Layout(
        is_manifest, "a .csv, .tsv, .json or .jsonl file", read_manifest, ("label_column", "label_delimiter")
    ),
    "datasets": Layout(
        is_saved_dataset,
        "a folder written by save_to_disk, a folder of Parquet files, or an id on the Hub",
        read_dataset,
        ("audio_column", "label_column"),
    ),
    "folder": Layout(Path.is_dir, "one subfolder per class", read_class_folders),
    "audio_files": Layout(
        lambda path: False, "any tree of audio files, without labels; only if it is asked for", read_audio_files
    ),
}
"""Values of `--layout`, in the order in which they are tried."""


def read_listing(
    source: str | Path,
    layout: str = "auto",
    *,
    audio_column: str = "audio",
    label_column: str = "label",
    label_delimiter: str = ";",
    max_missing_share: float | None = None,
) -> Listing:
    """List the labelled clips of a data set, without reading audio.

    Args:
        source (`str` or `Path`): Folder, manifest file, or Hub id of a `datasets` data set.
        layout (`str`, defaults to `"auto"`): A key of `LAYOUTS`; by default, the layout is detected.
        audio_column (`str`, defaults to `"audio"`): Column of a `datasets` data set that contains the audio.
        label_column (`str`, defaults to `"label"`): Column of a `datasets` data set or of a manifest that contains the
            label or labels.
        label_delimiter (`str`, defaults to `";"`): What separates several labels of a clip in a manifest.
        max_missing_share (`float`, *optional*): Share of the listed clips that may have no file, in [0, 1]. By default
            1 %, and no class may lose all of its clips; any number in AudioSet, whose videos disappear.

    Returns:
        [`Listing`]: The clips in the order of the data set, and the classes.

    Raises:
        ValueError: If the layout is unknown or not detected, no clip is listed or has a file, or too many files are
            missing (the message shows the first of them).
    """
    if max_missing_share is not None and not 0 <= max_missing_share <= 1:
        raise ValueError(f"`max_missing_share` must be in [0, 1], got {max_missing_share}.")
    if layout == "auto":
        layout = _find_layout(source)
    elif layout not in LAYOUTS:
        raise ValueError(f"`layout` must be 'auto' or one of {list(LAYOUTS)}, got {layout!r}.")
    columns = {"audio_column": audio_column, "label_column": label_column, "label_delimiter": label_delimiter}
    reader = LAYOUTS[layout]
    listing = reader.read(source, **{name: columns[name] for name in reader.options})
    if not len(listing.clips):
        raise ValueError(f"{source}: none of the {len(listing.missing)} listed clips has a file.")
    if max_missing_share is not None or not reader.loses_clips:
        check_missing(listing, max_missing_share)
    return listing


def _find_layout(source: str | Path) -> str:
    path = Path(source)
    if not path.exists():
        # A Hub id is "name" or "user/name"; anything else must be a path.
        text = str(source)
        if text.count("/") > 1 or text[:1] in "/.~" or path.suffix:
            raise ValueError(f"`data` {text!r} does not exist.")
        return "datasets"
    for name, layout in LAYOUTS.items():
        if layout.recognises(path):
            return name
    known = "; ".join(f"{name}: {layout.sign}" for name, layout in LAYOUTS.items())
    raise ValueError(f"`data` {str(source)!r} has no known layout. Known layouts are: {known}.")


__all__ = ["LAYOUTS", "Layout", "read_listing"]
