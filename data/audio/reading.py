"""Reading audio from any source: the only place in the package that opens audio files."""

import io
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

import numpy as np
import soundfile

from audioformer.feature_extraction.waveforms import check_sampling_rate, resample

AudioSource: TypeAlias = Any
"""A path (`str` or `os.PathLike`), a dict with `"array"` and `"sampling_rate"`, a dict with `"bytes"` or `"path"` (as
`datasets` stores audio), or an open binary file."""

LONGEST_STATED_LENGTH = 1 << 40
"""libsndfile states a length above this for a file whose header does not say how long it is."""

_SAMPLES_PER_BLOCK = 1 << 20

_FORMATS_WITH_CLAIMS = ("MP3", "FLAC")
"""Formats whose length is what their header claims, or an estimate; libsndfile counts the samples of the others."""
_SAMPLES_PER_PROBE = 1 << 12
_STATED_BYTES = re.compile(r"^\s*(?:data|SSND|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""How libsndfile's log of a header says that a WAV, AIFF or AU file has less data than it states."""
_LARGEST_STATED_BYTES = 0x7FFF0000
"""Programs that write to a pipe state sizes above this because they do not know how much will follow."""
_LONGEST_NAME = 200


class OpenAudio(Protocol):
    """Audio that can be read piece by piece.

    Attributes:
        sampling_rate (`int`): Sampling rate of the source in Hz.
        num_samples (`int`): Number of samples that can be decoded.
        stated_samples (`int`): Length in samples as the header states it, or as it was estimated; more than
            `num_samples` where a file was cut off.
    """

    sampling_rate: int
    num_samples: int
    stated_samples: int

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
    does not state their length are decoded as a whole, too. The last samples of MP3 and FLAC files are looked up: if
    they are not there, the file was cut off, and is decoded once to find out where it ends.

    Args:
        source (`str`, `os.PathLike`, `dict` or binary file): A path; `{"array": ..., "sampling_rate": ...}` with
            floating-point samples of shape `(num_samples,)` or `(num_channels, num_samples)`; `{"bytes": ...}` or
            `{"path": ...}`; or an open binary file.

    Yields:
        [`OpenAudio`]: Channels are averaged; the sampling rate is that of the source.

    Raises:
        ValueError: If the source cannot be read as audio, or its sampling rate is not in [100 Hz, 10 MHz].
        FileNotFoundError: If there is no such file.
    """
    if isinstance(source, Mapping) and source.get("array") is not None:
        yield _open_array(source)
        return
    file_or_path, name = _file_or_path(source), describe_source(source)
    try:
        file = _open(file_or_path)
    # TypeError: soundfile takes a file named `.raw` for headerless PCM and asks for its sampling rate.
    except (soundfile.LibsndfileError, TypeError) as error:
        yield _read_with_torchcodec(file_or_path, name, error)
        return
    with file:
        check_sampling_rate(file.samplerate, f"The sampling rate of {name}")
        num_samples = file.frames
        if num_samples >= LONGEST_STATED_LENGTH:
            yield _MemoryAudio(_read_to_the_end(file, name), file.samplerate)
            return
        if not num_samples or file.format not in _FORMATS_WITH_CLAIMS:
            yield _FileAudio(file, name, num_samples)
            return
        has_end = _has_sample(file, num_samples - 1)
    if not has_end:
        with _open(file_or_path) as file:
            num_samples = _count_decodable(file, file.frames)
    # Opened again: an MP3 that is read from its beginning after a jump differs in the last bits.
    with _open(file_or_path) as file:
        yield _FileAudio(file, name, num_samples)


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

    A warning says so if the file ends before the length that its header states.

    Raises:
        ValueError: If the source cannot be read as audio, holds no samples, or holds NaN or infinite samples, or a
            rate is not from 100 Hz to 10 MHz.
        FileNotFoundError: If there is no such file.
    """
    if sampling_rate is not None:
        check_sampling_rate(sampling_rate, "`sampling_rate`")
    with open_audio(path_or_file) as audio:
        waveform, own_rate = audio.read(0, audio.num_samples), audio.sampling_rate
        missing = describe_shortfall(audio)
    name = describe_source(path_or_file)
    if not len(waveform):
        raise ValueError(f"{name} holds no samples.")
    if not np.isfinite(waveform).all():
        raise ValueError(f"{name} holds NaN or infinite samples.")
    if missing is not None:
        warnings.warn(f"{name}: {missing}", stacklevel=2)
    if sampling_rate is None:
        return np.ascontiguousarray(waveform), own_rate
    return np.ascontiguousarray(resample(waveform, own_rate, sampling_rate)), sampling_rate


def describe_source(source: AudioSource) -> str:
    """Name of an audio source for messages: its path where there is one, in quotes."""
    if isinstance(source, Mapping):
        path = source.get("path")
        return repr(shorten(str(path))) if path else "audio in memory"
    if isinstance(source, (str, os.PathLike)):
        return repr(shorten(str(os.fspath(source))))
    return repr(getattr(source, "name", type(source).__name__))


def shorten(name: str) -> str:
    """The beginning and the end of a name that is too long for a message."""
    half = _LONGEST_NAME // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[:half]}...{name[-half:]}"


def describe_shortfall(audio: OpenAudio) -> str | None:
    """Say how much of what a header states can be decoded; `None` if all of it can.

    What two frames of an MP3 hold, which decoders may leave out at either end, is not worth a word.
    """
    if audio.stated_samples - audio.num_samples <= 2 * 1152:
        return None
    rate = audio.sampling_rate
    return (
        f"{audio.num_samples / rate:.1f} s of the {audio.stated_samples / rate:.1f} s that its header states can be "
        "decoded; the file was cut off, or its header is wrong"
    )


class _SoundFile(soundfile.SoundFile):
    """Reads files of unknown length, too: soundfile seeks after every read, which libsndfile refuses for those."""

    def seekable(self) -> bool:
        return self.frames < LONGEST_STATED_LENGTH and super().seekable()


class _FileAudio:
    """A file that soundfile decodes piece by piece."""

    def __init__(self, file: soundfile.SoundFile, name: str, num_samples: int) -> None:
        self.file, self.name = file, name
        self.sampling_rate, self.num_samples = file.samplerate, num_samples
        self.stated_samples = _stated_samples(file)

    def read(self, start: int, stop: int) -> np.ndarray:
        try:
            if start != self.file.tell():
                self.file.seek(start)
            count = max(0, min(stop, self.num_samples) - start)
            return _to_mono(self.file.read(count, dtype="float32", always_2d=True))
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{self.name} cannot be decoded: {error.error_string}") from error


class _MemoryAudio:
    """Mono audio that is in memory already."""

    def __init__(self, waveform: np.ndarray, sampling_rate: int) -> None:
        self.waveform = waveform
        self.sampling_rate, self.num_samples = sampling_rate, len(waveform)
        self.stated_samples = self.num_samples

    def read(self, start: int, stop: int) -> np.ndarray:
        return self.waveform[start:stop]


def _open(file_or_path: Any) -> _SoundFile:
    """Open a file, or open it again."""
    if hasattr(file_or_path, "seek"):
        file_or_path.seek(0)
    # As bytes: file names need not be Unicode.
    return _SoundFile(os.fsencode(file_or_path) if isinstance(file_or_path, str) else file_or_path)


def _has_sample(file: soundfile.SoundFile, position: int) -> bool:
    try:
        file.seek(position)
        return len(file.read(1)) == 1
    except soundfile.LibsndfileError:
        return False


def count_samples(path: str | os.PathLike[str], limit: int) -> int:
    """Count the samples of a file that does not state its length; stops soon after `limit` of them."""
    with _open(os.fspath(path)) as file:
        return _count_decodable(file, limit)


def _count_decodable(file: soundfile.SoundFile, limit: int) -> int:
    """Count the samples that can be decoded, until there are `limit` of them."""
    num_samples = 0
    try:
        # Small pieces: of a piece with an error nothing is returned.
        while num_samples < limit and (piece := len(file.read(_SAMPLES_PER_PROBE, dtype="float32"))):
            num_samples += piece
    except soundfile.LibsndfileError:
        pass
    return num_samples


def _stated_samples(file: soundfile.SoundFile) -> int:
    """Length in samples that the header of a file states, where libsndfile itself counts what there is."""
    found = None if file.format in _FORMATS_WITH_CLAIMS else _STATED_BYTES.search(file.extra_info)
    if found is None:
        return file.frames
    stated, there = int(found[1]), int(found[2])
    if not there < stated < _LARGEST_STATED_BYTES:
        return file.frames
    return max(file.frames, round(file.frames * stated / max(there, 1)))


def _open_array(source: Mapping[str, Any]) -> _MemoryAudio:
    array = np.asarray(source["array"])
    if array.size and array.dtype.kind != "f":
        raise ValueError(f"audio in memory has samples of type {array.dtype}; floating point in [-1, 1] is required.")
    if array.ndim not in (1, 2):
        raise ValueError(
            f"audio in memory has shape {array.shape}; `(num_samples,)` or `(num_channels, num_samples)` is required."
        )
    rate: Any = source.get("sampling_rate")
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
            if os.path.exists(source):
                raise ValueError(f"{describe_source(source)} is not a file.")
            raise FileNotFoundError(f"There is no audio file {describe_source(source)}.")
    elif not hasattr(source, "read"):
        raise ValueError(
            f"audio must be a path, a binary file, or a dict with 'bytes', 'path' or 'array', got a "
            f"{type(source).__name__}."
        )
    return source


def _read_to_the_end(file: soundfile.SoundFile, name: str) -> np.ndarray:
    blocks = []
    while True:
        try:
            block = file.read(_SAMPLES_PER_BLOCK, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise ValueError(f"{name} cannot be decoded: {error.error_string}") from error
        blocks.append(_to_mono(block))
        if len(block) < _SAMPLES_PER_BLOCK:
            return np.concatenate(blocks)


def _to_mono(samples: np.ndarray) -> np.ndarray:
    """Average the channels of samples of shape `(num_samples, num_channels)`."""
    return samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)


def _read_with_torchcodec(file_or_path: Any, name: str, error: Exception) -> _MemoryAudio:
    if isinstance(error, soundfile.LibsndfileError):
        # Its text would name the address of a file in memory.
        soundfile_error = error.error_string
    else:
        soundfile_error = f"samples without a header: {error}"
    try:
        # It loads the shared libraries of ffmpeg, and fails in several ways where they are missing.
        from torchcodec.decoders import AudioDecoder
    except Exception as other:
        raise ValueError(
            f"{name} cannot be read by soundfile ({soundfile_error}). Other formats need torchcodec and ffmpeg:"
            " `pip install torchcodec`."
        ) from other
    if hasattr(file_or_path, "seek"):
        file_or_path.seek(0)
    try:
        samples = AudioDecoder(file_or_path).get_all_samples()
    except Exception as other:
        raise ValueError(
            f"{name} can be read neither by soundfile ({soundfile_error}) nor by torchcodec ({other})."
        ) from other
    check_sampling_rate(samples.sample_rate, f"The sampling rate of {name}")
    return _MemoryAudio(samples.data.mean(dim=0).numpy().astype(np.float32, copy=False), int(samples.sample_rate))
