"""Reading audio from any source: the only place in the package that opens audio files."""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

import numpy as np
import soundfile

from audioformer.feature_extraction.waveforms import check_sampling_rate, resample

AudioSource: TypeAlias = Any
"""A path (`str` or `os.PathLike`), a dict with `"array"` and `"sampling_rate"`, a dict with `"bytes"` or `"path"` (as
`datasets` stores audio), or an open binary file."""

_LONGEST_STATED_LENGTH = 1 << 40
"""libsndfile states a length above this for a file whose header does not say how long it is."""

_SAMPLES_PER_BLOCK = 1 << 20


class OpenAudio(Protocol):
    """Audio that can be read piece by piece.

    Attributes:
        sampling_rate (`int`): Sampling rate of the source in Hz.
        num_samples (`int`): Length of the source in samples, as its header states it.
    """

    sampling_rate: int
    num_samples: int

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the samples from `start` up to `stop` as mono float32 of shape `(num_samples,)`.

        The result is shorter than `stop - start` where the audio ends before `stop`.
        """
        ...


@contextmanager
def open_audio(source: AudioSource) -> Iterator[OpenAudio]:
    """Open audio for reading piece by piece.

    soundfile reads WAV, FLAC, OGG, MP3, AIFF and more, one piece at a time. Formats that soundfile does not know, such
    as M4A or the sound track of a video, are decoded as a whole by torchcodec if it is installed. Files whose header
    does not state their length are decoded as a whole, too.

    Args:
        source (`str`, `os.PathLike`, `dict` or binary file): A path; `{"array": ..., "sampling_rate": ...}` with
            floating-point samples of shape `(num_samples,)` or `(num_channels, num_samples)`; `{"bytes": ...}` or
            `{"path": ...}`; or an open binary file.

    Yields:
        [`OpenAudio`]: Channels are averaged; the sampling rate is that of the source.

    Raises:
        ValueError: If the source cannot be read as audio.
        FileNotFoundError: If there is no such file.
    """
    if isinstance(source, Mapping) and source.get("array") is not None:
        yield _open_array(source)
        return
    file_or_path = _file_or_path(source)
    try:
        file = _SoundFile(file_or_path)
    # TypeError: soundfile takes a file named `.raw` for headerless PCM and asks for its sampling rate.
    except (soundfile.LibsndfileError, TypeError) as error:
        yield _read_with_torchcodec(file_or_path, error)
        return
    with file:
        if file.frames < _LONGEST_STATED_LENGTH:
            yield _FileAudio(file)
        else:
            yield _MemoryAudio(_read_to_the_end(file), file.samplerate)


def load_audio(path_or_file: AudioSource, sampling_rate: int | None = None) -> tuple[np.ndarray, int]:
    """Read audio as a mono waveform.

    soundfile reads WAV, FLAC, OGG, MP3, AIFF and more; everything else (such as M4A or the sound track of a video) is
    left to torchcodec, if it is installed.

    Args:
        path_or_file (`str`, `os.PathLike`, binary file or `dict`): Any source that [`open_audio`] opens.
        sampling_rate (`int`, *optional*): Sampling rate in Hz to resample to; by default that of the source is kept.

    Returns:
        `tuple[np.ndarray, int]`: The waveform of shape `(num_samples,)`, float32, channels averaged, and its sampling
        rate in Hz.

    Raises:
        ValueError: If the source cannot be read as audio or holds no samples, or a rate is not from 100 Hz to 10 MHz.
        FileNotFoundError: If there is no such file.
    """
    if sampling_rate is not None:
        check_sampling_rate(sampling_rate, "`sampling_rate`")
    with open_audio(path_or_file) as audio:
        waveform, own_rate = audio.read(0, audio.num_samples), audio.sampling_rate
    if not len(waveform):
        raise ValueError(f"{describe_source(path_or_file)} holds no samples.")
    check_sampling_rate(own_rate, f"The sampling rate of {describe_source(path_or_file)}")
    if sampling_rate is None:
        return np.ascontiguousarray(waveform), own_rate
    return np.ascontiguousarray(resample(waveform, own_rate, sampling_rate)), sampling_rate


def describe_source(source: AudioSource) -> str:
    """Name of an audio source for messages: its path where there is one, in quotes."""
    if isinstance(source, Mapping):
        return repr(source["path"]) if source.get("path") else "audio in memory"
    if isinstance(source, (str, os.PathLike)):
        return repr(os.fspath(source))
    return repr(getattr(source, "name", type(source).__name__))


class _SoundFile(soundfile.SoundFile):
    """Reads files of unknown length, too: soundfile seeks after every read, which libsndfile refuses for those."""

    def seekable(self) -> bool:
        return self.frames < _LONGEST_STATED_LENGTH and super().seekable()


class _FileAudio:
    """A file that soundfile decodes piece by piece."""

    def __init__(self, file: soundfile.SoundFile) -> None:
        self.file = file
        self.sampling_rate, self.num_samples = file.samplerate, file.frames

    def read(self, start: int, stop: int) -> np.ndarray:
        if start != self.file.tell():
            self.file.seek(start)
        return _to_mono(self.file.read(stop - start, dtype="float32", always_2d=True))


class _MemoryAudio:
    """Mono audio that is in memory already."""

    def __init__(self, waveform: np.ndarray, sampling_rate: int) -> None:
        self.waveform = waveform
        self.sampling_rate, self.num_samples = sampling_rate, len(waveform)

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.waveform[start:stop]


def _open_array(source: Mapping[str, Any]) -> _MemoryAudio:
    array = np.asarray(source["array"])
    if array.size and array.dtype.kind != "f":
        raise ValueError(f"audio in memory has samples of type {array.dtype}; floating point in [-1, 1] is required.")
    if array.ndim not in (1, 2):
        raise ValueError(
            f"audio in memory has shape {array.shape}; `(num_samples,)` or `(num_channels, num_samples)` is required."
        )
    rate = source.get("sampling_rate")
    if not rate or rate <= 0:
        raise ValueError(f"audio in memory needs a `sampling_rate` in Hz above 0, got {rate!r}.")
    check_sampling_rate(rate, "`sampling_rate` of audio in memory")
    waveform = array.astype(np.float32, copy=False)
    return _MemoryAudio(waveform if waveform.ndim == 1 else waveform.mean(axis=0), int(rate))


def _file_or_path(source: AudioSource) -> Any:
    if isinstance(source, Mapping):
        if source.get("bytes") is not None:
            return io.BytesIO(source["bytes"])
        if not source.get("path"):
            raise ValueError("the audio has neither a path nor bytes nor samples.")
        source = source["path"]
    if isinstance(source, (str, os.PathLike)):
        source = os.fspath(source)
        if not os.path.isfile(source):
            raise FileNotFoundError(f"There is no audio file {source!r}.")
    elif not hasattr(source, "read"):
        raise ValueError(
            f"audio must be a path, a binary file, or a dict with 'bytes', 'path' or 'array', got a "
            f"{type(source).__name__}."
        )
    return source


def _read_to_the_end(file: soundfile.SoundFile) -> np.ndarray:
    blocks = []
    while True:
        block = file.read(_SAMPLES_PER_BLOCK, dtype="float32", always_2d=True)
        blocks.append(_to_mono(block))
        if len(block) < _SAMPLES_PER_BLOCK:
            return np.concatenate(blocks)


def _to_mono(samples: np.ndarray) -> np.ndarray:
    """Average the channels of samples of shape `(num_samples, num_channels)`."""
    return samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)


def _read_with_torchcodec(file_or_path: Any, soundfile_error: Exception) -> _MemoryAudio:
    name = describe_source(file_or_path)
    try:
        # It loads the shared libraries of ffmpeg, and fails in several ways where they are missing.
        from torchcodec.decoders import AudioDecoder
    except Exception as error:
        raise ValueError(
            f"{name} cannot be read by soundfile ({soundfile_error}). Other formats need torchcodec and ffmpeg:"
            " `pip install torchcodec`."
        ) from error
    if hasattr(file_or_path, "seek"):
        file_or_path.seek(0)
    try:
        samples = AudioDecoder(file_or_path).get_all_samples()
    except Exception as error:
        raise ValueError(
            f"{name} can be read neither by soundfile ({soundfile_error}) nor by torchcodec ({error})."
        ) from error
    return _MemoryAudio(samples.data.mean(dim=0).numpy().astype(np.float32, copy=False), int(samples.sample_rate))
