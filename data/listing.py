"""What every reader returns: a list of labelled clips, before any audio is read."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ListedClip:
    """One clip of a data set.

    Args:
        id (`str`): Name of the clip, unique in its data set.
        audio (`str` or `dict`): Path of the file, `{"bytes": ..., "path": ...}`, or
            `{"array": ..., "sampling_rate": ...}`.
        labels (`tuple[str, ...]`): Names of its classes.
        split (`str`, *optional*): `"train"`, `"validation"`, `"test"`, or what the data set calls it.
        fold (`int`, *optional*): Fold for cross-validation.
        group (`str`, *optional*): Shared by the clips of one recording or speaker; a group is never divided between
            training and testing.
        start_s, end_s (`float`, *optional*): The part of the file that is the clip, in seconds.
        error (`str`, *optional*): Why there is no audio, of an entry that is damaged where it is listed.
        judged (`tuple[str, ...]`, *optional*): The classes of which somebody said whether they apply, `labels` among
            them; of others nothing is known. By default all classes were judged.
    """

    id: str
    audio: str | dict[str, Any]
    labels: tuple[str, ...] = ()
    split: str | None = None
    fold: int | None = None
    group: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    error: str | None = None
    judged: tuple[str, ...] | None = None


@dataclass
class Listing:
    """The clips of a data set, and its classes.

    Args:
        name (`str`): Short name, used for folders.
        layout (`str`): Name of the reader that made it.
        source (`str`): Where the data set is.
        clips (sequence of [`ListedClip`]): In the order of the data set.
        labels (`list[str]`): Class names in the order of the data set, which gives their indices.
        multi_label (`bool`): Whether a clip can have several labels.
        label_ids (`dict[str, str]`): Machine ids of class names (`/m/...` in AudioSet and FSD50K), if it has any.
        missing (`list[str]`): Clips that are listed but have no file.
        partly_judged (`bool`, defaults to `False`): Whether there are clips of which not all classes were judged.

    Raises:
        ValueError: If two classes have the same name.
    """

    name: str
    layout: str
    source: str
    clips: Sequence[ListedClip]
    labels: list[str]
    multi_label: bool
    label_ids: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    partly_judged: bool = False

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels):
            twice = sorted({label for label in self.labels if self.labels.count(label) > 1})
            raise ValueError(f"{self.source}: class names must differ, these come twice: {twice}.")

    @property
    def root(self) -> str | None:
        """Folder of the data set on this machine, if it has one; paths in reports are relative to it."""
        path = Path(self.source)
        if path.is_dir():
            return str(path)
        return str(path.parent) if path.is_file() else None


def check_judged(listing: Listing) -> None:
    """Check that all classes of all clips were judged, for what has no place to say which were.

    Raises:
        ValueError: If they were judged in part.
    """
    if listing.partly_judged:
        raise ValueError(
            f"{listing.source}: not all classes of its clips were judged, which a folder of codes cannot tell: those "
            "that were not would count as absent. Train a family that reads spectrograms, or give the audio without "
            "labels (--layout audio_files) to pre-train on it."
        )


def clips_without_audio(listing: Listing) -> Iterable[ListedClip]:
    """The clips of a listing, without the bytes of their files, which those of a `datasets` data set would carry."""
    without_audio: Callable[[], Iterable[ListedClip]] | None = getattr(listing.clips, "without_audio", None)
    return listing.clips if without_audio is None else without_audio()


class _SomeClips(Sequence[ListedClip]):
    """Some of the clips of a listing, each read when it is asked for."""

    def __init__(self, clips: Sequence[ListedClip], indices: Sequence[int]) -> None:
        self.clips, self.indices = clips, indices
        dataset = getattr(clips, "dataset", None)
        # The fingerprint of the data set stands for its clips.
        self.dataset = None if dataset is None else dataset.select(indices)

    def __len__(self) -> int:
        return len(self.indices)

    # A `Sequence` also takes slices, which nothing here needs.
    def __getitem__(self, index: int) -> ListedClip:  # type: ignore[override]
        return self.clips[self.indices[index]]


def clips_of_splits(listing: Listing, splits: Sequence[str]) -> Listing:
    """The part of a listing whose clips belong to some splits; classes stay those of the whole.

    Raises:
        ValueError: If a split has no clips.
    """
    named = [clip.split for clip in clips_without_audio(listing)]
    unknown = sorted(set(splits) - {split for split in named if split is not None})
    if unknown:
        known = sorted({split for split in named if split is not None})
        raise ValueError(f"{listing.source} has no clips of the splits {unknown}; its splits are {known}.")
    rows = [index for index, split in enumerate(named) if split in splits]
    return replace(listing, clips=_SomeClips(listing.clips, rows), missing=[])


def parts_of_listing(listing: Listing) -> dict[tuple[str | None, int | None], Listing]:
    """Divide a listing into those of its splits and folds; classes stay those of the whole."""
    indices: dict[tuple[str | None, int | None], list[int]] = {}
    for index, clip in enumerate(clips_without_audio(listing)):
        indices.setdefault((clip.split, clip.fold), []).append(index)
    return {
        part: replace(listing, clips=_SomeClips(listing.clips, rows), missing=[]) for part, rows in indices.items()
    }


def listing_fingerprint(listing: Listing) -> str:
    """Compute the SHA-256 of what a listing contains: the clips, sizes and times of their files, and the classes.

    A data set of `datasets` has a fingerprint of its own, which stands for its clips, as does the `fingerprint` of a
    sequence of clips that has one.
    """
    digest = hashlib.sha256(repr((listing.layout, listing.labels, listing.multi_label)).encode())
    own = getattr(getattr(listing.clips, "dataset", None), "_fingerprint", None)
    own = getattr(listing.clips, "fingerprint", own)
    if own is not None:
        digest.update(own.encode())
        return digest.hexdigest()
    for clip in listing.clips:
        described: Any = clip.audio
        if isinstance(clip.audio, str):
            try:
                stat = os.stat(clip.audio)
                described = (clip.audio, stat.st_size, stat.st_mtime_ns)
            except (OSError, ValueError):
                # It is rejected, with the reason, when it is to be read.
                described = (clip.audio, None, None)
        elif clip.audio.get("bytes") is not None:
            described = hashlib.sha256(clip.audio["bytes"]).hexdigest()
        elif clip.audio.get("array") is not None:
            described = (bytes(memoryview(clip.audio["array"]).cast("B")), clip.audio["sampling_rate"])
        text = repr((clip.id, described, clip.labels, clip.split, clip.fold, clip.group, clip.start_s, clip.end_s))
        # File names need not be Unicode.
        digest.update(text.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def sorted_labels(clips: Sequence[ListedClip]) -> list[str]:
    """List the class names of some clips in alphabetical order, for data sets without an order of their own."""
    return sorted({label for clip in clips for label in clip.labels})
