"""Finding the checkpoint from which to resume a run that was killed."""

import json
import re
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

WEIGHTS = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, "pytorch_model_fsdp_0", "latest")
"""What a checkpoint holds one of: weights in one file or several, or those of sharded training (FSDP, DeepSpeed)."""


def last_complete_checkpoint(output_dir: str | Path) -> str | None:
    """Find the newest checkpoint that was written completely.

    The Trainer writes its own state last, after the weights, the optimizer and the random states, so a checkpoint is
    complete if that state can be read. `get_last_checkpoint` of transformers takes the highest number in any case.

    Args:
        output_dir (`str` or `Path`): Output folder of a run.

    Returns:
        `str` or `None`: The checkpoint's folder, or `None` if no checkpoint is complete.
    """
    folders = [
        (int(match[1]), folder)
        for folder in Path(output_dir).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
        if (match := re.fullmatch(rf"{PREFIX_CHECKPOINT_DIR}-(\d+)", folder.name))
    ]
    return next((str(folder) for _, folder in sorted(folders, reverse=True) if _is_complete(folder)), None)


def _is_complete(folder: Path) -> bool:
    try:
        json.loads((folder / TRAINER_STATE_NAME).read_text())
    except (OSError, ValueError):
        return False
    return any((folder / name).exists() for name in WEIGHTS)
