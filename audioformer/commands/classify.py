"""`audioformer classify`: label audio files."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING

from ..files import check_location
from .devices import choose_device

if TYPE_CHECKING:
    from ..classify import FileScores

DESCRIPTION = (
    "Label audio files of any format that soundfile reads (WAV, FLAC, OGG, MP3, ...), at any rate and of any length. "
    "A file longer than a window is classified window by window; its own scores are the mean over time."
)


def _positive_float(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be more than 0, got {text}")
    return value


def _positive_int(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be 1 or more, got {text}")
    return value


def build_parser() -> argparse.ArgumentParser:
    """The flags of `audioformer classify`."""
    parser = argparse.ArgumentParser(prog="audioformer classify", description=DESCRIPTION)
    parser.add_argument("files", nargs="+", metavar="FILE", help="audio file")
    parser.add_argument(
        "--model",
        help="folder or Hub id of a classifier with its feature extractor (default: the small classifier that comes "
        "with the package, which knows the ten sounds of ESC-10)",
    )
    parser.add_argument("--top-k", type=_positive_int, default=5, metavar="K", help="labels to print (default: 5)")
    parser.add_argument(
        "--window-s", type=_positive_float, default=10.0, metavar="S", help="window in seconds (default: 10)"
    )
    parser.add_argument(
        "--hop-s",
        type=_positive_float,
        metavar="S",
        help="seconds from one window to the next, at most --window-s: if less, windows overlap (default: --window-s)",
    )
    parser.add_argument("--device", help='"cpu", "cuda", "cuda:1", ... (default: a GPU if there is one)')
    parser.add_argument(
        "--trust-remote-code",
        action="store_true",
        help="run the code that a model repository carries (never needed for models of this package)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per file and line, with windows")
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Arguments of the command."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.hop_s is not None and arguments.hop_s > arguments.window_s:
        parser.error(f"argument --hop-s: must be at most --window-s ({arguments.window_s:g}), got {arguments.hop_s:g}")
    return arguments


def run(arguments: argparse.Namespace) -> int:
    """Classify each file; returns 1 if any could not be read, after doing all the others."""
    # `Path.is_file` raises if a name is too long.
    missing = [name for name in arguments.files if not os.path.isfile(name)]
    for name in missing:
        print(f"audioformer: error: {name}: no such file", file=sys.stderr)
    files = [name for name in arguments.files if name not in missing]
    if not files:
        return 1

    from transformers import logging, pipeline

    from audioformer.model_cards import TINY_ESC10

    from ..classify import classify_file, move_extractor

    # Standard error is for what went wrong with the files, not for bars that load weights.
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    device = choose_device(arguments.device)
    model = arguments.model or str(TINY_ESC10)
    check_location(model, "`--model`")
    try:
        classifier = pipeline(
            "audio-classification", model=model, device=device, trust_remote_code=arguments.trust_remote_code or None
        )
    except (OSError, ValueError, RuntimeError) as error:
        print(f"audioformer: error: --model {model}: {error}", file=sys.stderr)
        return 1
    move_extractor(classifier)
    failed = len(missing)
    for name in files:
        try:
            result = classify_file(
                name, classifier, arguments.window_s, progress=sys.stderr.isatty(), hop_s=arguments.hop_s
            )
        except ValueError as error:
            print(f"audioformer: error: {error}", file=sys.stderr)
            failed += 1
            continue
        if result.shortfall is not None:
            print(f"audioformer: warning: {name}: {result.shortfall}", file=sys.stderr)
        (_print_json if arguments.json else _print_scores)(result, arguments.top_k)
    return 1 if failed else 0


def _bar(score: float, width: int = 20) -> str:
    return "#" * round(max(0.0, min(1.0, score)) * width)


def _print_scores(result: "FileScores", top_k: int) -> None:
    print(f"{result.path}  ({result.duration_s:.2f} s)")
    for label, score in islice(result.scores.items(), top_k):
        print(f"  {label:<24} {score:6.3f}  {_bar(score)}")
    if len(result.windows) > 1:
        print("  by window:")
        for window in result.windows:
            label, score = next(iter(window.scores.items()))
            print(f"    {window.start_s:8.1f} - {window.end_s:8.1f} s  {label:<24} {score:6.3f}")


def _print_json(result: "FileScores", top_k: int) -> None:
    report = asdict(result)
    for part in [report, *report["windows"]]:
        part["scores"] = dict(islice(part["scores"].items(), top_k))
    print(json.dumps(report))
