"""Finding the checkpoint from which to resume a run that was killed."""

import json
import re
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

WEIGHTS = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, "pytorch_model_fsdp_0", "latest")
"""What a checkpoint holds one of: weights in one file or several, or those of sharded training (FSDP, DeepSpeed)."""


def checkpoints_of(output_dir: str | Path) -> dict[Path, int]:
    """The checkpoints in the output folder of a Trainer, complete or not, and their steps."""
    return {
        folder: int(match[1])
        for folder in Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if (match := re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)", folder.name)) and folder.is_dir()
    }


def last_complete_checkpoint(*output_dirs: str | Path) -> str | None:
    """Find the newest checkpoint that was written completely.

    The Trainer writes its own state last, after the weights, the optimizer and the random states, so a checkpoint is
    complete if that state can be read. `get_last_checkpoint` of transformers takes the highest number in any case.

    Args:
        output_dirs (`str` or `Path`): Folders that may hold checkpoints of a run.

    Returns:
        `str` or `None`: The checkpoint's folder, or `None` if no checkpoint is complete.
    """
    steps = {folder: step for output_dir in output_dirs for folder, step in checkpoints_of(output_dir).items()}
    newest_first = sorted(steps, key=lambda folder: steps[folder], reverse=True)
    return next((str(folder) for folder in newest_first if _is_complete(folder)), None)


def _is_complete(folder: Path) -> bool:
    try:
        json.loads((folder / TRAINER_STATE_NAME).read_text())
    except (OSError, ValueError):
        return False
    return any((folder / name).exists() for name in WEIGHTS)
