"""The output folder of a run: refusing to overwrite, finding where to go on, saving what people load."""

import gc
import resource
import sys
from collections.abc import Sequence
from pathlib import Path

import datasets
import torch
import torch.distributed
from accelerate import PartialState
from transformers import Trainer, logging

from audioformer.feature_extraction import AudioFormerFeatureExtractor

from .arguments import AudioFormerTrainingArguments
from .trainers.checkpoints import last_complete_checkpoint

LAST = ("last", "true", "yes", "1")
"""Values of --resume_from_checkpoint that mean the newest checkpoint in the output folder."""


def wants_to_resume(arguments: AudioFormerTrainingArguments) -> bool:
    return arguments.resume_from_checkpoint is not None


def check_output(arguments: AudioFormerTrainingArguments, folders: Sequence[Path], results_file: str) -> None:
    """Make sure that nothing finished is overwritten, before anything is loaded.

    Args:
        arguments (`AudioFormerTrainingArguments`): `resume_from_checkpoint` says whether to go on with a run.
        folders (sequence of `Path`): The model folders that the run writes.
        results_file (`str`): The file that a finished folder has.

    Raises:
        ValueError: If a folder holds a run, finished or not, and this one is not to go on with it.
    """
    if wants_to_resume(arguments):
        return
    for folder in folders:
        if (folder / results_file).exists():
            raise ValueError(f"`output` holds a finished run, {folder}: give another --output, or remove it.")
        if any(folder.glob("checkpoint-*")):
            raise ValueError(
                f"`output` holds checkpoints of a run, {folder}: add --resume_from_checkpoint last to go on with it, "
                "or give another --output."
            )


def checkpoint_to_resume(arguments: AudioFormerTrainingArguments) -> str | None:
    """The checkpoint to go on from: the one that was named, the newest whole one in the output folder, or none yet."""
    wanted = arguments.resume_from_checkpoint
    if wanted is None:
        return None
    if str(wanted).lower() in LAST:
        return last_complete_checkpoint(arguments.output_dir)
    if not Path(wanted).is_dir():
        raise ValueError(
            f'`resume_from_checkpoint` must be "last" or the folder of a checkpoint; {wanted!r} is no folder.'
        )
    return str(wanted)


def save_run(trainer: Trainer, extractor: AudioFormerFeatureExtractor, folder: Path) -> None:
    """Save the model with its extractor, so that the folder loads through `pipeline`, and the log of the run."""
    trainer.save_model(str(folder))
    trainer.save_state()
    if trainer.is_world_process_zero():
        extractor.save_pretrained(folder)


def leave_processes() -> None:
    """Leave the group of processes at the end of a command.

    A process that exits with its group open may crash in the threads of gloo, after all its work is done. Wrapped
    models hold the group, and let go of it with Python's lock held, which those threads may need: they go first.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        gc.collect()
        PartialState().destroy_process_group()


def quiet_loading() -> None:
    """Leave bars and messages to training: weights that a head does not need, or are tied, are no news."""
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    datasets.disable_progress_bars()


def peak_memory_gb() -> float:
    """Most memory that this process has held, in GB: of the GPU where there is one, else of the machine."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
