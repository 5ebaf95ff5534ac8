"""What every reader gives: a list of labelled clips, before any audio is read."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ListedClip:
    """One clip of a data set.

    Args:
        id (`str`): Name of the clip, unique in its data set.
        audio (`str` or `dict`): Path of the file, `{"bytes": ..., "path": ...}`, or `{"array": ..., "sampling_rate"}`.
        labels (`tuple[str, ...]`): Names of its classes.
        split (`str`, *optional*): `"train"`, `"validation"`, `"test"`, or what the data set calls it.
        fold (`int`, *optional*): Fold of cross-validation.
        group (`str`, *optional*): Clips of one recording or speaker share it; a group is never divided.
        start_s, end_s (`float`, *optional*): The part of the file that is the clip, in seconds.
    """

    id: str
    audio: str | dict[str, Any]
    labels: tuple[str, ...] = ()
    split: str | None = None
    fold: int | None = None
    group: str | None = None
    start_s: float | None = None
    end_s: float | None = None


@dataclass
class Listing:
    """The clips of a data set, and what its classes are called.

    Args:
        name (`str`): Short name, used for folders.
        layout (`str`): Which reader made it.
        source (`str`): Where it lies.
        clips (sequence of `ListedClip`): In the data set's order.
        labels (`list[str]`): Class names in the data set's own order, which gives the indices.
        multi_label (`bool`): Whether a clip can have several classes.
        label_ids (`dict[str, str]`): Machine id of each class name (AudioSet's and FSD50K's `/m/...`), where there is.
        missing (`list[str]`): Clips that are listed and not there.
    """

    name: str
    layout: str
    source: str
    clips: Sequence[ListedClip]
    labels: list[str]
    multi_label: bool
    label_ids: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels):
            twice = sorted({label for label in self.labels if self.labels.count(label) > 1})
            raise ValueError(f"{self.source}: class names must differ, these come twice: {twice}.")


def listing_fingerprint(listing: Listing) -> str:
    """SHA-256 of what a listing names: the clips with their files' sizes and times, and the classes.

    A data set of `datasets` has a fingerprint of its own, which is taken in place of its clips.
    """
    digest = hashlib.sha256(repr((listing.layout, listing.labels, listing.multi_label)).encode())
    own = getattr(getattr(listing.clips, "dataset", None), "_fingerprint", None)
    if own is not None:
        digest.update(own.encode())
        return digest.hexdigest()
    for clip in listing.clips:
        described: Any = clip.audio
        if isinstance(clip.audio, str):
            stat = os.stat(clip.audio)
            described = (clip.audio, stat.st_size, stat.st_mtime_ns)
        elif clip.audio.get("bytes") is not None:
            described = hashlib.sha256(clip.audio["bytes"]).hexdigest()
        elif clip.audio.get("array") is not None:
            described = (bytes(memoryview(clip.audio["array"]).cast("B")), clip.audio["sampling_rate"])
        digest.update(
            repr(
                (clip.id, described, clip.labels, clip.split, clip.fold, clip.group, clip.start_s, clip.end_s)
            ).encode()
        )
    return digest.hexdigest()


def sorted_labels(clips: Sequence[ListedClip]) -> list[str]:
    """All class names of some clips in alphabetical order, for data sets that have no order of their own."""
    return sorted({label for clip in clips for label in clip.labels})
