"""Reading the audio of one listed clip, or of its windows, or saying why it cannot be read."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..codes.settings import EncodingSettings
from ..listing import ListedClip
from .reading import OpenAudio, open_audio, resample

WINDOWS_AT_ONCE = 32
"""Windows of a long file that one call reads, which bounds what is in memory."""

MIN_REST_S = 1.0
"""A rest behind the last whole window is a window of its own from this many seconds on (or half a window)."""

SILENCE = 1 / 32768
"""A clip is silent if no sample reaches one step of 16-bit audio."""

UNREADABLE, EMPTY, SILENT, TOO_LONG = "unreadable", "empty", "silent", "too long"
COUNTED_KINDS = (UNREADABLE, EMPTY)
"""Kinds of rejections that `max_rejected_share` limits; the others were asked for."""


@dataclass(frozen=True)
class ReadClip:
    """A clip or a window of one with its waveform, or with the reason why it has none.

    Args:
        id (`str`): Name of the clip; of a window `clip#start`, with the start in seconds.
        listed (`ListedClip`): The clip that was read.
        waveform (`np.ndarray` of shape `(samples,)`, *optional*): Mono, at the rate that was asked for.
        duration_s (`float`): Of the window, or of the clip before it is cut to the longest length, in seconds.
        sampling_rate (`int`): Of the file, in Hz.
        is_window (`bool`): Whether the clip was longer and cut into windows.
        rejection (`dict`, *optional*): `id`, `path`, `kind` and `reason`.
    """

    id: str
    listed: ListedClip
    waveform: np.ndarray | None = None
    duration_s: float = 0.0
    sampling_rate: int = 0
    is_window: bool = False
    rejection: dict[str, str] | None = None


class _Rejected(ValueError):
    """A clip that is readable and not wanted, or empty."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


def read_clip(
    clip: ListedClip, sampling_rate: int, settings: EncodingSettings, first_window: int = 0
) -> tuple[list[ReadClip], int | None]:
    """Read a clip, or the next windows of a long one, resampled to `sampling_rate`; never raises.

    Args:
        clip (`ListedClip`): What to read.
        sampling_rate (`int`): Rate in Hz of the result.
        settings (`EncodingSettings`): Lengths and windows.
        first_window (`int`, defaults to 0): Where an earlier call left off.

    Returns:
        `tuple[list[ReadClip], int | None]`: What was read, and the first window of the next call, if windows are left.
    """
    try:
        with open_audio(clip.audio) as audio:
            return _read_windows(clip, audio, sampling_rate, settings, first_window)
    except (ValueError, OSError, RuntimeError) as error:
        kind = error.kind if isinstance(error, _Rejected) else UNREADABLE
        return [_reject(clip, clip.id, kind, str(error))], None


def _read_windows(
    clip: ListedClip, audio: OpenAudio, sampling_rate: int, settings: EncodingSettings, first_window: int
) -> tuple[list[ReadClip], int | None]:
    rate = audio.sampling_rate
    start = round((clip.start_s or 0.0) * rate)
    end = audio.num_samples if clip.end_s is None else min(round(clip.end_s * rate), audio.num_samples)
    if end <= start:
        part = "" if clip.start_s is None and clip.end_s is None else f" between {clip.start_s} s and {clip.end_s} s"
        raise _Rejected(EMPTY, f"no samples{part}")
    limit = settings.max_duration_s
    if limit is not None and end - start > limit * rate:
        raise _Rejected(TOO_LONG, f"{(end - start) / rate:.1f} s, longer than {limit:g} s")
    window = max(1, round(settings.max_length_s * rate))
    if settings.long_files == "cut" or end - start <= window:
        samples = audio.read(start, min(end, start + window))
        return [_finish(clip, clip.id, samples, (end - start) / rate, rate, sampling_rate, settings)], None
    starts = _window_starts(start, end, window, rate)
    read = []
    for begin in starts[first_window : first_window + WINDOWS_AT_ONCE]:
        name = f"{clip.id}#{round(begin / rate, 3):.12g}"
        samples = audio.read(begin, min(begin + window, end))
        read.append(_finish(clip, name, samples, len(samples) / rate, rate, sampling_rate, settings, is_window=True))
    following = first_window + WINDOWS_AT_ONCE
    return read, following if following < len(starts) else None


def _window_starts(start: int, end: int, window: int, rate: int) -> range:
    num_windows, rest = divmod(end - start, window)
    num_windows += rest >= min(MIN_REST_S * rate, window / 2)
    return range(start, start + num_windows * window, window)


def _finish(
    clip: ListedClip,
    name: str,
    samples: np.ndarray,
    duration_s: float,
    rate: int,
    sampling_rate: int,
    settings: EncodingSettings,
    is_window: bool = False,
) -> ReadClip:
    """Check the samples of a clip or window, and resample them."""
    if not len(samples):
        return _reject(clip, name, UNREADABLE, "the file ends before the length that it states")
    if not np.isfinite(samples).all():
        return _reject(clip, name, UNREADABLE, "NaN or infinite samples")
    if not settings.keep_silent and np.abs(samples).max() < SILENCE:
        return _reject(clip, name, SILENT, "no sample reaches one step of 16-bit audio")
    samples = resample(samples, rate, sampling_rate)
    return ReadClip(name, clip, samples.astype(np.float32, copy=False), duration_s, rate, is_window)


def _reject(clip: ListedClip, name: str, kind: str, reason: str) -> ReadClip:
    return ReadClip(name, clip, rejection={"id": name, "path": _path(clip.audio), "kind": kind, "reason": reason})


def _path(audio: str | dict[str, Any]) -> str:
    return audio if isinstance(audio, str) else str(audio.get("path"))
