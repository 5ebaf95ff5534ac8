"""Audio in memory, in any of its usual forms, to mono float32 waveforms at one sampling rate."""

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
import torch
from transformers.utils import logging

try:
    import soxr
except ImportError:
    soxr = None

logger = logging.get_logger(__name__)

PCM_FORMATS = {"uint8": (128, 128), "int8": (0, 128), "int16": (0, 32768), "int32": (0, 2147483648)}
"""Offset and full scale of the integer PCM formats that audio files use."""

MIN_SAMPLING_RATE, MAX_SAMPLING_RATE = 100, 10_000_000
"""Lowest and highest sampling rate in Hz: outside, a rate is a mistake, and resampling would fill the memory."""


def prepare_waveforms(raw_speech: Any, sampling_rate: float | None, target_sampling_rate: int) -> list[np.ndarray]:
    """Turn one clip or a list of clips into mono waveforms at one sampling rate.

    Args:
        raw_speech: One clip or a list of clips. A clip is a float or integer PCM array, tensor or list of numbers of
            shape `(num_samples,)` or `(num_channels, num_samples)`, a dict with `"array"` (or `"raw"`) and
            `"sampling_rate"`, or a decoder with `get_all_samples()` as `datasets` returns it. An array or a tensor is
            always one clip.
        sampling_rate (`float`, *optional*): Rate in Hz of the clips that do not carry their own. `None` means
            `target_sampling_rate`, with a warning.
        target_sampling_rate (`int`): Rate in Hz of the result.

    Returns:
        `list[np.ndarray]`: Per clip a waveform of shape `(num_samples,)`, float32, with at least one sample.

    Raises:
        ValueError: If there is no clip, or a clip is empty, is not finite, or has a wrong rank, type or sampling rate.
            The message names the clip.
    """
    if sampling_rate is not None:
        sampling_rate = check_sampling_rate(sampling_rate, "`sampling_rate`")
    clips = _split_clips(raw_speech)
    waveforms = []
    rate_missing = False
    for position, clip in enumerate(clips, start=1):
        name = f"clip {position} of {len(clips)}"
        array, rate = _unpack(clip, name)
        waveform = _to_mono_float(array, name)
        rate_missing |= rate is None and sampling_rate is None
        if rate is None:
            rate = sampling_rate or target_sampling_rate
        waveforms.append(resample(waveform, rate, target_sampling_rate))
    if rate_missing:
        logger.warning(
            f"No `sampling_rate` was given, so the audio is assumed to be at {target_sampling_rate} Hz. Pass"
            " `sampling_rate`: a wrong rate gives wrong codes without any error."
        )
    return waveforms


def resample(waveform: np.ndarray, sampling_rate: float, target_sampling_rate: int) -> np.ndarray:
    """Resample a waveform with soxr in high quality.

    Args:
        waveform (`np.ndarray` of shape `(num_samples,)`): Mono, float32, at least one sample.
        sampling_rate (`float`): Its rate in Hz.
        target_sampling_rate (`int`): Rate in Hz of the result. If it is the same, the waveform is returned as it is.

    Returns:
        `np.ndarray` of shape `(num_samples,)`, float32. It has at least one sample: a clip that is shorter than one
        sample at the new rate keeps its first.

    Raises:
        ImportError: If soxr is needed and not installed.
        ValueError: If a rate is not from 100 Hz to 10 MHz.
    """
    check_sampling_rate(sampling_rate, "The sampling rate of the audio")
    check_sampling_rate(target_sampling_rate, "`sampling_rate`")
    if sampling_rate == target_sampling_rate:
        return waveform
    if soxr is None:
        raise ImportError(
            f"Resampling from {sampling_rate:g} Hz to {target_sampling_rate} Hz needs soxr: `pip install soxr`."
        )
    resampled = soxr.resample(waveform, sampling_rate, target_sampling_rate, quality="HQ")
    return resampled if len(resampled) else waveform[:1]


def _split_clips(raw_speech: Any) -> list[Any]:
    if not isinstance(raw_speech, (list, tuple)):
        return [raw_speech]
    if len(raw_speech) == 0:
        raise ValueError("`raw_speech` is an empty list: pass at least one clip.")
    if all(isinstance(x, (Real, np.generic)) or (torch.is_tensor(x) and x.ndim == 0) for x in raw_speech):
        return [raw_speech]
    return list(raw_speech)


def _unpack(clip: Any, name: str) -> tuple[Any, float | None]:
    """The samples of a clip, and its sampling rate if it carries one."""
    if hasattr(clip, "get_all_samples"):
        samples = clip.get_all_samples()
        return samples.data, check_sampling_rate(samples.sample_rate, f"`sample_rate` of {name}")
    if not isinstance(clip, Mapping):
        return clip, None
    array = clip.get("array") if clip.get("array") is not None else clip.get("raw")
    if array is None:
        raise ValueError(
            f"{name} is a dict with the keys {sorted(map(str, clip))}, but it needs 'array' (or 'raw') and"
            " 'sampling_rate'. Read files and encoded bytes with `audioformer.load_audio`."
        )
    rate = clip.get("sampling_rate")
    return array, None if rate is None else check_sampling_rate(rate, f'"sampling_rate" of {name}')


def check_sampling_rate(rate: Any, name: str) -> float:
    """Check a sampling rate.

    Args:
        rate: A number in Hz, of Python or NumPy.
        name (`str`): What it is called in the error message.

    Returns:
        `float`: The same number.

    Raises:
        ValueError: If it is no number, or not from 100 Hz to 10 MHz.
    """
    # The numbers of NumPy are `Real`, too; its booleans are not.
    if isinstance(rate, bool) or not isinstance(rate, Real) or not 0 < float(rate) < math.inf:
        raise ValueError(f"{name} must be a positive number of Hz, got {rate!r}.")
    if not MIN_SAMPLING_RATE <= float(rate) <= MAX_SAMPLING_RATE:
        raise ValueError(
            f"{name} must be from {MIN_SAMPLING_RATE} Hz to {MAX_SAMPLING_RATE // 10**6} MHz, got {rate!r} Hz."
        )
    return float(rate)


def _to_mono_float(samples: Any, name: str) -> np.ndarray:
    array = _to_array(samples, name)
    if array.size == 0:
        raise ValueError(f"{name} is empty (shape {array.shape}).")
    if array.ndim not in (1, 2):
        raise ValueError(
            f"{name} has rank {array.ndim} (shape {array.shape}): a clip must have the shape (num_samples,) or"
            " (num_channels, num_samples)."
        )
    if array.ndim == 2 and array.shape[0] > array.shape[1]:
        raise ValueError(
            f"{name} has shape {array.shape}, that is more channels than samples: transpose an array of shape"
            " (num_samples, num_channels)."
        )
    if array.dtype.kind == "f":
        # Values beyond the range of float32 become infinite here and are reported below.
        with np.errstate(over="ignore"):
            array = array.astype(np.float32, copy=False)
    else:
        offset, scale = PCM_FORMATS[array.dtype.name]
        array = array.astype(np.float32)
        array -= offset
        array /= scale
    waveform = array.mean(axis=0, dtype=np.float32) if array.ndim == 2 else array
    if not np.isfinite(waveform).all():
        raise ValueError(f"{name} contains NaN or infinite samples.")
    return np.ascontiguousarray(waveform)


def _to_array(samples: Any, name: str) -> np.ndarray:
    if torch.is_tensor(samples):
        array = _tensor_to_array(samples, name)
    elif isinstance(samples, (str, bytes, bytearray, memoryview)) or hasattr(samples, "__fspath__"):
        raise ValueError(
            f"{name} is a {type(samples).__name__}, not samples: read files with `audioformer.load_audio`."
        )
    else:
        try:
            array = np.asarray(samples)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} is not an array of samples: {error}") from error
    if array.dtype.kind != "f" and array.dtype.name not in PCM_FORMATS:
        raise ValueError(
            f"{name} has samples of type {array.dtype}; allowed are floating-point types and the PCM types"
            f" {', '.join(PCM_FORMATS)}."
        )
    return array


def _tensor_to_array(samples: torch.Tensor, name: str) -> np.ndarray:
    kinds = {"meta": samples.is_meta, str(samples.layout).removeprefix("torch."): samples.layout != torch.strided}
    kinds |= {"quantized": samples.is_quantized, "nested": samples.is_nested}
    kind = next((kind for kind, applies in kinds.items() if applies), None)
    if kind is not None:
        raise ValueError(f"{name} is a {kind} tensor: a clip must be an ordinary dense tensor with its samples.")
    samples = samples.detach().cpu().resolve_conj().resolve_neg()
    return (samples.float() if samples.is_floating_point() else samples).numpy()
