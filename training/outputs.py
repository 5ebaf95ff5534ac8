"""The output folder of a run: refusing to overwrite, finding where to resume, saving what people load."""

import gc
import re
import resource
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import torch
import torch.distributed
from accelerate import PartialState
from transformers import Trainer, logging

from .arguments import AudioTrainingArguments
from .trainers.checkpoints import last_complete_checkpoint

LAST = ("last", "true", "yes", "1")
"""Values of --resume-from-checkpoint that mean the newest checkpoint in the output folder."""


def check_output(arguments: AudioTrainingArguments, folders: Sequence[Path], results_file: str) -> None:
    """Make sure that nothing finished is overwritten, before anything is loaded.

    Args:
        arguments (`AudioTrainingArguments`): `resume_from_checkpoint` says whether to resume a run.
        folders (sequence of `Path`): The model folders that the run writes.
        results_file (`str`): The file that a finished folder has.

    Raises:
        ValueError: If a folder holds a run, finished or not, and this one is not to resume it.
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
    """The checkpoint to resume from: the one that was named, the newest complete one in the output folder, or none.

    Raises:
        ValueError: If the one that was named does not exist.
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
    """Leave bars and messages to training: weights that a head does not need, or that are tied, are no news."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()


def peak_memory_gb() -> float:
    """Most memory that this process has held, in GB: of the GPU if there is one, else of the machine."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    status = Path("/proc/self/status")
    if status.is_file():
        # Not `ru_maxrss`: on Linux it starts at what the parent held when it forked this process.
        peak = re.search(r"^VmHWM:\s+(\d+) kB$", status.read_text(), re.MULTILINE)
        if peak is not None:
            return int(peak[1]) * 1024 / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
