"""What a folder of a model or of codes consists of: the files that are uploaded without being asked for."""

import ast
import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from audioformer.files import (
    ARROW_CACHE,
    ATTRIBUTION,
    CARD,
    CARD_FACTS,
    CLASSES_PICTURE,
    CODES_MANIFEST,
    CODES_PATTERN,
    CONFIG,
    EMPTY_PATTERN,
    ENCODING_SETTINGS,
    EVAL_RESULTS,
    FORMER_TRAINING_PICTURE,
    HISTOGRAM_PICTURE,
    ONNX_CLASSIFIER,
    ONNX_CODEC_ENCODER,
    ONNX_FOLDER,
    PREDICTIONS,
    PREPROCESSOR_CONFIG,
    PRETRAIN_RESULTS,
    REJECTED,
    SUMMARY,
    TEACHER_CACHE,
    TRAINING_FOLDER,
    TRAINING_LOG,
    TRAINING_PICTURE,
    UNFINISHED_PATTERN,
)

WEIGHTS = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
WEIGHTS_SHARDS = "model-*-of-*.safetensors"
CODEC_FOLDER = "codec"

ANY_FOLDER = (CARD, ATTRIBUTION, "LICENSE", "LICENSE.md", "LICENSE.txt", "NOTICE")
MODEL_FILES = (
    *ANY_FOLDER,
    *(f"{folder}{name}" for folder in ("", f"{CODEC_FOLDER}/") for name in (CONFIG, WEIGHTS, WEIGHTS_INDEX)),
    *(f"{folder}{WEIGHTS_SHARDS}" for folder in ("", f"{CODEC_FOLDER}/")),
    *(PREPROCESSOR_CONFIG, f"{CODEC_FOLDER}/{PREPROCESSOR_CONFIG}"),
    *(EVAL_RESULTS, PRETRAIN_RESULTS, TRAINING_LOG, SUMMARY, CARD_FACTS, CLASSES_PICTURE),
    *(TRAINING_PICTURE, FORMER_TRAINING_PICTURE),
    *(f"{ONNX_FOLDER}/{ONNX_CLASSIFIER}", f"{ONNX_FOLDER}/{ONNX_CODEC_ENCODER}"),
)
"""Files of a folder with a model, besides the code that its `auto_map` names. A `*` stands for anything but `/`."""

CODES_FILES = (*ANY_FOLDER, CODES_MANIFEST, CODES_PATTERN, REJECTED, HISTOGRAM_PICTURE, "dataset_info.json")
"""Files of a folder of codes."""

LEFTOVERS = (
    TRAINING_FOLDER,
    # Where earlier versions put them.
    "checkpoint-*",
    TEACHER_CACHE,
    ARROW_CACHE,
    "runs",
    "trainer_state.json",
    PREDICTIONS,
    ENCODING_SETTINGS,
    EMPTY_PATTERN,
    UNFINISHED_PATTERN,
)
"""Files and folders of a run that nobody needs in order to use the result: left out without a word. The curves in the
folder of the training are part of the model."""

TOOL_FOLDERS = {".git", ".cache", "__pycache__", ".ssh", ".aws", ".ipynb_checkpoints"}
"""Folders of other tools, at any depth. Their files are not uploaded even if they are named."""


@dataclass
class Contents:
    """The files of a folder, sorted out.

    Attributes:
        files (`list[Path]`): What is to be uploaded, in order.
        left_out (`list[str]`): Names of files that are neither part of a model or of codes nor known leftovers.
        findings (`list[str]`): One sentence for each file that should be uploaded and cannot be.
    """

    files: list[Path] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)


def read_contents(folder: Path, include: Sequence[str] = ()) -> Contents:
    """Sort out the files of a folder.

    Args:
        folder (`Path`): A folder with a model or with codes.
        include (sequence of `str`): Names of further files to upload, relative to the folder.

    Returns:
        [`Contents`]: What is uploaded and what is not. Nothing is opened but settings and code.
    """
    contents = Contents()
    is_codes = (folder / CODES_MANIFEST).is_file()
    patterns = CODES_FILES if is_codes else MODEL_FILES
    code = set() if is_codes else set(code_files(folder))
    wanted = {PurePosixPath(name.replace(os.sep, "/")).as_posix() for name in include}
    for path, is_folder in _walk(folder):
        name = path.relative_to(folder).as_posix()
        is_wanted = name in wanted
        wanted.discard(name)
        if _in_tool_folder(name):
            if is_wanted:
                contents.findings.append(f"{name} is in a folder of another tool and cannot be uploaded.")
            continue
        is_part = is_wanted or name in code or any(_matches(name, pattern) for pattern in patterns)
        if is_folder:
            # Only links and special entries come as folders; a link to a folder may hide a part of the model.
            is_part = is_wanted or any(pattern.startswith(f"{name}/") for pattern in patterns)
        mode = path.lstat().st_mode
        if is_part and stat.S_ISLNK(mode):
            contents.findings.append(f"{name} is a symbolic link: put the file itself there.")
        elif is_part and not stat.S_ISREG(mode):
            contents.findings.append(f"{name} is not a regular file.")
        elif is_part:
            contents.files.append(path)
        elif not _is_leftover(name):
            contents.left_out.append(name)
    contents.findings += [f"{name} was to be included and is not a file of this folder." for name in sorted(wanted)]
    contents.files.sort()
    return contents


def files_to_upload(folder: Path, include: Sequence[str] = ()) -> list[Path]:
    """List the files of a folder that are checked and uploaded, see [`read_contents`].

    Returns:
        `list[Path]`: Their paths, which begin with `folder`, in order.
    """
    return read_contents(folder, include).files


def code_files(folder: Path) -> list[str]:
    """List the files with code that `config.json` and `preprocessor_config.json` name in `auto_map`, and those that
    they import from beside themselves. Some may be missing.

    Args:
        folder (`Path`): A folder with a model.

    Returns:
        `list[str]`: Names such as `"modeling_audioformer.py"`, in order.
    """
    pending = {
        f"{reference.rpartition('.')[0].replace('.', '/')}.py"
        for settings_file in (folder / CONFIG, folder / PREPROCESSOR_CONFIG)
        for reference in references_of(settings_file)
        if "--" not in reference
    }
    found: set[str] = set()
    while pending:
        name = pending.pop()
        found.add(name)
        pending |= set(_imported_siblings(folder, name)) - found
    return sorted(found)


def missing_code(folder: Path) -> list[str]:
    """The files of [`code_files`] that are missing."""
    return [name for name in code_files(folder) if not (folder / name).is_file()]


def foreign_code(folder: Path) -> list[str]:
    """References of `auto_map` to the code of other repositories, such as `user/name--module.Class`."""
    files = (folder / CONFIG, folder / PREPROCESSOR_CONFIG)
    return sorted({reference for file in files for reference in references_of(file) if "--" in reference})


def lacks_code(folder: Path) -> bool:
    """Whether a folder with a model cannot be loaded by its own code: none is named, or foreign code, or some is
    missing."""
    if not (folder / CONFIG).is_file():
        return False
    return not references_of(folder / CONFIG) or bool(missing_code(folder) or foreign_code(folder))


def read_settings(file: Path) -> dict[str, Any]:
    """Content of a settings file, such as `config.json`; empty if there is none.

    Raises:
        ValueError: If it is not a JSON object.
    """
    if not file.is_file():
        return {}
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not JSON ({error}).") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{file} must hold a JSON object.")
    return settings


def readable_settings(file: Path) -> dict[str, Any]:
    """As [`read_settings`], but empty if the file cannot be read; the check of the file itself says why."""
    try:
        return read_settings(file)
    except (OSError, ValueError):
        return {}


def references_of(settings_file: Path) -> list[str]:
    """Classes that `auto_map` of a settings file refers to; none if the file cannot be read."""
    entries = readable_settings(settings_file).get("auto_map")
    if not isinstance(entries, dict):
        return []
    # Classes with a slow and a fast implementation come as a list, in which one may be absent.
    lists = [entry if isinstance(entry, list) else [entry] for entry in entries.values()]
    return [reference for references in lists for reference in references if isinstance(reference, str)]


def _imported_siblings(folder: Path, name: str) -> Iterator[str]:
    try:
        tree = ast.parse((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError, RecursionError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 1:
            parent = PurePosixPath(name).parent
            modules = [node.module] if node.module else [alias.name for alias in node.names]
            for module in modules:
                yield (parent / f"{module.replace('.', '/')}.py").as_posix()


def _walk(folder: Path) -> Iterator[tuple[Path, bool]]:
    """All files and links below a folder, and whether each is (a link to) a folder. Links are not followed."""
    for parent, folders, files in os.walk(folder, followlinks=False):
        folders.sort()
        for name in folders:
            path = Path(parent, name)
            if path.is_symlink():
                yield path, True
        for name in sorted(files):
            yield Path(parent, name), False


def _matches(name: str, pattern: str) -> bool:
    parts, patterns = name.split("/"), pattern.split("/")
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def _in_tool_folder(name: str) -> bool:
    return not TOOL_FOLDERS.isdisjoint(name.split("/")[:-1])


def _is_leftover(name: str) -> bool:
    parts = name.split("/")
    return any(fnmatchcase(parts[0], pattern) or fnmatchcase(parts[-1], pattern) for pattern in LEFTOVERS)
