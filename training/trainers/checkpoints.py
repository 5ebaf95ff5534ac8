"""Which checkpoint of a run to go on from after it was killed."""

import json
import re
from pathlib import Path

from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME


def last_complete_checkpoint(output_dir: str | Path) -> str | None:
    """The newest checkpoint that was written to its end.

    The Trainer writes weights, optimizer and random states first and its own state last, so that a folder whose state
    can be read is whole. transformers' own `get_last_checkpoint` takes the highest number, whole or not.

    Args:
        output_dir (`str` or `Path`): Output folder of a run.

    Returns:
        `str` or `None`: The folder, or `None` if there is none yet.
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
    # Sharded training (FSDP, DeepSpeed) keeps the weights in folders of its own.
    whole = (SAFE_WEIGHTS_NAME, SAFE_WEIGHTS_INDEX_NAME, "pytorch_model_fsdp_0", "latest")
    return any((folder / name).exists() for name in whole)
