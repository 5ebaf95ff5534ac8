"""What the page shows of a sound: an upload is checked, classified and drawn, with bounded memory and time."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from transformers import pipeline

from audioformer.model_cards import TINY_ESC10
from audioformer.training.classifiers import labels_of, read_classifier_config
from audioformer.training.families import ClipView, find_family, read_model_type

from ..classify import FileScores, classify_file, move_extractor, read_windows, sampling_rate_of

SAMPLING_RATES = (1_000, 768_000)
"""Lowest and highest accepted rate in Hz; a header can claim rates that no memory has room for."""

MAX_CHANNELS = 64
"""Most channels of an accepted file."""


@dataclass(frozen=True)
class ClassifiedSound:
    """A sound as the page shows it.

    Args:
        scores (`FileScores`): Scores of the whole and of each window.
        waveform (`np.ndarray` of shape `(num_samples,)`): The whole sound, mono.
        sampling_rate (`int`): Rate of `waveform` in Hz.
        view (`ClipView`, *optional*): The first window as the model receives it.
        view_s (`float`): Duration of that window in seconds.
    """

    scores: FileScores
    waveform: np.ndarray
    sampling_rate: int
    view: ClipView | None
    view_s: float


class SoundClassifier:
    """A classifier that accepts files from strangers.

    Args:
        model (`str`, *optional*): Folder or Hub id of a classifier with its feature extractor. Without it, the small
            one that comes with the package.
        device (`str`, defaults to `"cpu"`): Where the model runs.
        window_s (`float`, defaults to 10.0): Longest stretch in seconds that is classified at once.
        max_minutes (`float`, defaults to 10.0): Longest accepted sound.
        max_mb (`float`, defaults to 50.0): Largest accepted file, in MB.

    Raises:
        ValueError: If there is no such model, it is not a classifier of a known family, or a number is not above 0.
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
        self.family = find_family(read_model_type(location), f"`model` {location!r}")
        read_classifier_config(self.family, location)
        try:
            self.classifier = pipeline("audio-classification", model=location, device=device)
        except (OSError, ValueError, RuntimeError) as error:
            raise ValueError(f"`model` {location!r} cannot be loaded: {error}") from error
        move_extractor(self.classifier)
        self.window_s = window_s
        self.max_minutes = max_minutes
        self.max_mb = max_mb
        # Loads what the front end needs, and reports now what is wrong with it.
        self._view(np.zeros(sampling_rate_of(self.classifier), dtype=np.float32))

    @property
    def labels(self) -> list[str]:
        """All labels of the model."""
        return labels_of(self.classifier.model.config)

    def __call__(self, path: str | Path) -> ClassifiedSound:
        """Classify a file.

        Args:
            path (`str` or `Path`): Any file at all; its name may appear in messages, its folder does not.

        Returns:
            `ClassifiedSound`: What the model made of it.

        Raises:
            ValueError: If the file is empty, not audio, too large or too long, has a rate or a number of channels that
                is not accepted, or holds samples that are not finite.
        """
        path = Path(path)
        self._check_header(path)
        sampling_rate = sampling_rate_of(self.classifier)
        try:
            windows = list(read_windows(path, self.window_s, sampling_rate))
            if not all(np.isfinite(window).all() for _, window in windows):
                raise ValueError(f"{path.name} holds NaN or infinite samples.")
            scores = classify_file(path, self.classifier, self.window_s)
        except ValueError as error:
            # The folder of an upload is private.
            raise ValueError(str(error).replace(str(path), path.name)) from error
        first_s, first = windows[0]
        waveform = np.concatenate([window for _, window in windows])
        return ClassifiedSound(scores, waveform, sampling_rate, self._view(first), first_s)

    def _view(self, waveform: np.ndarray) -> ClipView | None:
        if self.family.view is None:
            return None
        return self.family.view(self.classifier.model, self.classifier.feature_extractor, waveform)

    def _check_header(self, path: Path) -> None:
        """Refuse what would fail, or take too much memory or time, before a sample is read."""
        name, size_mb = path.name, path.stat().st_size / 1e6
        if size_mb == 0:
            raise ValueError(f"{name} is an empty file.")
        if size_mb > self.max_mb:
            raise ValueError(f"{name} has {size_mb:,.1f} MB; up to {self.max_mb:g} MB are accepted.")
        try:
            info = soundfile.info(str(path))
        # TypeError: soundfile takes a file named `.raw` for raw PCM, and asks for its rate.
        except (OSError, soundfile.SoundFileError, TypeError) as error:
            raise ValueError(
                f"{name} cannot be read as sound. WAV, FLAC, OGG, MP3 and AIFF can, among others."
            ) from error
        if info.frames == 0:
            raise ValueError(f"{name} holds no samples.")
        lowest, highest = SAMPLING_RATES
        if not lowest <= info.samplerate <= highest:
            raise ValueError(
                f"{name} has a rate of {info.samplerate:,} Hz; {lowest:,} to {highest:,} Hz are accepted."
            )
        if info.channels > MAX_CHANNELS:
            raise ValueError(f"{name} has {info.channels} channels; up to {MAX_CHANNELS} are accepted.")
        if info.duration > 60 * self.max_minutes:
            raise ValueError(
                f"{name} lasts {info.duration / 60:,.1f} minutes; up to {self.max_minutes:g} minutes are accepted."
            )
