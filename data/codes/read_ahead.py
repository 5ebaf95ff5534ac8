"""Reads clips in threads, a bounded number of them ahead of the encoder."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import NamedTuple

from ..audio.clip_reading import ReadClip, read_clip
from ..audio.windows import ReadingSettings
from ..listing import ListedClip


class ReadPart(NamedTuple):
    """What one task has read.

    Args:
        clips (`list[ReadClip]`): One clip, or some windows of a long one.
        is_whole (`bool`): Whether the listed clip ends with this part.
        is_last (`bool`): Whether no other part follows.
    """

    clips: list[ReadClip]
    is_whole: bool
    is_last: bool


def read_ahead(
    clips: Iterable[ListedClip], pool: Executor, depth: int, sampling_rate: int, settings: ReadingSettings
) -> Iterator[ReadPart]:
    """Read clips in order, at most `depth` of them before they are needed.

    A long file is read in parts of a few minutes, each while the one before is encoded, so that memory does not depend
    on the length of files.

    Args:
        clips (iterable of [`ListedClip`]): What to read.
        pool (`concurrent.futures.Executor`): Threads that read.
        depth (`int`): Number of decoded clips that may wait.
        sampling_rate (`int`): Sampling rate of the waveforms in Hz.
        settings ([`ReadingSettings`]): Lengths and windows.

    Yields:
        [`ReadPart`]: One per clip, or several per long clip.
    """
    waiting: deque[tuple[ListedClip, Future]] = deque()
    listed = iter(clips)

    def submit(clip: ListedClip, first_window: int) -> tuple[ListedClip, Future]:
        return clip, pool.submit(read_clip, clip, sampling_rate, settings, first_window)

    def fill() -> None:
        while len(waiting) < depth and (clip := next(listed, None)) is not None:
            waiting.append(submit(clip, 0))

    fill()
    while waiting:
        clip, future = waiting.popleft()
        read, next_window = future.result()
        if next_window is not None:
            waiting.appendleft(submit(clip, next_window))
        fill()
        yield ReadPart(read, is_whole=next_window is None, is_last=not waiting)
