"""Decoding and resampling in threads, ahead of the encoder, by a bounded number of clips."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import NamedTuple

from ..audio.clip_reading import ReadClip, read_clip
from ..listing import ListedClip
from .settings import EncodingSettings


class ReadPart(NamedTuple):
    """What one task has read.

    Args:
        clips (`list[ReadClip]`): One clip, or some windows of a long one.
        is_whole (`bool`): Whether the listed clip ends with it.
        is_last (`bool`): Whether no other part follows.
    """

    clips: list[ReadClip]
    is_whole: bool
    is_last: bool


def read_ahead(
    clips: Iterable[ListedClip], pool: Executor, depth: int, sampling_rate: int, settings: EncodingSettings
) -> Iterator[ReadPart]:
    """Read clips in their order, at most `depth` before they are asked for.

    A long file comes in parts of a few minutes; the next is read while the last is encoded, so that memory does not
    depend on how long files are.

    Args:
        clips (iterable of `ListedClip`): What to read.
        pool (`concurrent.futures.Executor`): Threads that read.
        depth (`int`): Clips that may wait, decoded.
        sampling_rate (`int`): Rate in Hz to resample to.
        settings (`EncodingSettings`): Lengths and windows.
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
