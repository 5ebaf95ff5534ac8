"""What the page shows of a sound: an upload is checked, classified, and encoded, with bounded memory and time."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from transformers import pipeline

from audioformer.classify import FileScores, classify_file, read_windows
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_ESC10
from audioformer.training.classifiers import is_classifier, read_config

SAMPLING_RATES = (1_000, 768_000)
"""Lowest and highest rate in Hz of a file that is taken; a header can claim rates that no memory has room for."""

MAX_CHANNELS = 64
"""Most channels of a file that is taken."""

SHOWN_CODEBOOKS = 4
"""Most rows of codes that are shown; the paper uses four."""


@dataclass(frozen=True)
class HeardSound:
    """A sound as the page shows it.

    Args:
        scores (`FileScores`): Scores of the whole and of each window.
        waveform (`np.ndarray` of shape `(samples,)`): The whole sound, mono.
        sampling_rate (`int`): Rate of `waveform` in Hz.
        codes (`np.ndarray` of shape `(rows, frames)`): Codes of the first window, rows C1, C2, ...
        codes_s (`float`): How much of the sound `codes` stand for, in seconds.
    """

    scores: FileScores
    waveform: np.ndarray
    sampling_rate: int
    codes: np.ndarray
    codes_s: float


class Listener:
    """A classifier that takes files from strangers.

    Args:
        model (`str`, *optional*): Folder or Hub id of an AudioFormer classifier with its feature extractor. Without
            it, the small one that comes with the package.
        device (`str`, defaults to `"cpu"`): Where model and codec run.
        window_s (`float`, defaults to 10.0): Longest stretch in seconds that is classified at once.
        max_minutes (`float`, defaults to 10.0): Longest sound that is taken.
        max_mb (`float`, defaults to 50.0): Largest file that is taken, in MB.

    Raises:
        ValueError: If there is no such model, it is no AudioFormer classifier, or a number is not more than 0.
    """

    def __init__(
        self,
        model: str | None = None,
        device: str = "cpu",
        window_s: float = 10.0,
        max_minutes: float = 10.0,
        max_mb: float = 50.0,
    ):
        for name, value in (("window_s", window_s), ("max_minutes", max_minutes), ("max_mb", max_mb)):
            if not 0 < value < float("inf"):
                raise ValueError(f"`{name}` must be more than 0, got {value}.")
        self.name = TINY_ESC10.name if model is None else model
        location = str(TINY_ESC10) if model is None else model
        config = read_config(location)
        if not is_classifier(config):
            # `pipeline` would put a head of random numbers on it.
            raise ValueError(
                f"`model` {model!r} must be a classifier, it is a {', '.join(config.architectures or [])}."
            )
        try:
            self.classifier = pipeline("audio-classification", model=location, device=device)
        except (OSError, ValueError, RuntimeError) as error:
            raise ValueError(f"`model` {location!r} cannot be loaded: {error}") from error
        self.window_s = window_s
        self.max_minutes = max_minutes
        self.max_mb = max_mb
        self._shown_codebooks = _with_shown_codebooks(self.classifier.feature_extractor)

    @property
    def labels(self) -> list[str]:
        """Everything that the model can answer with."""
        return list(self.classifier.model.config.label2id)

    @property
    def row(self) -> int:
        """The row of codes that the model reads, from 0."""
        return self.classifier.model.config.codebook

    def __call__(self, path: str | Path) -> HeardSound:
        """Listen to a file.

        Args:
            path (`str` or `Path`): Any file at all; its name may appear in messages, its folder does not.

        Returns:
            `HeardSound`: What the model made of it.

        Raises:
            ValueError: If the file is empty, not audio, too large or too long, has a rate or a number of channels that
                is not taken, or holds samples that are not finite.
        """
        path = Path(path)
        self._check_header(path)
        sampling_rate = self.classifier.feature_extractor.sampling_rate
        try:
            windows = list(read_windows(path, self.window_s, sampling_rate))
            if not all(np.isfinite(window).all() for _, window in windows):
                raise ValueError(f"{path.name} holds NaN or infinite samples.")
            scores = classify_file(path, self.classifier, self.window_s)
        except ValueError as error:
            # The folder of an upload is nobody's business.
            raise ValueError(str(error).replace(str(path), path.name)) from error
        codes_s, first = windows[0]
        codes = self._shown_codebooks.encode(first, sampling_rate)[0].T
        return HeardSound(scores, np.concatenate([w for _, w in windows]), sampling_rate, codes, codes_s)

    def _check_header(self, path: Path) -> None:
        """Refuse what would fail, or take too much memory or time, before a sample is read."""
        name, size_mb = path.name, path.stat().st_size / 1e6
        if size_mb == 0:
            raise ValueError(f"{name} is an empty file.")
        if size_mb > self.max_mb:
            raise ValueError(f"{name} has {size_mb:,.1f} MB; up to {self.max_mb:g} MB are taken.")
        try:
            info = soundfile.info(str(path))
        # TypeError: soundfile takes a file named `.raw` for raw PCM, and asks for its rate.
        except (OSError, soundfile.SoundFileError, TypeError) as error:
            raise ValueError(
                f"{name} is not a sound that can be read. WAV, FLAC, OGG, MP3 and AIFF can, among others."
            ) from error
        if info.frames == 0:
            raise ValueError(f"{name} holds no samples.")
        lowest, highest = SAMPLING_RATES
        if not lowest <= info.samplerate <= highest:
            raise ValueError(f"{name} has a rate of {info.samplerate:,} Hz; {lowest:,} to {highest:,} Hz are taken.")
        if info.channels > MAX_CHANNELS:
            raise ValueError(f"{name} has {info.channels} channels; up to {MAX_CHANNELS} are taken.")
        if info.duration > 60 * self.max_minutes:
            raise ValueError(
                f"{name} lasts {info.duration / 60:,.1f} minutes; up to {self.max_minutes:g} minutes are taken."
            )


def _with_shown_codebooks(extractor: AudioFormerFeatureExtractor) -> AudioFormerFeatureExtractor:
    """A copy with the same codec that reads the first codebooks: as many as are shown, or as the codec has."""
    # Loads the codec, so that `with_codebooks` can check what it has.
    extractor.codec  # noqa: B018
    for count in range(SHOWN_CODEBOOKS, 1, -1):
        with suppress(ValueError):
            return extractor.with_codebooks(list(range(count)))
    return extractor.with_codebooks([0])
