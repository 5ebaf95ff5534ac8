"""`rejected.jsonl`: what a folder of codes leaves out, and why."""

import json
from collections.abc import Iterable
from pathlib import Path

from audioformer.files import REJECTED, write_whole

from ..rejections import Rejection


def write_rejected(folder: Path, entries: Iterable[Rejection]) -> Path:
    """Write `rejected.jsonl` and return its path."""
    text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in entries)
    path = folder / REJECTED
    write_whole(path, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))
    return path
