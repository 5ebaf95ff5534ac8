"""The output folder of a run: protecting finished runs, finding a checkpoint to resume from, saving the model."""

import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import torch.distributed
from accelerate import PartialState
from transformers import Trainer, logging

from .arguments import AudioTrainingArguments
from .trainers.checkpoints import last_complete_checkpoint

LAST = ("last", "true", "yes", "1")
"""Values of --resume-from-checkpoint that mean the newest checkpoint in the output folder."""


def check_output(arguments: AudioTrainingArguments, folders: Sequence[Path], results_file: str) -> None:
    """Check, before anything is loaded, that no run would be overwritten.

    Args:
        arguments (`AudioTrainingArguments`): `resume_from_checkpoint` says whether to resume a run.
        folders (sequence of `Path`): The model folders that the run writes.
        results_file (`str`): Name of the file that a finished folder contains.

    Raises:
        ValueError: If a folder holds a run, finished or not, and this one does not resume it.
    """
    if arguments.resume_from_checkpoint is not None:
        return
    for folder in folders:
        if (folder / results_file).exists():
            raise ValueError(f"`output` holds a finished run, {folder}: give another --output, or remove it.")
        if any(folder.glob("checkpoint-*")):
            raise ValueError(
                f"`output` holds checkpoints of a run, {folder}: add --resume-from-checkpoint to resume it, or give "
                "another --output."
            )


def checkpoint_to_resume(arguments: AudioTrainingArguments) -> str | None:
    """The checkpoint to resume from: the named one, the newest complete one in the output folder, or none.

    Raises:
        ValueError: If the named one does not exist.
    """
    wanted = arguments.resume_from_checkpoint
    if wanted is None:
        return None
    if str(wanted).lower() in LAST:
        return last_complete_checkpoint(str(arguments.output_dir))
    if not Path(wanted).is_dir():
        raise ValueError(
            f'`resume_from_checkpoint` must be "last" or the folder of a checkpoint; {wanted!r} is not a folder.'
        )
    return str(wanted)


def save_run(trainer: Trainer, extractor: Any, folder: Path) -> None:
    """Save the model with its extractor, so that the folder loads through `pipeline`, and the log of the run."""
    trainer.save_model(str(folder))
    trainer.save_state()
    if trainer.is_world_process_zero():
        extractor.save_pretrained(folder)


def leave_process_group() -> None:
    """Leave the process group at the end of a command.

    A process that exits with its group open may crash in the threads of gloo, after all its work is done. Wrapped
    models hold the group, and release it while holding Python's lock, which those threads may need: they go first.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()
        PartialState().destroy_process_group()


def quiet_loading() -> None:
    """Silence progress bars and messages of loading, such as those on weights that are tied or that a head lacks."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()
