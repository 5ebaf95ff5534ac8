"""Scaling a clip to a fixed root mean square, so that its codes do not depend on how loud it is."""

import math
from numbers import Real
from typing import Any

import numpy as np

NORMALIZATIONS = ("rms",)
"""Values of `normalize` other than `None`."""

NORMALIZATION_SETTINGS = ("normalize", "target_rms", "min_rms")
"""Settings of an extractor that decide the level of what it encodes; codes that were normalized record them."""

MIN_RMS, MAX_RMS = 1e-9, 1.0
"""Range of the settings in amplitude, where 1 is full scale: -180 to 0 dBFS."""

_BLOCK = 65_536


def check_normalization(normalize: Any, target_rms: Any, min_rms: Any) -> tuple[str | None, float, float]:
    """Check the settings that decide the level.

    Args:
        normalize: `None` or `"rms"`.
        target_rms: Root mean square of a clip after scaling, in amplitude.
        min_rms: Root mean square in amplitude, below which a clip is amplified no more than one that has it.

    Returns:
        `tuple[str | None, float, float]`: The same, as plain values.

    Raises:
        ValueError: If a value is not allowed; the message names it.
    """
    if normalize is not None and normalize not in NORMALIZATIONS:
        raise ValueError(f"`normalize` must be None or {' or '.join(map(repr, NORMALIZATIONS))}, got {normalize!r}.")
    for name, value in (("target_rms", target_rms), ("min_rms", min_rms)):
        if isinstance(value, bool) or not isinstance(value, Real) or not MIN_RMS <= float(value) <= MAX_RMS:
            raise ValueError(
                f"`{name}` must be an amplitude in [{MIN_RMS:g}, {MAX_RMS:g}], where 1 is full scale, got {value!r}."
            )
    return normalize, float(target_rms), float(min_rms)


def normalize_rms(waveform: np.ndarray, target_rms: float, min_rms: float) -> np.ndarray:
    """Scale a clip to a root mean square.

    The result depends on the clip alone, and on its level only by rounding: two clips that differ by a power of two
    give the same bits.

    Args:
        waveform (`np.ndarray` of shape `(num_samples,)`): The whole clip, float32, finite, at least one sample.
        target_rms (`float`): Root mean square of the result, in amplitude.
        min_rms (`float`): A clip with a lower root mean square is amplified by `target_rms / min_rms`, no more:
            silence stays silence.

    Returns:
        `np.ndarray` of shape `(num_samples,)`: Float32, not clipped.
    """
    # Blocks of one size for clips of any length: float64 copies of an hour of audio would take a gigabyte.
    blocks = (waveform[start : start + _BLOCK] for start in range(0, len(waveform), _BLOCK))
    energy = math.fsum(float(np.square(block, dtype=np.float64).sum()) for block in blocks)
    gain = target_rms / max(math.sqrt(energy / len(waveform)), min_rms)
    # Multiplied in float64, rounded once.
    return np.multiply(waveform, gain, out=np.empty_like(waveform), dtype=np.float64, casting="same_kind")
