"""What the page shows of a sound: an upload is checked, classified and drawn, with bounded memory and time."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from transformers import pipeline

from audioformer.data.audio import Window, read_window
from audioformer.data.audio.reading import LONGEST_STATED_LENGTH, count_samples
from audioformer.data.audio.windows import check_hop
from audioformer.data.listing import ListedClip
from audioformer.model_cards import TINY_ESC10
from audioformer.training.classifiers import labels_of, read_classifier_config
from audioformer.training.families import ClipView, find_family, read_model_type

from ..classify import FileScores, classify_file, move_extractor, read_windows, sampling_rate_of

SAMPLING_RATES = (1_000, 768_000)
"""Lowest and highest accepted rate in Hz; a header can claim rates that no memory has room for."""

MAX_CHANNELS = 64
"""Most channels of an accepted file."""


@dataclass(frozen=True)
class HeardWindow:
    """A window as it sounds, and as the model receives it.

    Args:
        start_s (`float`): Beginning of the window in the sound, in seconds.
        end_s (`float`): End of the window in the sound, in seconds.
        waveform (`np.ndarray` of shape `(num_samples,)`): Mono samples.
        sampling_rate (`int`): Rate of `waveform` in Hz.
        view (`ClipView`, *optional*): What the model receives, where its family can show it.
    """

    start_s: float
    end_s: float
    waveform: np.ndarray
    sampling_rate: int
    view: ClipView | None


@dataclass(frozen=True)
class ClassifiedSound:
    """A sound as the page shows it.

    Args:
        scores (`FileScores`): Scores of the whole and of each window.
        waveform (`np.ndarray` of shape `(num_samples,)`): The whole sound, mono.
        sampling_rate (`int`): Rate of `waveform` in Hz.
        heard ([`HeardWindow`]): The first window.
    """

    scores: FileScores
    waveform: np.ndarray
    sampling_rate: int
    heard: HeardWindow


class SoundClassifier:
    """A classifier that accepts files from strangers.

    Args:
        model (`str`, *optional*): Folder or Hub id of a classifier with its feature extractor. Without it, the small
            one that comes with the package.
        device (`str`, defaults to `"cpu"`): Where the model runs.
        window_s (`float`, defaults to 10.0): Longest stretch in seconds that is classified at once.
        max_minutes (`float`, defaults to 10.0): Longest accepted sound.
        max_mb (`float`, defaults to 50.0): Largest accepted file, in MB.
        hop_s (`float`, *optional*): Seconds from one window to the next, at most `window_s`, which is the default.

    Raises:
        ValueError: If there is no such model, it is not a classifier of a known family, a number is not above 0, or
            `hop_s` is more than `window_s`.
    """

    def __init__(
        self,
        model: str | None = None,
        device: str = "cpu",
        window_s: float = 10.0,
        max_minutes: float = 10.0,
        max_mb: float = 50.0,
        hop_s: float | None = None,
    ):
        for name, value in (("window_s", window_s), ("max_minutes", max_minutes), ("max_mb", max_mb)):
            if not 0 < value < float("inf"):
                raise ValueError(f"`{name}` must be more than 0, got {value}.")
        check_hop(hop_s, window_s)
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
        self.hop_s = hop_s
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
        pieces, first, heard_s = [], None, 0.0
        with _without_folder(path):
            for start_s, end_s, waveform in read_windows(path, self.window_s, sampling_rate, self.hop_s):
                if not np.isfinite(waveform).all():
                    raise ValueError(f"{path.name} holds NaN or infinite samples.")
                first = first or (start_s, end_s, waveform)
                # Windows may overlap: only what the ones before have not heard is new.
                pieces.append(waveform[round((heard_s - start_s) * sampling_rate) :])
                heard_s = end_s
            scores = classify_file(path, self.classifier, self.window_s, hop_s=self.hop_s)
        assert first is not None  # no samples are an error
        return ClassifiedSound(scores, np.concatenate(pieces), sampling_rate, self._heard(*first))

    def hear(self, path: str | Path, start_s: float, end_s: float) -> HeardWindow:
        """Read one window of a file again.

        Args:
            path (`str` or `Path`): A file that was classified.
            start_s (`float`): Beginning of the window in seconds, as in the scores of the file.
            end_s (`float`): Its end.

        Raises:
            ValueError: If the file is gone, is not accepted or cannot be read, or this is no window of it.
        """
        path = Path(path)
        # Whoever talks to the server without the page can ask for anything.
        if not 0 <= start_s < end_s <= start_s + self.window_s + 0.01:
            raise ValueError(f"{path.name} has no window from {start_s} to {end_s} s.")
        try:
            self._check_header(path)
            clip = ListedClip(path.name, str(path))
            with _without_folder(path):
                window = Window(clip, path.name, start_s, end_s, end_s - start_s, 0)
                waveform = read_window(window, sampling_rate_of(self.classifier))
        except FileNotFoundError as error:
            raise ValueError(f"{path.name} was deleted: upload it again.") from error
        return self._heard(start_s, end_s, waveform)

    def _heard(self, start_s: float, end_s: float, waveform: np.ndarray) -> HeardWindow:
        return HeardWindow(start_s, end_s, waveform, sampling_rate_of(self.classifier), self._view(waveform))

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
        if info.frames >= LONGEST_STATED_LENGTH:
            limit = round(60 * self.max_minutes * info.samplerate)
            minutes, lasts = (
                count_samples(path, limit + 1) / info.samplerate / 60,
                "does not state its length, and has more than",
            )
        else:
            minutes, lasts = info.duration / 60, "lasts"
        if minutes > self.max_minutes:
            raise ValueError(
                f"{name} {lasts} {minutes:,.1f} minutes; up to {self.max_minutes:g} minutes are accepted."
            )


@contextmanager
def _without_folder(path: Path) -> Iterator[None]:
    """Leave the folder of an upload, which is private, out of messages."""
    try:
        yield
    except ValueError as error:
        raise ValueError(str(error).replace(str(path), path.name)) from error
