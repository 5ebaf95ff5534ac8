"""Clips that cannot be used: counted, listed, and a reason to stop where they are too many."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from audioformer.files import REJECTED, write_whole

from ..audio.clip_reading import COUNTED_KINDS

_SHOWN = 20
_ENOUGH_TO_JUDGE = 1000


class Rejections:
    """Counts the unreadable clips of a run against what is allowed.

    Where the number of clips is not known beforehand, the share is taken of those seen so far, from 1,000 on.

    Args:
        max_rejected_share (`float`): Share of the clips that may be unreadable or empty.
        num_clips (`int`, *optional*): All clips, where that is known.
        folder (`Path`): Where the list goes if there are too many.
    """

    def __init__(self, max_rejected_share: float, num_clips: int | None, folder: Path) -> None:
        self.max_rejected_share, self.num_clips, self.folder = max_rejected_share, num_clips, folder
        self.entries: list[dict[str, str]] = []
        self.num_seen = 0

    def add(self, entries: Sequence[dict[str, str]], num_seen: int) -> None:
        """Take in what is final.

        Raises:
            ValueError: As [`check`].
        """
        self.check(entries, num_seen)
        self.num_seen += num_seen
        self.entries += [entry for entry in entries if is_counted(entry)]

    def check(self, entries: Sequence[dict[str, str]] = (), num_seen: int = 0, final: bool = False) -> None:
        """Stop as soon as it is certain that too many clips are unreadable.

        Args:
            entries (sequence of `dict`): Rejections on top of those that were added.
            num_seen (`int`): Clips on top of those that were added.
            final (`bool`): Whether that is all.

        Raises:
            ValueError: With the first twenty of them.
        """
        counted = len(self.entries) + count_unreadable(entries)
        total = self.num_clips
        if total is None:
            total = self.num_seen + num_seen
            if not final and total < _ENOUGH_TO_JUDGE:
                return
        if counted <= self.max_rejected_share * total:
            return
        listed = [*self.entries, *(entry for entry in entries if is_counted(entry))]
        write_rejected(self.folder, listed)
        shown = "\n".join(f"  {entry['path']}: {entry['reason']}" for entry in listed[:_SHOWN])
        raise ValueError(
            f"{counted} of {total} clips cannot be read; `max_rejected_share` allows {self.max_rejected_share:.1%}. "
            f"The list so far is in {self.folder / REJECTED}:\n{shown}"
        )


def is_counted(entry: dict[str, str]) -> bool:
    return entry["kind"] in COUNTED_KINDS


def count_unreadable(entries: Iterable[dict[str, str]]) -> int:
    return sum(is_counted(entry) for entry in entries)


def write_rejected(folder: Path, entries: Iterable[dict[str, str]]) -> None:
    """Write `rejected.jsonl`."""
    text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    write_whole(folder / REJECTED, lambda path: path.write_text(text, encoding="utf-8"))
