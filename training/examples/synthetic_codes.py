"""Codes of synthetic sound, in addition to those of real clips or in their place."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from accelerate import PartialState

from audioformer.data.codes.cache import encode_listing
from audioformer.data.codes.encoded import EncodedClips
from audioformer.data.synthetic import SyntheticClips
from audioformer.data.synthetic.listing import list_synthetic_clips
from audioformer.feature_extraction import AudioFormerFeatureExtractor

from ..families import Settings
from .audio import reading_settings


class JoinedCodes(Sequence[Any]):
    """The clips of several sequences of codes, one after the other, each read when it is asked for.

    Args:
        parts (sequence of sequences): Codes of clips as [`CodeExamples`] takes them, with `lengths`. Where some have
            copies of their clips, the clips of the others are their own only copy.

    Attributes:
        lengths (`np.ndarray` of shape `(num_clips,)`): Frames of each clip.
    """

    def __init__(self, parts: Sequence[Any]) -> None:
        self.parts = parts
        self.lengths = np.concatenate([np.asarray(part.lengths, dtype=np.int64) for part in parts])
        self._ends = np.cumsum([len(part) for part in parts])
        self._has_copies = any(len(part) and isinstance(part[0], list) for part in parts)

    def __len__(self) -> int:
        return len(self.lengths)

    # A `Sequence` also takes slices, which nothing here needs.
    def __getitem__(self, index: int) -> Any:  # type: ignore[override]
        if not -len(self) <= index < len(self):
            raise IndexError(f"clip {index} of {len(self)}")
        index = index % len(self)
        number = int(np.searchsorted(self._ends, index, side="right"))
        codes = self.parts[number][index - (int(self._ends[number - 1]) if number else 0)]
        return [codes] if self._has_copies and not isinstance(codes, list) else codes


def synthetic_clips(settings: Settings, sampling_rate: int) -> SyntheticClips | None:
    """The synthetic clips that the settings ask for, if they do."""
    options = settings.options
    if not options.synthetic_hours:
        return None
    num_clips = max(1, round(options.synthetic_hours * 3600 / options.synthetic_clip_s))
    return SyntheticClips(num_clips, options.synthetic_seed, options.synthetic_clip_s, sampling_rate)


def encode_synthetic_clips(settings: Settings, extractor: AudioFormerFeatureExtractor) -> EncodedClips | None:
    """Encode the synthetic clips that the settings ask for, or open what was encoded before.

    Args:
        settings (`Settings`): `synthetic_hours`, `synthetic_clip_s`, `synthetic_seed`, `cache_dir` and
            `num_codebooks` decide.
        extractor ([`AudioFormerFeatureExtractor`]): Its codec encodes, on the GPU of this process if it has one.

    Returns:
        [`EncodedClips`], *optional*: `None` where no hours are asked for.
    """
    clips = synthetic_clips(settings, extractor.sampling_rate)
    if clips is None:
        return None
    return encode_listing(
        list_synthetic_clips(clips),
        on_device_of_process(extractor),
        settings.options.cache_dir,
        num_codebooks=settings.options.num_codebooks,
        reading=reading_settings(settings),
        max_rejected_share=settings.data.max_rejected_share,
    )


def encode_beside_data(settings: Settings, extractor: AudioFormerFeatureExtractor) -> EncodedClips | None:
    """The same, where the run has data too: without them, synthetic clips take their place and some are held out."""
    has_data = settings.data.data is not None or settings.options.codes is not None
    return encode_synthetic_clips(settings, extractor) if has_data else None


def on_device_of_process(extractor: AudioFormerFeatureExtractor) -> AudioFormerFeatureExtractor:
    """The extractor, on the GPU of this process if it has one."""
    device = PartialState().device
    return extractor.with_codebooks(extractor.codebooks).to(device) if device.type == "cuda" else extractor
