"""Finds what must not be published: pickles, paths of this machine, tokens, and cards that state the wrong things."""

import json
import math
import os
import re
import zipfile
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from audioformer.files import (
    ARROW_CACHE,
    CARD,
    CONFIG,
    EMPTY_PATTERN,
    ENCODING_SETTINGS,
    EVAL_RESULTS,
    PREDICTIONS,
    PREPROCESSOR_CONFIG,
    RUN_DATA,
    TEACHER_CACHE,
    TRAINING_FOLDER,
    UNFINISHED_PATTERN,
)

LEFTOVERS = (
    f"{TRAINING_FOLDER}/checkpoint-*/*",
    f"{TRAINING_FOLDER}/{TEACHER_CACHE}/*",
    f"{TRAINING_FOLDER}/trainer_state.json",
    # Where earlier versions put them.
    "checkpoint-*/*",
    f"{TEACHER_CACHE}/*",
    f"{ARROW_CACHE}/*",
    "runs/*",
    "trainer_state.json",
    RUN_DATA,
    PREDICTIONS,
    ENCODING_SETTINGS,
    EMPTY_PATTERN,
    UNFINISHED_PATTERN,
)
"""Files of a run that nobody needs in order to use the result. Never uploaded."""

TOOL_FOLDERS = {".git", ".cache", "__pycache__"}
"""Folders that other tools make, at any depth. Never uploaded."""

PICKLE_SUFFIXES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".th", ".npy", ".npz"}
TEXT_SUFFIXES = {".json", ".jsonl", ".md", ".py", ".txt", ".yaml", ".yml", ".csv", ".cfg", ".toml"}
TOKENS = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|ghp_[A-Za-z0-9]{20,}|github_pat_\w{20,}|sk-[A-Za-z0-9_-]{20,}|AKIA[A-Z0-9]{16})"
)
_PATH = re.compile(r"(?<![\w.:/<>{}$-])/([A-Za-z][\w.-]*)/[\w.-]+|[A-Za-z]:\\\\?Users\\")
_USUAL_ROOTS = {
    *("home", "root", "Users", "mnt", "media", "data", "tmp", "var", "opt", "scratch", "work", "workspace"),
    *("content", "kaggle", "lustre", "gpfs", "nfs", "fsx", "srv"),
}
ROUNDING = 5e-5
"""Cards may round metrics to four digits."""
_PERCENTAGE = re.compile(r"(\d+\.\d)\s?%")


def files_to_upload(folder: Path) -> list[Path]:
    """List the files of a folder that are checked and uploaded: all but `LEFTOVERS` and `TOOL_FOLDERS`.

    Args:
        folder (`Path`): A folder with a model or with codes.

    Returns:
        `list[Path]`: Their paths, which begin with `folder`, in order.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if not _is_leftover(path.relative_to(folder))]


def check_folder(folder: str | Path) -> list[str]:
    """Look for what must not be published, in all files that would be uploaded.

    Args:
        folder (`str` or `Path`): A folder of `audioformer finetune`, `pretrain` or `encode`, or any with a model.

    Returns:
        `list[str]`: One sentence per finding, with the name of the file. Empty if there is nothing to object to.
    """
    return check_files(Path(folder), files_to_upload(Path(folder)))


def check_files(folder: Path, files: Sequence[Path]) -> list[str]:
    """Look for what must not be published, see [`check_folder`].

    Args:
        folder (`Path`): The folder.
        files (`Sequence[Path]`): Files in it that are to be uploaded.
    """
    findings: list[str] = []
    for path in files:
        name = path.relative_to(folder).as_posix()
        if is_pickle(path):
            findings.append(f"{name} is a pickle, which can run code when it is loaded: save it as safetensors.")
        elif path.suffix in TEXT_SUFFIXES:
            findings += [f"{name} {finding}" for finding in _check_text(path.read_text(encoding="utf-8"))]
    code = [f"{name} is missing, which `auto_map` names: save the model again." for name in missing_code(folder)]
    return [*findings, *code, *_check_codec(folder), *_check_card(folder)]


def missing_code(folder: Path) -> list[str]:
    """List the code files that `config.json` and `preprocessor_config.json` name in `auto_map` and that are missing.

    References to the code of another repository (`user/name--module.Class`) do not count.

    Args:
        folder (`Path`): A folder with a model.

    Returns:
        `list[str]`: File names, such as `"modeling_audioformer.py"`, in order.
    """
    named: set[str] = set()
    for settings_file in (folder / CONFIG, folder / PREPROCESSOR_CONFIG):
        for reference in _auto_map(settings_file).values():
            # Classes with a slow and a fast implementation come as a list, in which one may be absent.
            for entry in [reference] if isinstance(reference, str) else reference:
                if entry is not None and "--" not in entry:
                    named.add(f"{entry.split('.')[0]}.py")
    return sorted(name for name in named if not (folder / name).is_file())


def lacks_code(folder: Path) -> bool:
    """Whether a folder with a model cannot be loaded by its own code: it names none, or some of it is missing."""
    return (folder / CONFIG).is_file() and (not _auto_map(folder / CONFIG) or bool(missing_code(folder)))


def _auto_map(settings_file: Path) -> dict[str, Any]:
    if not settings_file.is_file():
        return {}
    return json.loads(settings_file.read_text(encoding="utf-8")).get("auto_map") or {}


def is_pickle(path: Path) -> bool:
    """Whether Python would unpickle a file in order to load it, judged by its name and its first bytes."""
    if path.suffix in PICKLE_SUFFIXES:
        return True
    with path.open("rb") as file:
        start = file.read(4)
    if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return True
    if start == b"PK\x03\x04":
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    return False


def _is_leftover(name: Path) -> bool:
    if not TOOL_FOLDERS.isdisjoint(name.parts[:-1]):
        return True
    return any(fnmatch(name.as_posix(), pattern) for pattern in LEFTOVERS)


def _check_text(text: str) -> Iterator[str]:
    token = TOKENS.search(text)
    if token:
        yield f"contains what looks like a token ({token.group()[:6]}...)."
    paths = sorted({match.group() for match in _PATH.finditer(text) if _is_machine_path(match)})
    if paths:
        yield f"contains paths of this machine: {', '.join(paths[:3])}."


def _is_machine_path(match: re.Match[str]) -> bool:
    root = match.group(1)
    return root is None or root in _USUAL_ROOTS or os.path.isdir(f"/{root}")


def _check_codec(folder: Path) -> Iterator[str]:
    file = folder / PREPROCESSOR_CONFIG
    if not file.is_file():
        return
    settings = json.loads(file.read_text(encoding="utf-8"))
    if settings.get("codec") and not settings.get("codec_revision"):
        yield (
            f"{PREPROCESSOR_CONFIG} refers to the codec {settings['codec']!r} without a revision, so the codes could "
            "change with it: state one with --codec-revision."
        )
    subfolder = settings.get("codec_subfolder")
    if subfolder and not (folder / subfolder / CONFIG).is_file():
        yield f"{PREPROCESSOR_CONFIG} refers to a codec in {subfolder}/, which is missing."


def _check_card(folder: Path) -> Iterator[str]:
    file = folder / CARD
    if not file.is_file():
        yield f"{CARD} is missing: a model or data set needs a card."
        return
    card = ModelCard.load(file)
    license = card.data.get("license")
    if not license or (license == "other" and not card.data.get("license_name")):
        yield f"{CARD} states no licence: state one with --license, for example cc-by-4.0 or apache-2.0."
    results_file = folder / EVAL_RESULTS
    stated = [result.metric_value for result in card.data.eval_results or []]
    if not results_file.is_file():
        if stated:
            yield f"{EVAL_RESULTS} is missing, from which the numbers in {CARD} must come."
        return
    measured = list(_numbers(json.loads(results_file.read_text(encoding="utf-8"))))
    for value in stated:
        if not any(math.isclose(value, number, abs_tol=ROUNDING) for number in measured):
            yield f"{CARD} states the metric {value} in its metadata, which {EVAL_RESULTS} does not contain."
    # 95 % is the level of the confidence interval.
    shown = {f"{100 * number:.1f}" for number in measured} | {"95.0"}
    unknown = [number for number in _PERCENTAGE.findall(_section(card.text, "Results")) if number not in shown]
    if unknown:
        yield f"{CARD} states {unknown[0]} % in its results, which {EVAL_RESULTS} does not contain."


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, bool):
        return
    if isinstance(value, (int, float)):
        yield float(value)
    elif isinstance(value, dict):
        for entry in value.values():
            yield from _numbers(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _numbers(entry)


def _section(text: str, title: str) -> str:
    match = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return match.group(1) if match else ""
