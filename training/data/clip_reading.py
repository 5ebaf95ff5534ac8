"""Reading the audio of one listed clip, or saying why it cannot be read."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import soxr

from audioformer.feature_extraction import load_audio

from .listing import ListedClip


@dataclass(frozen=True)
class ReadClip:
    """A clip with its waveform, or with the reason why it has none.

    Args:
        listed (`ListedClip`): What was read.
        waveform (`np.ndarray` of shape `(samples,)`, *optional*): Mono, at the rate that was asked for.
        duration_s (`float`): Of the clip before it is cut to the longest length, in seconds.
        sampling_rate (`int`): Of the file, in Hz.
        rejection (`dict`, *optional*): `id`, `path` and `reason`.
    """

    listed: ListedClip
    waveform: np.ndarray | None = None
    duration_s: float = 0.0
    sampling_rate: int = 0
    rejection: dict[str, str] | None = None


def read_clip(clip: ListedClip, sampling_rate: int, max_length_s: float) -> ReadClip:
    """Read, cut to the clip and to its first `max_length_s` seconds, and resample to `sampling_rate`; never raises."""
    try:
        waveform, rate = _decode(clip.audio)
        if clip.start_s is not None or clip.end_s is not None:
            start = round((clip.start_s or 0.0) * rate)
            end = len(waveform) if clip.end_s is None else round(clip.end_s * rate)
            waveform = waveform[start:end]
        if not len(waveform):
            raise ValueError(f"no samples between {clip.start_s} s and {clip.end_s} s")
        duration_s = len(waveform) / rate
        waveform = waveform[: max(1, round(max_length_s * rate))]
        if not np.isfinite(waveform).all():
            raise ValueError("NaN or infinite samples")
        if rate != sampling_rate:
            resampled = soxr.resample(waveform, rate, sampling_rate, quality="HQ")
            waveform = resampled if len(resampled) else waveform[:1]
    except (ValueError, OSError, RuntimeError) as error:
        rejection = {"id": clip.id, "path": _path(clip.audio), "reason": str(error)}
        return ReadClip(clip, rejection=rejection)
    return ReadClip(clip, waveform.astype(np.float32, copy=False), duration_s, rate)


def _decode(audio: str | dict[str, Any]) -> tuple[np.ndarray, int]:
    if isinstance(audio, str):
        return load_audio(audio)
    if audio.get("array") is not None:
        samples = np.asarray(audio["array"], dtype=np.float32)
        return (samples if samples.ndim == 1 else samples.mean(axis=0)), int(audio["sampling_rate"])
    if audio.get("bytes") is not None:
        return load_audio(io.BytesIO(audio["bytes"]))
    if audio.get("path"):
        return load_audio(audio["path"])
    raise ValueError("neither a path nor bytes nor samples")


def _path(audio: str | dict[str, Any]) -> str:
    return audio if isinstance(audio, str) else str(audio.get("path"))
