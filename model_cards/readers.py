"""Opens each file of a folder by the reader of its format, and gives the texts in it for a search."""

import ast
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .pickles import compression_of, is_pickle

PICTURES = {".png"}
"""Suffixes of pictures, which are uploaded as their pixels alone."""

A_PICKLE = "is a pickle, which can run code when it is loaded: save it as safetensors."
_CONTROL = {chr(code) for code in range(32)} - set("\t\n\r\f") | {"\x7f"}


class UnreadableError(ValueError):
    """A file is not what its name says; the message says what it is, to follow the name of the file."""


def read_texts(path: Path) -> list[str]:
    """Open a file and return the texts in it.

    Args:
        path (`Path`): Any file.

    Returns:
        `list[str]`: Its text, or names, metadata and values of text columns. Empty for pictures, of which only the
        pixels are uploaded.

    Raises:
        UnreadableError: If the file is a pickle, or is compressed, or its own reader does not take it, or it is
            neither text nor of a format that has a reader here.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        reader = read_plain_text
    try:
        return reader(path)
    except UnreadableError as error:
        if is_pickle(path):
            raise UnreadableError(
                "is a pickle, which can run code when it is loaded: save it as safetensors."
            ) from error
        raise


def read_plain_text(path: Path) -> list[str]:
    """The text of a file in UTF-8.

    Raises:
        UnreadableError: If it is no text, or a text that is a pickle as well.
    """
    if is_pickle(path):
        raise UnreadableError(A_PICKLE)
    data = path.read_bytes()
    kind = compression_of(data)
    if kind is not None:
        raise UnreadableError(f"is compressed ({kind}), so what is in it cannot be checked.")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    if not _CONTROL.isdisjoint(text):
        formats = ", ".join(sorted({*_READERS} - {".py"}))
        raise UnreadableError(f"is neither text in UTF-8 nor one of the formats that can be checked ({formats}).")
    return [text]


def picture_without_text(path: Path) -> bytes:
    """Encode the pixels of a PNG anew: texts, times, colour profiles and everything else in the file are left out.

    Raises:
        UnreadableError: If the file is no PNG.
    """
    # Imported here because it is needed for pictures only.
    from PIL import Image

    try:
        with Image.open(path, formats=["PNG"]) as image:
            image.load()
            has_alpha = "A" in image.getbands() or "transparency" in image.info
            pixels = image.convert("RGBA" if has_alpha else "RGB")
    except Exception as error:  # Pillow raises many kinds of errors on damaged files.
        raise UnreadableError(f"is not a PNG that can be read ({error}).") from error
    bare = Image.frombytes(pixels.mode, pixels.size, pixels.tobytes())
    output = io.BytesIO()
    bare.save(output, format="PNG", optimize=True)
    return output.getvalue()


def _read_picture(path: Path) -> list[str]:
    picture_without_text(path)
    return []


def _read_safetensors(path: Path) -> list[str]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            return [*file.keys(), *(f'"{key}": "{value}"' for key, value in metadata.items())]
    except (SafetensorError, OSError, ValueError) as error:
        raise UnreadableError(f"is not a whole file of safetensors ({error}).") from error


def _read_json(path: Path) -> list[str]:
    return _texts_of_json(path, lambda text: [text])


def _read_json_lines(path: Path) -> list[str]:
    return _texts_of_json(path, lambda text: [line for line in text.splitlines() if line.strip()])


def _texts_of_json(path: Path, split: Callable[[str], list[str]]) -> list[str]:
    texts: list[str] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        # Pairs, not a dictionary: of a key that comes twice, the first value would be lost.
        for key, value in pairs:
            values = value if isinstance(value, list) else [value]
            texts.extend(f'"{key}": "{entry}"' for entry in values if isinstance(entry, str))
            texts.append(key)
        return dict(pairs)

    try:
        text = path.read_bytes().decode("utf-8-sig")
        for part in split(text):
            value = json.loads(part, object_pairs_hook=collect)
            texts += list(_strings(value))
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"is not JSON ({error}).") from error
    # The text itself as well, for its lines; what is escaped in it stands in the values.
    return [text, "\n".join(dict.fromkeys(entry.replace("\n", " ") for entry in texts))]


def _strings(value: Any) -> Iterator[str]:
    pending = [value]
    while pending:
        entry = pending.pop()
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict):
            pending += entry.values()
        elif isinstance(entry, list):
            pending += entry


def _read_parquet(path: Path) -> list[str]:
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            schema = file.schema_arrow
            metadata = [schema.metadata, *(entry.metadata for entry in schema), file.metadata.metadata]
            texts = [*schema.names]
            for pairs in filter(None, metadata):
                # The schema of Arrow in base64, which `schema_arrow` was read from.
                decoded = {key: value for key, value in pairs.items() if key != b"ARROW:schema"}
                texts += [
                    f'"{key.decode("utf-8", "replace")}": "{value.decode("utf-8", "replace")}"'
                    for key, value in decoded.items()
                ]
            columns = []
            for entry in schema:
                kind = _text_or_numbers(entry.type)
                if kind is None:
                    raise UnreadableError(f"has a column {entry.name!r} of {entry.type}, which cannot be checked.")
                columns += [entry.name] if kind == "text" else []
            for group in range(file.num_row_groups if columns else 0):
                for column in file.read_row_group(group, columns=columns).columns:
                    texts += dict.fromkeys(_strings(column.to_pylist()))
    except (pyarrow.ArrowException, OSError) as error:
        raise UnreadableError(f"is not a whole Parquet file ({error}).") from error
    return ["\n".join(dict.fromkeys(text.replace("\n", " ") for text in texts))]


def _text_or_numbers(data_type: Any) -> str | None:
    """`"text"` or `"numbers"` for a type of Arrow whose values can be searched, `None` for bytes and the like."""
    from pyarrow import types

    if types.is_dictionary(data_type):
        return _text_or_numbers(data_type.value_type)
    if types.is_list(data_type) or types.is_large_list(data_type) or types.is_fixed_size_list(data_type):
        return _text_or_numbers(data_type.value_type)
    if types.is_struct(data_type):
        kinds = {_text_or_numbers(entry.type) for entry in data_type}
        return None if None in kinds else "text" if "text" in kinds else "numbers"
    if types.is_string(data_type) or types.is_large_string(data_type):
        return "text"
    is_number = types.is_integer(data_type) or types.is_floating(data_type) or types.is_boolean(data_type)
    return "numbers" if is_number or types.is_null(data_type) or types.is_temporal(data_type) else None


def _read_onnx(path: Path) -> list[str]:
    try:
        import onnx
    except ImportError as error:
        raise UnreadableError("can be checked with the package onnx only: pip install onnx.") from error
    try:
        model = onnx.load_model(path, load_external_data=False)
        onnx.checker.check_model(model)
    except Exception as error:  # Errors of protobuf and of the checker have no common class.
        raise UnreadableError(f"is not a model in ONNX ({str(error).splitlines()[0]}).") from error
    outside = [entry.name for entry in model.graph.initializer if entry.data_location == onnx.TensorProto.EXTERNAL]
    if outside:
        raise UnreadableError(f"keeps {len(outside)} tensors in other files: export it as one file.")
    texts = [model.producer_name, model.doc_string, model.graph.name, model.graph.doc_string]
    texts += [f'"{entry.key}": "{entry.value}"' for entry in model.metadata_props]
    for node in model.graph.node:
        texts += [node.name, node.doc_string, *(f'"{entry.key}": "{entry.value}"' for entry in node.metadata_props)]
    return ["\n".join(filter(None, texts))]


def _read_code(path: Path) -> list[str]:
    (text,) = read_plain_text(path)
    try:
        ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UnreadableError(f"is not Python ({error}).") from error
    return [text]


_READERS: dict[str, Callable[[Path], list[str]]] = {
    ".safetensors": _read_safetensors,
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".parquet": _read_parquet,
    ".png": _read_picture,
    ".onnx": _read_onnx,
    ".py": _read_code,
}
"""The reader of each suffix; every other file has to be a text."""
