"""Tells pickles of every protocol by their content, without loading them."""

import io
import pickletools
import zipfile
from collections.abc import Sequence
from pathlib import Path

PICKLE_SUFFIXES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".th", ".npy", ".npz", ".dill"}
"""Suffixes, in lower case, of files that programs unpickle or that may hold pickled objects."""

COMPRESSED = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"]\x00\x00": "lzma",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"\x04\x22\x4d\x18": "lz4",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
    b"x\x01": "zlib",
    b"x\x5e": "zlib",
    b"x\x9c": "zlib",
    b"x\xda": "zlib",
}
"""First bytes of compressed files and archives."""

_CALLS = {"REDUCE", "OBJ", "INST", "NEWOBJ", "NEWOBJ_EX", "BUILD"}
MAX_EXAMINED = 64 * 1024**2
"""Bytes of a file that are read for its opcodes: a pickle that does nothing for longer is judged by what it began."""


def is_pickle(path: Path) -> bool:
    """Whether Python would unpickle a file in order to load it, judged by its name and its content."""
    if path.suffix.lower() in PICKLE_SUFFIXES:
        return True
    with path.open("rb") as file:
        data = file.read(MAX_EXAMINED)
    if data.startswith(b"PK\x03\x04"):
        try:
            with zipfile.ZipFile(path) as archive:
                return any(Path(name).suffix.lower() == ".pkl" for name in archive.namelist())
        except (zipfile.BadZipFile, OSError, ValueError):
            return False
    return is_pickled(data)


def compression_of(data: bytes) -> str | None:
    """Name of the compression or archive that bytes begin with, if they do."""
    found = next((kind for start, kind in COMPRESSED.items() if data.startswith(start)), None)
    if found is None and data[257:262] == b"ustar":
        return "tar"
    return found


def is_pickled(data: bytes) -> bool:
    """Whether bytes are a pickle of any protocol, or begin with one, or run code when they are unpickled.

    The opcodes are followed without being executed. Text can begin with letters that are opcodes; it is no pickle
    unless it gets as far as a value and the end, or as a call.
    """
    if data[:1] == b"\x80" and data[1:2] <= b"\x05":
        return True
    marks: list[int] = []
    depth = 0
    try:
        for opcode, _, _ in pickletools.genops(io.BytesIO(data)):
            needed: Sequence[object] = opcode.stack_before
            if pickletools.stackslice in needed or pickletools.markobject in needed:
                if not marks:
                    return False
                below = [entry for entry in needed if entry not in (pickletools.markobject, pickletools.stackslice)]
                depth = marks.pop()
                if opcode.name in ("APPENDS", "SETITEMS", "ADDITEMS"):
                    depth -= len(below)
            elif opcode.name == "POP" and marks and marks[-1] == depth:
                marks.pop()
                continue
            else:
                depth -= len(needed)
            if depth < (marks[-1] if marks else 0):
                return False
            if opcode.name in _CALLS:
                return True
            if opcode.name == "STOP":
                return True
            if opcode.name == "MARK":
                marks.append(depth)
            else:
                depth += len(opcode.stack_after)
    except ValueError:
        # No opcode, or its argument is cut short: the rest would never be executed.
        return False
    return False
