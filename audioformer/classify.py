"""Classify audio of any length: windows in, scores with times out."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm
from transformers import AudioClassificationPipeline

from audioformer.data.audio import OpenAudio, ReadingSettings, open_audio, window_starts
from audioformer.data.audio.reading import AudioSource, describe_shortfall, describe_source, resample
from audioformer.data.audio.windows import READING_ERRORS, OverlapReader, lengths_in_samples
from audioformer.evaluation import window_weights


@dataclass(frozen=True)
class WindowScores:
    """Scores of one window.

    Args:
        start_s (`float`): Beginning of the window in the file, in seconds.
        end_s (`float`): End of the window in the file, in seconds.
        scores (`dict[str, float]`): Score of each label, highest first.
    """

    start_s: float
    end_s: float
    scores: dict[str, float]


@dataclass(frozen=True)
class FileScores:
    """Scores of a whole file: the mean over its windows, in which each moment counts once, see [`window_weights`].

    Args:
        path (`str`): Path of the file.
        duration_s (`float`): Length of the file in seconds.
        scores (`dict[str, float]`): Score of each label, highest first.
        windows (`list[WindowScores]`): Scores of each window.
        shortfall (`str`, *optional*): How much of the file could be decoded, if its header states more.
    """

    path: str
    duration_s: float
    scores: dict[str, float]
    windows: list[WindowScores]
    shortfall: str | None = None


def read_windows(
    source: AudioSource, window_s: float, sampling_rate: int, hop_s: float | None = None
) -> Iterator[tuple[float, float, np.ndarray]]:
    """Read audio window by window, so that memory does not grow with its length.

    The last window is moved back to be whole, see [`window_starts`].

    Args:
        source (`str`, `os.PathLike`, `dict` or binary file): Any source that [`open_audio`] opens.
        window_s (`float`): Length of a window in seconds.
        sampling_rate (`int`): Sampling rate of the windows in Hz.
        hop_s (`float`, *optional*): Seconds from one window to the next; by default, windows follow each other without
            overlap.

    Yields:
        `tuple[float, float, np.ndarray]`: Beginning and end of the window in seconds, and its mono float32 waveform of
        shape `(num_samples,)`.

    Raises:
        ValueError: If a length is not allowed, or the source cannot be read as audio, holds no samples, or holds NaN
            or infinite samples.
    """
    with _open_windows(source, window_s, hop_s, sampling_rate) as windows:
        yield from windows


def classify_file(
    source: AudioSource,
    classifier: AudioClassificationPipeline,
    window_s: float = ReadingSettings.max_length_s,
    progress: bool = False,
    hop_s: float | None = None,
) -> FileScores:
    """Classify audio of any format, sampling rate, number of channels and length.

    Args:
        source (`str`, `os.PathLike`, `dict` or binary file): A path, `{"bytes": ...}`,
            `{"array": ..., "sampling_rate": ...}`, or an open file, see [`open_audio`].
        classifier (`AudioClassificationPipeline`): From `pipeline("audio-classification", model=...)`, of any model
            whose feature extractor has a `sampling_rate`.
        window_s (`float`, defaults to 10.0): Length in seconds of the longest stretch that is classified at once.
        progress (`bool`, defaults to `False`): Whether to show a progress bar over the windows on standard error.
        hop_s (`float`, *optional*): Seconds from one window to the next, at most `window_s`, which is the default.

    Returns:
        `FileScores`: Scores of the whole file and of each window.

    Raises:
        ValueError: If `window_s` is not positive, `hop_s` is not above 0 or more than `window_s`, the classifier has
            no feature extractor, or the source cannot be read as audio, holds no samples, or holds NaN or infinite
            samples.
    """
    name = _name(source)
    scored: list[WindowScores] = []
    with _open_windows(source, window_s, hop_s, sampling_rate_of(classifier)) as windows:
        bar = tqdm(windows, total=len(windows), desc=name, unit="window", disable=not progress, leave=False)
        for start_s, end_s, waveform in bar:
            scores = {entry["label"]: entry["score"] for entry in classifier(waveform, top_k=None)}
            scored.append(WindowScores(start_s, end_s, scores))
    starts_s, ends_s = (np.array([getattr(window, edge) for window in scored]) for edge in ("start_s", "end_s"))
    weights = window_weights(starts_s, ends_s)
    means = {
        label: float(np.average([window.scores[label] for window in scored], weights=weights))
        for label in scored[0].scores
    }
    ranked = dict(sorted(means.items(), key=lambda entry: -entry[1]))
    return FileScores(name, windows.duration_s, ranked, scored, windows.shortfall)


def sampling_rate_of(classifier: AudioClassificationPipeline) -> int:
    """Sampling rate in Hz of the waveforms that a pipeline takes.

    Raises:
        ValueError: If it has no feature extractor.
    """
    if classifier.feature_extractor is None:
        raise ValueError("`classifier` must have a feature extractor, which determines the sampling rate.")
    return classifier.feature_extractor.sampling_rate


class _Windows:
    """The windows of open audio.

    Attributes:
        duration_s (`float`): Length of the audio in seconds: what can be decoded of it, and once all windows were
            read, what was.
        shortfall (`str`, *optional*): How much of the audio can be decoded, if its header states more.
    """

    def __init__(self, audio: OpenAudio, name: str, settings: ReadingSettings, sampling_rate: int) -> None:
        self.audio, self.name, self.sampling_rate = OverlapReader(audio), name, sampling_rate
        self.shortfall = describe_shortfall(audio)
        self.window_length, self.hop_length = lengths_in_samples(settings, audio.sampling_rate)
        self.starts = self._starts(audio.num_samples)
        self.duration_s = audio.num_samples / audio.sampling_rate

    def __len__(self) -> int:
        return len(self.starts)

    def __iter__(self) -> Iterator[tuple[float, float, np.ndarray]]:
        """Yield beginning and end of each window in seconds, and its waveform."""
        end = self.audio.num_samples
        for number, start in enumerate(self.starts):
            stop = min(start + self.window_length, end)
            samples = self._read(start, stop)
            if start + len(samples) < stop:
                # The file was cut off: it ends before the length that its header states.
                yield from self._rest(number, start + len(samples))
                return
            yield self._window(start, samples)

    def _rest(self, number: int, end: int) -> Iterator[tuple[float, float, np.ndarray]]:
        """Yield the windows from `number` on of a file that ends at the sample `end`."""
        if not end:
            raise ValueError(f"{self.name} holds no samples")
        self.duration_s = end / self.audio.sampling_rate
        for start in self._starts(end)[number:]:
            yield self._window(start, self._read(start, min(start + self.window_length, end)))

    def _starts(self, end: int) -> list[int]:
        return window_starts(0, end, self.window_length, self.audio.sampling_rate, self.hop_length)

    def _read(self, start: int, stop: int) -> np.ndarray:
        try:
            samples = self.audio.read(start, stop)
        except READING_ERRORS as error:
            raise ValueError(f"{self.name}: not readable as audio: {error}") from error
        if not np.isfinite(samples).all():
            raise ValueError(f"{self.name} holds NaN or infinite samples")
        return samples

    def _window(self, start: int, samples: np.ndarray) -> tuple[float, float, np.ndarray]:
        rate = self.audio.sampling_rate
        return start / rate, (start + len(samples)) / rate, resample(samples, rate, self.sampling_rate)


@contextmanager
def _open_windows(source: AudioSource, window_s: float, hop_s: float | None, sampling_rate: int) -> Iterator[_Windows]:
    if not 0 < window_s < float("inf"):
        raise ValueError(f"window_s must be more than 0 s, got {window_s}")
    settings = ReadingSettings(max_length_s=window_s, hop_s=hop_s)
    name = _name(source)
    with ExitStack() as stack:
        try:
            audio = stack.enter_context(open_audio(source))
        except READING_ERRORS as error:
            raise ValueError(f"{name}: not readable as audio: {error}") from error
        if not audio.num_samples:
            raise ValueError(f"{name} holds no samples")
        yield _Windows(audio, name, settings, sampling_rate)


def _name(source: AudioSource) -> str:
    return os.fspath(source) if isinstance(source, (str, os.PathLike)) else describe_source(source)


def move_extractor(classifier: AudioClassificationPipeline) -> None:
    """Let the feature extractor of a pipeline work on its device, if it can: `pipeline` moves only the model.

    Args:
        classifier (`AudioClassificationPipeline`): The pipeline.
    """
    move = getattr(classifier.feature_extractor, "to", None)
    if callable(move):
        move(classifier.device)
