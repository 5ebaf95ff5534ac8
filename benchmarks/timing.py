"""What every benchmark shares: interleaved timing in one process, the table, the JSON file."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds `--repeats`, `--threads` and `--json` to `parser`, the arguments that every benchmark understands."""
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds; each round runs every candidate once")
    parser.add_argument("--threads", type=int, default=None, help="CPU threads of torch (default: torch's own choice)")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE", help="also write the results to FILE")


def apply_common_arguments(arguments: argparse.Namespace) -> None:
    """Checks `--repeats` and applies `--threads`; raises `ValueError` for values below 1."""
    for name in ("repeats", "threads"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise ValueError(f"`--{name}` must be at least 1, got {value}.")
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)


def interleaved(
    functions: Mapping[str, Callable[[], object]], repeats: int, warmup: int = 1
) -> dict[str, list[float]]:
    """
    Times candidates in turns: A, B, C, A, B, C, ...

    On a shared machine the load drifts over minutes; candidates that take turns see the same drift, so their ratio
    stays meaningful where absolute times do not. The order is reversed every other round, so that nobody always runs
    right after the same neighbour (warm caches, a cooling core).

    Args:
        functions (`Mapping[str, Callable]`):
            The candidates by name, called without arguments.
        repeats (`int`):
            Number of timed rounds.
        warmup (`int`, *optional*, defaults to 1):
            Number of rounds that are run first and not counted.

    Returns:
        `dict[str, list[float]]`: seconds of each timed call, `repeats` values for each name.
    """
    if repeats < 1:
        raise ValueError(f"`repeats` must be at least 1, got {repeats}.")
    for _ in range(warmup):
        for function in functions.values():
            function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats):
        names = list(functions) if repeat % 2 == 0 else list(reversed(functions))
        for name in names:
            synchronize()
            start = time.perf_counter()
            functions[name]()
            synchronize()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def synchronize() -> None:
    """Waits for the work queued on a GPU, if there is one: kernels are launched asynchronously."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def median(values: Sequence[float]) -> float:
    """The middle value, or the mean of the two middle ones."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def ratio(peer: Sequence[float], ours: Sequence[float]) -> float:
    """How many times faster `ours` is: the median over rounds of peer / ours, each pair measured side by side."""
    return median([theirs / own for theirs, own in zip(peer, ours, strict=True)])


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """
    Prints `rows` as a Markdown table; columns appear in the order in which the rows first name them.

    Args:
        rows (`Sequence[Mapping[str, Any]]`):
            One mapping a line, from column title to value. Floats are shown with 4 significant digits, a missing
            value or `None` as an empty cell.
    """
    titles = list(dict.fromkeys(title for row in rows for title in row))
    cells = [[_format(row.get(title)) for title in titles] for row in rows]
    widths = [max(len(line[column]) for line in [titles, *cells]) for column in range(len(titles))]
    for line in [titles, ["-" * width for width in widths], *cells]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")


def write_json(path: str | Path | None, rows: Sequence[Mapping[str, Any]], **facts: Any) -> None:
    """
    Writes the rows, the machine and the versions to a JSON file; does nothing when `path` is `None`.

    Args:
        path (`str` or `Path`, *optional*):
            The file. Its folder is made if needed.
        rows (`Sequence[Mapping[str, Any]]`):
            What [`print_table`] shows, unrounded.
        facts (`dict[str, Any]`):
            Anything else worth keeping, for example `seconds=interleaved(...)`.
    """
    if path is None:
        return
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"machine": machine(), "rows": list(rows), **facts}
    path.write_text(json.dumps(content, indent=2, default=str) + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """What a reader needs to judge the numbers: processor, threads, load, GPU, versions, time."""
    import transformers

    return {
        "processor": _processor_name(),
        "cpu_count": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _format(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
