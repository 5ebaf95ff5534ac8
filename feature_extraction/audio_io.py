"""Reading audio files, without ffmpeg wherever libsndfile can."""

import os
from typing import Any

import numpy as np
import soundfile
import soxr


def load_audio(path_or_file: Any, sampling_rate: int | None = None) -> tuple[np.ndarray, int]:
    """Read an audio file as a mono waveform.

    soundfile reads WAV, FLAC, OGG, MP3, AIFF and more; what it cannot read (such as M4A or the sound of a video) is
    left to torchcodec, if that is installed.

    Args:
        path_or_file (`str`, `os.PathLike` or binary file): The file.
        sampling_rate (`int`, *optional*): Rate in Hz to resample to; `None` keeps the file's own.

    Returns:
        `tuple[np.ndarray, int]`: The waveform of shape `(samples,)`, float32, channels averaged, and its rate in Hz.

    Raises:
        ValueError: If the file cannot be read, or holds no samples.
        FileNotFoundError: If there is no such file.
    """
    name = _name(path_or_file)
    if isinstance(path_or_file, (str, os.PathLike)) and not os.path.isfile(path_or_file):
        raise FileNotFoundError(f"There is no audio file {name}.")
    if sampling_rate is not None and sampling_rate <= 0:
        raise ValueError(f"`sampling_rate` must be a positive number of Hz, got {sampling_rate}.")
    try:
        samples, rate = soundfile.read(path_or_file, dtype="float32", always_2d=True)
        waveform = samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1)
    except soundfile.LibsndfileError as error:
        waveform, rate = _read_with_torchcodec(path_or_file, error)
    if len(waveform) == 0:
        raise ValueError(f"{name} holds no samples.")
    if sampling_rate is not None and sampling_rate != rate:
        resampled = soxr.resample(waveform, rate, sampling_rate, quality="HQ")
        waveform, rate = (resampled if len(resampled) else waveform[:1]), sampling_rate
    return np.ascontiguousarray(waveform), rate


def _name(path_or_file: Any) -> str:
    if isinstance(path_or_file, (str, os.PathLike)):
        return repr(os.fspath(path_or_file))
    return repr(getattr(path_or_file, "name", type(path_or_file).__name__))


def _read_with_torchcodec(path_or_file: Any, soundfile_error: Exception) -> tuple[np.ndarray, int]:
    name = _name(path_or_file)
    try:
        # It loads the shared libraries of ffmpeg, and fails in several ways where they are missing.
        from torchcodec.decoders import AudioDecoder
    except Exception as error:
        raise ValueError(
            f"{name} cannot be read by soundfile ({soundfile_error}). Other formats need torchcodec and ffmpeg:"
            " `pip install torchcodec`."
        ) from error
    if hasattr(path_or_file, "seek"):
        path_or_file.seek(0)
    try:
        samples = AudioDecoder(path_or_file).get_all_samples()
    except Exception as error:
        raise ValueError(
            f"{name} can be read neither by soundfile ({soundfile_error}) nor by torchcodec ({error})."
        ) from error
    return samples.data.mean(dim=0).numpy(), int(samples.sample_rate)
