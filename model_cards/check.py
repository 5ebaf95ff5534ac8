"""What must not be uploaded: pickles, paths of this machine, tokens, cards without a licence or with other numbers."""

import json
import math
import os
import re
import zipfile
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

from audioformer.files import (
    ARROW_CACHE,
    CARD,
    CARD_FACTS,
    CONFIG,
    EMPTY_PATTERN,
    ENCODING_SETTINGS,
    EVAL_RESULTS,
    PREDICTIONS,
    PREPROCESSOR_CONFIG,
    TEACHER_CACHE,
    UNFINISHED_PATTERN,
)

LEFTOVERS = (
    "checkpoint-*/*",
    f"{TEACHER_CACHE}/*",
    f"{ARROW_CACHE}/*",
    "runs/*",
    "trainer_state.json",
    PREDICTIONS,
    ENCODING_SETTINGS,
    EMPTY_PATTERN,
    UNFINISHED_PATTERN,
    ".cache/*",
    ".git/*",
    "__pycache__/*",
    "*/__pycache__/*",
)
"""What a run leaves in its folder and nobody needs to load the result: never uploaded."""

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
"""A metric of a card may be rounded to four digits."""
_NUMBER = re.compile(r"(\d+\.\d)\s?%")


def files_to_upload(folder: Path) -> list[Path]:
    """The files of a folder without what a run leaves behind."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if not _matches(path.relative_to(folder).as_posix(), LEFTOVERS)]


def check_folder(folder: str | Path) -> list[str]:
    """Look for what must not be published.

    Args:
        folder (`str` or `Path`): A folder of `audioformer finetune`, `pretrain` or `encode`, or any model folder.

    Returns:
        `list[str]`: What is wrong, one sentence a finding with the file's name; empty if nothing is.
    """
    folder = Path(folder)
    findings: list[str] = []
    for path in files_to_upload(folder):
        name = path.relative_to(folder).as_posix()
        if is_pickle(path):
            findings.append(f"{name} is a pickle, which runs code when it is loaded: save safetensors.")
        elif path.suffix in TEXT_SUFFIXES:
            findings += [f"{name} {finding}" for finding in _check_text(path.read_text(encoding="utf-8"))]
    return [*findings, *_check_codec(folder), *_check_card(folder)]


def is_pickle(path: Path) -> bool:
    """Whether a file is one that Python would unpickle, by its name or its first bytes."""
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


def _check_text(text: str) -> Iterator[str]:
    token = TOKENS.search(text)
    if token:
        yield f"holds what looks like a token ({token.group()[:6]}...)."
    paths = sorted({match.group() for match in _PATH.finditer(text) if _is_machine_path(match)})
    if paths:
        yield f"names paths of this machine: {', '.join(paths[:3])}."


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
            f"preprocessor_config.json refers to the codec {settings['codec']!r} without a revision: codes could "
            "change with it. Say it with --codec-revision."
        )
    if settings.get("codec_subfolder") and not (folder / settings["codec_subfolder"] / CONFIG).is_file():
        yield f"preprocessor_config.json refers to a codec in {settings['codec_subfolder']}/, which is not there."


def _check_card(folder: Path) -> Iterator[str]:
    file = folder / CARD
    if not file.is_file():
        yield "README.md is missing: a model or data set needs a card."
        return
    card = ModelCard.load(file)
    license = card.data.get("license")
    if not license or (license == "other" and not card.data.get("license_name")):
        yield "README.md states no licence: say it with --license, for example cc-by-4.0 or apache-2.0."
    results_file = folder / EVAL_RESULTS
    stated = [result.metric_value for result in card.data.eval_results or []]
    if not results_file.is_file():
        if stated or (folder / CARD_FACTS).is_file():
            yield "eval_results.json is missing, which the card's numbers come from."
        return
    measured = list(_numbers(json.loads(results_file.read_text(encoding="utf-8"))))
    for value in stated:
        if not any(math.isclose(value, number, abs_tol=ROUNDING) for number in measured):
            yield f"README.md states the metric {value} in its metadata, which eval_results.json does not contain."
    shown = {f"{100 * number:.1f}" for number in measured} | {"95.0"}
    unknown = [number for number in _NUMBER.findall(_section(card.text, "Results")) if number not in shown]
    if unknown:
        yield f"README.md states {unknown[0]} % among its results, which eval_results.json does not contain."


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


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)
