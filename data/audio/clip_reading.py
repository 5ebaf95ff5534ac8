"""Reading listed clips one after the other, long ones a few windows at a time."""

from dataclasses import dataclass

import numpy as np

from ..listing import ListedClip
from ..rejections import SILENT, UNREADABLE, Rejection
from .reading import OpenAudio, open_audio
from .shortfall import find_shortfall
from .windows import (
    READING_ERRORS,
    OverlapReader,
    ReadingSettings,
    Window,
    lengths_in_samples,
    make_rejection,
    plan_open_audio,
    read_samples,
    to_waveform,
)

WINDOWS_AT_ONCE = 32
"""Windows of a long file that one call reads, which bounds what is in memory."""

SILENCE = 1 / 32768
"""Audio is silent if no sample reaches one step of 16-bit audio."""


@dataclass(frozen=True)
class ReadClip:
    """A clip, or a window of one, with its waveform or with the reason why it has none.

    Args:
        id (`str`): Name of the clip; of a window `clip#start`, with the start in seconds.
        listed ([`ListedClip`]): The clip that was read.
        waveform (`np.ndarray` of shape `(num_samples,)`, *optional*): Mono float32, at the rate that was asked for.
        duration_s (`float`): Length in seconds; of a clip that is cut, its length before.
        sampling_rate (`int`): Sampling rate of the file in Hz.
        is_window (`bool`): Whether the clip is longer and divided into windows.
        rejection ([`Rejection`], *optional*): Why there is no waveform.
    """

    id: str
    listed: ListedClip
    waveform: np.ndarray | None = None
    duration_s: float = 0.0
    sampling_rate: int = 0
    is_window: bool = False
    rejection: Rejection | None = None


def read_clip(
    clip: ListedClip, sampling_rate: int, settings: ReadingSettings, first_window: int = 0
) -> tuple[list[ReadClip], int | None]:
    """Read a clip, or the next windows of a long one; never raises for audio that cannot be read.

    Args:
        clip ([`ListedClip`]): What to read.
        sampling_rate (`int`): Sampling rate of the waveforms in Hz.
        settings ([`ReadingSettings`]): Lengths, windows and silence.
        first_window (`int`, defaults to 0): Where an earlier call left off.

    Returns:
        `tuple[list[ReadClip], int | None]`: What was read, and the first window of the next call if any are left. A
        file that ends before the length that its header states has an entry of its own that says so.
    """
    if clip.error is not None:
        return [ReadClip(clip.id, clip, rejection=make_rejection(clip, clip.id, UNREADABLE, clip.error))], None
    try:
        with open_audio(clip.audio) as audio:
            planned = plan_open_audio(clip, audio, settings)
            if isinstance(planned, dict):
                return [ReadClip(clip.id, clip, rejection=planned)], None
            following = first_window + WINDOWS_AT_ONCE
            chosen = planned[first_window:following]
            overlapping = OverlapReader(audio)
            read = [_read(window, overlapping, sampling_rate, settings) for window in chosen]
            shortfall = None if first_window else find_shortfall(clip, audio)
            if shortfall is not None:
                read.append(ReadClip(clip.id, clip, rejection=shortfall))
            return read, following if following < len(planned) else None
    except READING_ERRORS as error:
        return [ReadClip(clip.id, clip, rejection=make_rejection(clip, clip.id, UNREADABLE, str(error)))], None


def _read(window: Window, audio: OpenAudio, sampling_rate: int, settings: ReadingSettings) -> ReadClip:
    clip = window.clip
    try:
        samples = read_samples(window, audio)
    except ValueError as error:
        return ReadClip(window.id, clip, rejection=make_rejection(clip, window.id, UNREADABLE, str(error)))
    if not settings.keep_silent and np.abs(samples).max() < SILENCE:
        reason = "no sample reaches one step of 16-bit audio"
        return ReadClip(window.id, clip, rejection=make_rejection(clip, window.id, SILENT, reason))
    waveform = to_waveform(samples, audio.sampling_rate, sampling_rate, settings.gain_db)
    if settings.copy is not None:
        max_samples, _ = lengths_in_samples(settings, sampling_rate)
        waveform = settings.copy.augmentation.copy_of(waveform, window.id, settings.copy.number, max_samples)
    return ReadClip(
        id=window.id,
        listed=clip,
        waveform=waveform,
        # A file that ends before the length that it states has a shorter last window.
        duration_s=len(samples) / audio.sampling_rate if window.is_part else window.duration_s,
        sampling_rate=window.sampling_rate,
        is_window=window.is_part,
    )
