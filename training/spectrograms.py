"""What the records of families whose models read spectrograms have in common."""

from typing import Any, TypeVar

import numpy as np
from transformers import PreTrainedConfig

from audioformer.feature_extraction.spectrograms import SpectrogramFeatureExtractor

from .families import ClipView

Extractor = TypeVar("Extractor", bound=SpectrogramFeatureExtractor)


def check_extractor(config: PreTrainedConfig, extractor: SpectrogramFeatureExtractor) -> None:
    """Check that a checkpoint reads the spectrograms of an extractor.

    Raises:
        ValueError: If they differ in mel bins, patches or rates.
    """
    for name, value in extractor.model_config().items():
        if getattr(config, name) != value:
            raise ValueError(
                f"`model` {config.name_or_path!r} has `{name}` {getattr(config, name)}, its extractor makes {value}."
            )


def describe_level(extractor: SpectrogramFeatureExtractor) -> str:
    """What a card says about the level of what a model reads, after a description of it; nothing if it varies."""
    return f", every clip at an RMS of {extractor.target_rms:g}" if extractor.normalize else ""


def view_spectrogram(model: Any, extractor: SpectrogramFeatureExtractor, waveform: np.ndarray, kind: str) -> ClipView:
    """The spectrogram of a clip.

    Args:
        model (`PreTrainedModel`): Not used: all models of a family read the same.
        extractor ([`SpectrogramFeatureExtractor`]): Makes the spectrogram.
        waveform (`np.ndarray` of shape `(num_samples,)`): Mono, at the sampling rate of the extractor.
        kind (`str`): What the spectrograms of the family are called.

    Returns:
        [`ClipView`]: Of shape `(num_mel_bins, num_frames)`.
    """
    features = extractor(waveform, sampling_rate=extractor.sampling_rate, return_tensors="np")["input_features"]
    return ClipView(features[0].T, f"{kind}, {extractor.feature_size} bins")


def open_saved_extractor(extractor_class: type[Extractor], model: str, revision: str | None) -> Extractor:
    """The feature extractor of a model, to be exported.

    Args:
        extractor_class (type): Class of the extractors of the family.
        model (`str`): A folder or a Hub id.
        revision (`str`, *optional*): Branch, tag or commit on the Hub.

    Raises:
        ValueError: If the folder has no feature extractor.
    """
    try:
        return extractor_class.from_pretrained(model, revision=revision or "main")
    except OSError as error:
        raise ValueError(f"`--model` {model!r} has no feature extractor, so no filterbank: {error}") from error
