"""Which part of each clip is used: one set of defaults and one rule for all commands."""

import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..listing import ListedClip
from ..rejections import EMPTY, TOO_LONG, UNREADABLE, Rejection
from .augmentation import AugmentedCopy
from .reading import OpenAudio, open_audio, resample

MIN_REMAINDER_S = 0.1
"""What remains after the last whole window is used if it is at least this long in seconds, or a tenth of a window.

Encoders pad: without a limit, every clip of ten seconds that was stored as MP3 would become two windows that are
almost the same.
"""

_WINDOW_START = re.compile(r"#(\d+(?:\.\d+)?)$")

READING_ERRORS = (ValueError, OSError, RuntimeError, OverflowError, MemoryError)
"""What decoders raise for audio that cannot be read."""

MIN_LENGTH_S = 0.1
"""Shortest window in seconds: shorter ones hold a few frames at most, and a file would become thousands of them."""

MAX_GAIN_DB = 120.0
"""Largest gain or attenuation: from the softest step of 20-bit audio to full scale."""


@dataclass(frozen=True, kw_only=True)
class ReadingSettings:
    """How the audio of a data set is read.

    Args:
        max_length_s (`float`, defaults to 10.0): Length of the longest clip or window in seconds.
        long_files (`"windows"` or `"cut"`, defaults to `"windows"`): What happens to longer clips: they are divided
            into windows of `max_length_s`, named `id#start`, or only their first `max_length_s` seconds are used.
        hop_s (`float`, *optional*): Distance in seconds from the beginning of one window to that of the next, at most
            `max_length_s`, which is the default; windows overlap if it is less.
        max_duration_s (`float`, *optional*): Clips longer than this, in seconds, are rejected.
        keep_silent (`bool`, defaults to `False`): Whether clips and windows without any sound are kept.
        gain_db (`float`, defaults to 0): By how many dB waveforms are amplified after reading, in [-120, 120]; samples
            beyond 1 are not clipped. Whether a clip is silent is decided before.
        copy ([`AugmentedCopy`], *optional*): Which augmented copy of each clip and window is made; by default they are
            read as they are. Copies keep the names, and none is longer than `max_length_s`.

    Raises:
        ValueError: If a value is not allowed.
    """

    max_length_s: float = 10.0
    long_files: Literal["windows", "cut"] = "windows"
    hop_s: float | None = None
    max_duration_s: float | None = None
    keep_silent: bool = False
    gain_db: float = 0.0
    copy: AugmentedCopy | None = None

    def __post_init__(self) -> None:
        for name in ("max_length_s", "max_duration_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ValueError(f"`{name}` must be more than 0 seconds, got {value}.")
        if self.max_length_s < MIN_LENGTH_S:
            raise ValueError(f"`max_length_s` must be at least {MIN_LENGTH_S:g} seconds, got {self.max_length_s:g}.")
        if self.long_files not in ("windows", "cut"):
            raise ValueError(f"`long_files` must be 'windows' or 'cut', got {self.long_files!r}.")
        check_hop(self.hop_s, self.max_length_s)
        if self.hop_s is not None and self.long_files == "cut":
            raise ValueError(f"`hop_s` {self.hop_s:g} needs windows, but `long_files` is 'cut'.")
        if not -MAX_GAIN_DB <= self.gain_db <= MAX_GAIN_DB:
            raise ValueError(f"`gain_db` must be in [-{MAX_GAIN_DB:g}, {MAX_GAIN_DB:g}], got {self.gain_db:g}.")

    @property
    def window_hop_s(self) -> float | None:
        """Seconds from one window to the next; `None` if there are no windows."""
        if self.long_files == "cut":
            return None
        return self.max_length_s if self.hop_s is None else self.hop_s


def check_hop(hop_s: float | None, window_s: float) -> None:
    """Check the distance between windows.

    Args:
        hop_s (`float`, *optional*): From the beginning of one window to that of the next, in seconds.
        window_s (`float`): Length of a window in seconds.

    Raises:
        ValueError: If it is not above 0, or so large that sound between windows would be lost.
    """
    if hop_s is not None and not 0 < hop_s <= window_s:
        raise ValueError(f"`hop_s` must be more than 0 s and at most a window ({window_s:g} s), got {hop_s:g}.")


@dataclass(frozen=True)
class Window:
    """The part of a clip that a model sees at once: the whole clip, its beginning, or one of its windows.

    Args:
        clip ([`ListedClip`]): The clip that it belongs to. Labels, split and fold of the clip are those of the window.
        id (`str`): The clip's name; `clip#start`, with the start in seconds, for one window of several.
        start_s (`float`): Beginning in the file, in seconds.
        end_s (`float`): End in the file, in seconds.
        duration_s (`float`): Length in seconds; of a clip that is cut, its length before.
        sampling_rate (`int`): Sampling rate of the file in Hz.
        is_part (`bool`): Whether the clip is longer and divided into windows.
    """

    clip: ListedClip
    id: str
    start_s: float
    end_s: float
    duration_s: float
    sampling_rate: int
    is_part: bool = False

    @property
    def group(self) -> str | None:
        """Group of the clip, or its name for one window of several: windows of a clip are not independent."""
        return self.clip.id if self.is_part and self.clip.group is None else self.clip.group


def clip_id_of(window_id: str) -> str:
    """Return the name of the clip that a window belongs to, given the name of the window or of a whole clip."""
    return _WINDOW_START.sub("", window_id)


def window_start_s(window_id: str) -> float:
    """Return where a window begins in its file, in seconds to the millisecond, given its name; 0 for a whole clip."""
    start = _WINDOW_START.search(window_id)
    return float(start.group(1)) if start else 0.0


def window_starts(
    start: int, end: int, window_length: int, sampling_rate: int, hop_length: int | None = None
) -> list[int]:
    """Decide where the windows of some audio begin.

    Windows begin every `hop_length` samples for as long as they are whole. What remains after the last of them is the
    end of one more window, which is moved back to be whole; less than 0.1 s or a tenth of a window is left out. Audio
    shorter than a window is one window.

    Args:
        start (`int`): First sample.
        end (`int`): Sample after the last one.
        window_length (`int`): Samples per window.
        sampling_rate (`int`): In Hz.
        hop_length (`int`, *optional*): Samples from one window to the next, 1 to `window_length`, which is the
            default.

    Returns:
        `list[int]`: First sample of each window, at least one.
    """
    hop_length = window_length if hop_length is None else hop_length
    last = max(start, end - window_length)
    starts = list(range(start, last + 1, hop_length))
    if last - starts[-1] >= min(MIN_REMAINDER_S * sampling_rate, window_length / 10):
        starts.append(last)
    return starts


def lengths_in_samples(settings: ReadingSettings, sampling_rate: int) -> tuple[int, int]:
    """Samples of a window, and from one window to the next, at a sampling rate in Hz; at least 1 each."""
    window_length = max(1, round(settings.max_length_s * sampling_rate))
    hop_s = settings.max_length_s if settings.hop_s is None else settings.hop_s
    return window_length, min(window_length, max(1, round(hop_s * sampling_rate)))


def plan_windows(clip: ListedClip, settings: ReadingSettings) -> list[Window] | Rejection:
    """Decide which windows of a clip are used, from the header of its file; nothing is decoded.

    Formats that soundfile does not read, and files that do not state their length, are decoded as a whole.

    Args:
        clip ([`ListedClip`]): A clip of a data set.
        settings ([`ReadingSettings`]): Lengths and what happens to long clips.

    Returns:
        `list[Window]` or [`Rejection`]: At least one window, or the reason why the clip cannot be used. Whether audio
        is silent or damaged shows only when it is decoded.
    """
    try:
        with open_audio(clip.audio) as audio:
            return plan_open_audio(clip, audio, settings)
    except READING_ERRORS as error:
        return make_rejection(clip, clip.id, UNREADABLE, str(error))


def plan_open_audio(clip: ListedClip, audio: OpenAudio, settings: ReadingSettings) -> list[Window] | Rejection:
    """Do the work of [`plan_windows`] for a clip whose file is open."""
    rate = audio.sampling_rate
    start, end = (_sample(seconds, audio) for seconds in (clip.start_s or 0.0, clip.end_s))
    if end <= start:
        part = "" if clip.start_s is None and clip.end_s is None else f" between {clip.start_s} s and {clip.end_s} s"
        return make_rejection(clip, clip.id, EMPTY, f"no samples{part}")
    duration_s, limit_s = (end - start) / rate, settings.max_duration_s
    if limit_s is not None and end - start > limit_s * rate:
        return make_rejection(clip, clip.id, TOO_LONG, f"{duration_s:.1f} s, longer than {limit_s:g} s")
    window_length, hop_length = lengths_in_samples(settings, rate)
    if settings.long_files == "cut" or end - start <= window_length:
        return [Window(clip, clip.id, start / rate, min(end, start + window_length) / rate, duration_s, rate)]
    windows = []
    for first in window_starts(start, end, window_length, rate, hop_length):
        last = min(first + window_length, end)
        name = f"{clip.id}#{round(first / rate, 3):.12g}"
        windows.append(Window(clip, name, first / rate, last / rate, (last - first) / rate, rate, is_part=True))
    return windows


def _sample(time_s: float | None, audio: OpenAudio) -> int:
    """The sample at a time in seconds, or the end of the audio if it is over before, or if there is no time.

    Raises:
        ValueError: If the time is negative or no number.
    """
    if time_s is None or time_s * audio.sampling_rate >= audio.num_samples:
        return audio.num_samples
    if not time_s >= 0:
        raise ValueError(f"a part of a file must begin and end at 0 s or later, got {time_s} s")
    return round(time_s * audio.sampling_rate)


def read_window(window: Window, sampling_rate: int, gain_db: float = 0.0) -> np.ndarray:
    """Decode a window.

    Args:
        window ([`Window`]): From [`plan_windows`].
        sampling_rate (`int`): Sampling rate of the result in Hz.
        gain_db (`float`, defaults to 0): By how many dB the result is amplified.

    Returns:
        `np.ndarray` of shape `(num_samples,)`: Mono float32 waveform.

    Raises:
        ValueError: If the file cannot be read, ends before the window, or holds NaN or infinite samples; the message
            names the window.
        FileNotFoundError: If the file is gone.
    """
    try:
        with open_audio(window.clip.audio) as audio:
            samples = read_samples(window, audio)
    except FileNotFoundError:
        raise
    except READING_ERRORS as error:
        raise ValueError(f"{window.id}: {error}") from error
    return to_waveform(samples, audio.sampling_rate, sampling_rate, gain_db)


def read_samples(window: Window, audio: OpenAudio) -> np.ndarray:
    """Read the samples of a window from open audio, at the sampling rate of the file.

    Raises:
        ValueError: If there are none, or some are NaN or infinite.
    """
    rate = audio.sampling_rate
    samples = audio.read(round(window.start_s * rate), round(window.end_s * rate))
    if not len(samples):
        raise ValueError("the file ends before the length that it states")
    if not np.isfinite(samples).all():
        raise ValueError("NaN or infinite samples")
    return samples


class OverlapReader:
    """Open audio of which each sample is decoded once, although windows overlap.

    Args:
        audio ([`OpenAudio`]): Read piece by piece; pieces begin later and later.

    Attributes:
        sampling_rate (`int`): Sampling rate of the source in Hz.
        num_samples (`int`): Number of samples of the source that can be decoded.
        stated_samples (`int`): Length of the source in samples as its header states it.
    """

    def __init__(self, audio: OpenAudio) -> None:
        self.audio = audio
        self.sampling_rate, self.num_samples = audio.sampling_rate, audio.num_samples
        self.stated_samples = audio.stated_samples
        self._start, self._read = 0, np.empty(0, dtype=np.float32)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the samples from `start` up to `stop`, see [`OpenAudio`]."""
        end = self._start + len(self._read)
        if self._start <= start < end <= stop:
            kept = self._read[start - self._start :]
            following = self.audio.read(end, stop) if stop > end else kept[:0]
            self._read = np.concatenate([kept, following])
        else:
            self._read = self.audio.read(start, stop)
        self._start = start
        return self._read


def to_waveform(
    samples: np.ndarray, sampling_rate: int, target_sampling_rate: int, gain_db: float = 0.0
) -> np.ndarray:
    """Resample mono samples of shape `(num_samples,)`, and amplify them by a gain in dB; the result is float32."""
    waveform = resample(samples, sampling_rate, target_sampling_rate).astype(np.float32, copy=False)
    if not gain_db:
        return waveform
    return (waveform * np.float64(10 ** (gain_db / 20))).astype(np.float32)


def make_rejection(clip: ListedClip, name: str, kind: str, reason: str) -> Rejection:
    """Describe why a clip, or one of its windows, is left out."""
    audio: Any = clip.audio
    path = audio if isinstance(audio, str) else str(audio.get("path"))
    # File names need not be Unicode, but what is written about them must be.
    name, path, reason = (text.encode("utf-8", "replace").decode() for text in (name, path, reason))
    return Rejection(id=name, path=path, kind=kind, reason=reason)
