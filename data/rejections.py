"""Clips that cannot be used: why, and when there are so many of them that the run stops."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypedDict

UNREADABLE, EMPTY, SILENT, TOO_LONG = "unreadable", "empty", "silent", "too long"
CUT_SHORT = "cut short"
"""The file ends before the length that its header states: what was decoded is used, only the rest is left out."""
COUNTED_KINDS = (UNREADABLE, EMPTY)
"""Kinds of rejections that `max_rejected_share` limits. Silence and length follow from what was asked for, and the
length that the header of an MP3 gives may be an estimate."""

_SHOWN = 20
_ENOUGH_TO_JUDGE = 1000


class Rejection(TypedDict):
    """A clip or window that is left out, or the missing end of a clip.

    Args:
        id (`str`): Its name.
        path (`str`): Path of its file; `"None"` where it has none.
        kind (`str`): `"unreadable"`, `"empty"`, `"silent"`, `"too long"` or `"cut short"`.
        reason (`str`): What is wrong with it, in words.
    """

    id: str
    path: str
    kind: str
    reason: str


class Rejections:
    """Counts the unreadable clips of a run and compares them with the share that is allowed.

    Where the number of clips is not known beforehand, the share refers to the clips seen so far, from 1,000 clips on.

    Args:
        max_rejected_share (`float`): Share of the clips that may be unreadable or empty, in [0, 1].
        num_clips (`int`, *optional*): Number of all clips, where it is known.
        save (`Callable`, *optional*): Called with all counted rejections if there are too many; saves them and returns
            the path of the file.
    """

    def __init__(
        self,
        max_rejected_share: float,
        num_clips: int | None,
        save: Callable[[Iterable[Rejection]], Path] | None = None,
    ) -> None:
        self.max_rejected_share, self.num_clips, self.save = max_rejected_share, num_clips, save
        self.entries: list[Rejection] = []
        self.num_seen = 0

    def add(self, entries: Sequence[Rejection], num_seen: int) -> None:
        """Add rejections that are final, and the number of clips that they come from.

        Raises:
            ValueError: See [`check`].
        """
        self.check(entries, num_seen)
        self.num_seen += num_seen
        self.entries += [entry for entry in entries if is_counted(entry)]

    def check(self, entries: Sequence[Rejection] = (), num_seen: int = 0, final: bool = False) -> None:
        """Stop as soon as it is certain that too many clips are unreadable.

        Args:
            entries (sequence of [`Rejection`]): Rejections in addition to those that were added.
            num_seen (`int`, defaults to 0): Clips in addition to those that were added.
            final (`bool`, defaults to `False`): Whether there are no more clips.

        Raises:
            ValueError: If too many clips are unreadable or empty; the message shows the first twenty.
        """
        counted = len(self.entries) + sum(map(is_counted, entries))
        total = self.num_clips
        if total is None:
            total = self.num_seen + num_seen
            if not final and total < _ENOUGH_TO_JUDGE:
                return
        if counted <= self.max_rejected_share * total:
            return
        listed = [*self.entries, *filter(is_counted, entries)]
        where = "The first of them" if self.save is None else f"The list so far is in {self.save(listed)}"
        shown = "\n".join(f"  {entry['path']}: {entry['reason']}" for entry in listed[:_SHOWN])
        raise ValueError(
            f"{counted} of {total} clips cannot be read; `max_rejected_share` allows {self.max_rejected_share:.1%}. "
            f"{where}:\n{shown}"
        )


def is_counted(entry: Rejection) -> bool:
    """Whether `max_rejected_share` limits rejections of this kind."""
    return entry["kind"] in COUNTED_KINDS


def relative_rejection(entry: Rejection, root: str | None) -> Rejection:
    """Remove the path of the data set's folder, which must not be published with the results.

    Args:
        entry ([`Rejection`]): What is left out.
        root (`str`, *optional*): Folder of the data set; `None` leaves the entry as it is.
    """
    if root is None:
        return entry
    prefix = root.rstrip("/") + "/"
    return Rejection(
        id=entry["id"].replace(prefix, ""),
        path=entry["path"].replace(prefix, ""),
        kind=entry["kind"],
        reason=entry["reason"].replace(prefix, ""),
    )
