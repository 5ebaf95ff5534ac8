"""Names of the files that a run writes and something else reads, and writing a file whole or not at all."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Any folder that can be published.
CARD = "README.md"
ATTRIBUTION = "attribution.csv"
"""Author, source and licence of each clip whose licence asks for it."""

# A folder with a model.
CONFIG = "config.json"
PREPROCESSOR_CONFIG = "preprocessor_config.json"
EVAL_RESULTS = "eval_results.json"
PRETRAIN_RESULTS = "pretrain_results.json"
TRAINING_LOG = "training_log.json"
PREDICTIONS = "predictions.npz"
PROBE_RESULTS = "probe.json"
PROBE_TABLE = "probe.md"
PROBE_PREDICTIONS = "predictions"
"""Folder of the predictions of probes, a folder per model in it."""
SUMMARY = "summary.md"
CARD_FACTS = "card_facts.json"
"""Everything the card is rendered from, except the results, which have their own file."""
CLASSES_PICTURE = "classes.png"
COMPARED_MODEL = "compared.json"
"""In the folder of one model of a comparison, written last: what was measured beside `EVAL_RESULTS`."""
COMPARISON = "compare.json"
COMPARISON_TABLE = "compare.md"
COMPARISON_PICTURE = "compare.png"
CODE_FOLDER = "code"
"""Folder of the Python files that run the model where the package is not installed; `auto_map` names it."""
TRAINING_FOLDER = "training"
"""Folder of what the training leaves behind: curves, checkpoints, the Trainer's state."""
RUN_DATA = f"{TRAINING_FOLDER}/run_data.json"
"""The clips that a run was begun with; a resumed run must have the same."""
TRAINING_PICTURE = f"{TRAINING_FOLDER}/curves.png"
RECONSTRUCTION_PICTURE = f"{TRAINING_FOLDER}/reconstruction.png"
FORMER_TRAINING_PICTURE = "training.png"
"""Where earlier versions put the curves."""
TEACHER_CACHE = "teachers"
"""Folder of the vectors that teachers computed, in `TRAINING_FOLDER` unless `--teacher-cache-dir` names another."""
ONNX_FOLDER = "onnx"
ONNX_CLASSIFIER = "model.onnx"
ONNX_CODEC_ENCODER = "codec_encoder.onnx"
ONNX_FILTERBANK = "filterbank.onnx"

# A folder of codes.
CODES_MANIFEST = "codes.json"
"""Written last: a folder that has it is whole."""
ENCODING_SETTINGS = "encoding.json"
"""The settings an encoding was begun with; files made with other settings would not belong together."""
REJECTED = "rejected.jsonl"
CODES_PATTERN = "codes-*.parquet"
EMPTY_PATTERN = "empty-*.parquet"
"""Parts in which every clip was rejected: their metadata counts, but `datasets` cannot read a file without rows."""
HISTOGRAM_PICTURE = "histogram.png"
ARROW_CACHE = "arrow"
"""Folder of the Arrow files that `datasets` unpacks the Parquet files into."""

MANIFEST_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl")
"""Suffixes of tables of clips."""

UNFINISHED_PATTERN = ".unfinished-*"
_MAX_ATTEMPTS = 10


def codes_part_name(shard: int, part: int, is_empty: bool = False) -> str:
    """Name of a Parquet file of codes; matches `CODES_PATTERN`, or `EMPTY_PATTERN` if it has no rows."""
    return f"{'empty' if is_empty else 'codes'}-{shard:05d}-{part:04d}.parquet"


def is_hub_id(text: str) -> bool:
    """Whether a string has the form `user/name` of the Hub; anything else is taken for a path."""
    return text.count("/") == 1 and text[:1] not in "/.~" and Path(text).suffix not in MANIFEST_SUFFIXES


def check_location(location: str, name: str) -> None:
    """Check that something is a file or folder, or may be on the Hub.

    Args:
        location (`str`): A path, or `user/name`.
        name (`str`): What it is, for the message.

    Raises:
        ValueError: If there is no such file or folder, and the Hub has no names of this form.
    """
    # `Path.exists` raises if a name is too long.
    if not os.path.exists(location) and not is_hub_id(location):
        shown = location if len(location) <= 120 else f"{location[:80]}...{location[-37:]}"
        raise ValueError(f"{name} {shown!r} does not exist: it must be a folder, or USER/NAME on the Hub.")


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Write a file under a name that nobody else uses, then rename it once it is complete.

    Several processes or threads may write the same file at the same time as long as they write the same content:
    the last one replaces the file.

    Args:
        path (`Path`): Final name. Its folder must exist.
        write (`Callable[[Path], Any]`): Writes the content to the path it is given, which ends in the final name.
    """
    writer = f"{socket.gethostname()}-{os.getpid()}-{threading.get_native_id()}"
    unfinished = path.with_name(f"{UNFINISHED_PATTERN[:-1]}{writer}-{path.name}")
    for attempt in range(_MAX_ATTEMPTS):
        write(unfinished)
        try:
            os.replace(unfinished, path)
            return
        except FileNotFoundError:
            # Another process completed the folder and took this file for a leftover of a killed process.
            if path.is_file():
                return
            if attempt == _MAX_ATTEMPTS - 1:
                raise


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left unfinished. Only for a folder that is whole."""
    for unfinished in folder.glob(UNFINISHED_PATTERN):
        unfinished.unlink(missing_ok=True)
