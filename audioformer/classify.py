"""Classify audio files of any length: windows in, scores with times out."""

from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike

import numpy as np
import soundfile
import soxr
from tqdm.auto import tqdm
from transformers import AudioClassificationPipeline


@dataclass(frozen=True)
class WindowScores:
    """Scores of one stretch of a file, from `start_s` to `end_s` (seconds), best label first."""

    start_s: float
    end_s: float
    scores: dict[str, float]


@dataclass(frozen=True)
class FileScores:
    """Scores of a whole file, best label first: the mean over its windows, weighted by their lengths."""

    path: str
    duration_s: float
    scores: dict[str, float]
    windows: list[WindowScores]


def read_windows(path: str | PathLike[str], window_s: float, sampling_rate: int) -> Iterator[tuple[float, np.ndarray]]:
    """Read a file window by window, mixed to mono and resampled, so that memory does not grow with its length.

    Args:
        path (`str` or `PathLike`): Any file that soundfile reads.
        window_s (`float`): Length of a window in seconds; the last may be shorter.
        sampling_rate (`int`): Rate of the windows in Hz.

    Yields:
        `tuple[float, np.ndarray]`: Length of the window in seconds, and its float32 samples of shape `(samples,)`.

    Raises:
        ValueError: If the file cannot be read as audio, or holds no samples.
    """
    try:
        with soundfile.SoundFile(path) as audio:
            empty = True
            for block in audio.blocks(max(1, round(window_s * audio.samplerate)), dtype="float32", always_2d=True):
                empty = False
                window = soxr.resample(block.mean(axis=1), audio.samplerate, sampling_rate)
                # A block of a sample or two can resample to nothing at a lower rate.
                yield len(block) / audio.samplerate, window if len(window) else block.mean(axis=1)[:1]
    except (OSError, soundfile.SoundFileError) as error:
        raise ValueError(f"{path}: not readable as audio: {error}") from error
    if empty:
        raise ValueError(f"{path}: holds no samples")


def _num_windows(path: str | PathLike[str], window_s: float) -> int | None:
    """How many windows `read_windows` gives, for a progress bar; `None` where the header does not say."""
    try:
        info = soundfile.info(str(path))
    except (OSError, soundfile.SoundFileError):
        return None
    return -(-info.frames // max(1, round(window_s * info.samplerate)))


def classify_file(
    path: str | PathLike[str],
    classifier: AudioClassificationPipeline,
    window_s: float = 10.0,
    progress: bool = False,
) -> FileScores:
    """Classify one audio file of any format soundfile reads, any rate, any number of channels and any length.

    Args:
        path (`str` or `PathLike`): The file.
        classifier (`AudioClassificationPipeline`): From `pipeline("audio-classification", model=...)`.
        window_s (`float`, defaults to 10.0): Longest stretch in seconds that is classified at once.
        progress (`bool`, defaults to `False`): Show a progress bar over the windows on standard error.

    Returns:
        `FileScores`: Scores of the whole and of each window.

    Raises:
        ValueError: If `window_s` is not positive, the file cannot be read as audio, or it holds no samples.
    """
    if not window_s > 0:
        raise ValueError(f"window_s must be more than 0 s, got {window_s}")
    sampling_rate = classifier.feature_extractor.sampling_rate
    windows: list[WindowScores] = []
    start_s = 0.0
    bar = tqdm(total=_num_windows(path, window_s), desc=str(path), unit="window", disable=not progress, leave=False)
    with bar:
        for length_s, waveform in read_windows(path, window_s, sampling_rate):
            scores = {s["label"]: s["score"] for s in classifier(waveform, top_k=None)}
            windows.append(WindowScores(start_s, start_s + length_s, scores))
            start_s += length_s
            bar.update()
    lengths_s = np.array([w.end_s - w.start_s for w in windows])
    means = {label: np.average([w.scores[label] for w in windows], weights=lengths_s) for label in windows[0].scores}
    ranked = dict(sorted(((label, float(score)) for label, score in means.items()), key=lambda item: -item[1]))
    return FileScores(str(path), start_s, ranked, windows)
