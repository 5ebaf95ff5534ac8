"""What a command says when it fails: one line for what lies outside this program, nothing for its own errors."""

import errno
import pickle
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

USER_ERROR, INTERRUPTED = 1, 130
"""Exit status for what the user or the machine must change, and after Ctrl-C. Wrong usage is 2, as argparse has it."""

LONGEST_NAME = 120
"""Longer file names are shortened in messages."""

_OF_LIBRARIES = (
    ("yaml", "YAMLError"),
    ("safetensors", "SafetensorError"),
    ("soundfile", "SoundFileError"),
    ("tarfile", "TarError"),
    ("zipfile", "BadZipFile"),
    ("zlib", "error"),
    ("httpx", "HTTPError"),
    ("huggingface_hub.errors", "HTTPError"),
    ("datasets.exceptions", "DatasetsError"),
    ("pyarrow", "ArrowException"),
    ("torch", "OutOfMemoryError"),
    ("torch", "AcceleratorError"),
)
"""Module and class of exceptions with which libraries report bad files, connections and devices."""

_OF_DEVICES = (
    "can't allocate memory",
    "DataLoader worker (pid",
    "CUDA",
    "NVIDIA",
    "device string",
    "no accelerator",
)
"""Parts of the messages with which torch reports devices and memory as plain `RuntimeError` or `AssertionError`."""

_OF_FILES = {
    ("torch/serialization.py", "load"): ("f", "cannot be read, it is damaged or cut off"),
    ("torch/serialization.py", "save"): ("f", "cannot be written; is the disk full?"),
    ("transformers/modeling_utils.py", "load_state_dict"): ("checkpoint_file", "cannot be read"),
    ("transformers/modeling_utils.py", "from_pretrained"): ("pretrained_model_name_or_path", "cannot be loaded"),
}
"""Functions that raise anything when a file is bad: the argument that names the file, and what is said of it."""


def explain(error: BaseException) -> str | None:
    """Describe an exception for the user, if its cause lies in the input, the files or the machine.

    Args:
        error (`BaseException`): What ended a command.

    Returns:
        `str` or `None`: The message, or `None` if the error is one of this program, whose traceback is needed.
    """
    if isinstance(error, ValueError):
        return _original(str(error)) or type(error).__name__
    for cause in (_of_file, _of_system, _of_import, _of_library):
        message = cause(error)
        if message is not None:
            return message
    return None


def broken_output() -> bool:
    """Whether whoever read the standard output or the standard error has gone, as after `| head`."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            return True
        except (AttributeError, ValueError):
            # There is no such stream, or it is closed.
            continue
    return False


def _of_file(error: BaseException) -> str | None:
    if not isinstance(error, (RuntimeError, EOFError, pickle.UnpicklingError)):
        return None
    for frame in _frames(error):
        code = frame.f_code
        for (file, function), (argument, said) in _OF_FILES.items():
            # A file object has no name that means anything to the user.
            name = frame.f_locals.get(argument)
            if code.co_name == function and Path(code.co_filename).as_posix().endswith(file) and _is_path(name):
                return f"{shorten(str(name))} {said} ({_one_line(error)})"
    return None


def _of_system(error: BaseException) -> str | None:
    if isinstance(error, OSError):
        if error.strerror is None or error.filename is None:
            return _one_line(error)
        hint = " (it is a file)" if error.errno in (errno.EEXIST, errno.ENOTDIR) else ""
        return f"{shorten(str(error.filename))}: {error.strerror.lower()}{hint}"
    if isinstance(error, MemoryError):
        return f"out of memory{': ' if str(error) else ''}{_one_line(error) if str(error) else ''}"
    if isinstance(error, RecursionError):
        # In a parser it is the input that has no end, elsewhere it is the program.
        last = {frame.f_globals.get("__name__", "").partition(".")[0] for frame in list(_frames(error))[-20:]}
        for parser in ("json", "yaml"):
            if parser in last:
                return f"the {parser.upper()} of an input is nested too deeply"
    return None


def _of_import(error: BaseException) -> str | None:
    if not isinstance(error, ImportError):
        return None
    package = (error.name or "").partition(".")[0]
    # Without a name it is a library that asks for another one.
    return None if package == "audioformer" else _one_line(error)


def _of_library(error: BaseException) -> str | None:
    for module, name in _OF_LIBRARIES:
        # What was not imported has not raised anything.
        known = getattr(sys.modules.get(module), name, None)
        if known is not None and isinstance(error, known):
            return f"{_one_line(error)} ({name})"
    is_plain = type(error) in (RuntimeError, AssertionError)
    return _one_line(error) if is_plain and any(part in str(error) for part in _OF_DEVICES) else None


def shorten(name: str) -> str:
    """A file name for a message: the beginning and the end of one that is overlong."""
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[: LONGEST_NAME - 40]}...{name[-37:]}"


def _frames(error: BaseException) -> Iterator[FrameType]:
    return (frame for frame, _ in traceback.walk_tb(error.__traceback__))


def _is_path(value: object) -> bool:
    return isinstance(value, (str, Path)) and bool(str(value))


def _one_line(error: BaseException) -> str:
    text = " ".join(_original(str(error)).split())
    return text or type(error).__name__


def _original(text: str) -> str:
    """The message of an error that a worker process raised, which arrives with the traceback around it."""
    if "Original Traceback" not in text:
        return text
    last = text.strip().splitlines()[-1]
    return last.partition(": ")[2] or last
