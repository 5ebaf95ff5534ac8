"""The output folder of a run: protecting finished runs, finding a checkpoint to resume from, saving the model."""

import copy
import gc
import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import datasets
import torch.distributed
from accelerate import PartialState
from transformers import Trainer, logging
from transformers.trainer import TRAINER_STATE_NAME

from audioformer.files import CODE_FOLDER, CONFIG, PREPROCESSOR_CONFIG, TRAINING_FOLDER, write_whole

from .arguments import AudioTrainingArguments
from .trainers.best_checkpoints import KEPT_FOLDER
from .trainers.checkpoints import checkpoints_of, last_complete_checkpoint

ArgumentsT = TypeVar("ArgumentsT", bound=AudioTrainingArguments)

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
        if any(checkpoints_of(place) for place in places_of_checkpoints(folder)):
            raise ValueError(
                f"`output` holds checkpoints of a run, {folder}: add --resume-from-checkpoint to resume it, or give "
                "another --output."
            )


def in_training_folder(arguments: ArgumentsT, folder: str | Path) -> ArgumentsT:
    """A copy of the arguments for the Trainer of a run: what it leaves goes below the results and the model.

    Args:
        arguments (`AudioTrainingArguments`): Arguments of the run.
        folder (`str` or `Path`): The model folder that the run writes.
    """
    arguments = copy.copy(arguments)
    arguments.output_dir = str(Path(folder) / TRAINING_FOLDER)
    return arguments


def places_of_checkpoints(folder: Path) -> tuple[Path, Path]:
    """Where the checkpoints of a run are: those of this version, and those of earlier ones."""
    return folder / TRAINING_FOLDER, folder


def drop_checkpoints(arguments: AudioTrainingArguments, folder: Path) -> None:
    """Remove the checkpoints of a finished run, unless they are to be kept. Only for one process."""
    if arguments.keep_checkpoints:
        return
    for place in places_of_checkpoints(folder):
        steps = checkpoints_of(place)
        # The newest first, and of each first what makes it complete: a run that is killed here and resumed goes on
        # from an older whole checkpoint, never from half of one, and still knows the best.
        for checkpoint in sorted(steps, key=lambda folder: steps[folder], reverse=True):
            (checkpoint / TRAINER_STATE_NAME).unlink(missing_ok=True)
            shutil.rmtree(checkpoint)
        shutil.rmtree(place / KEPT_FOLDER, ignore_errors=True)


def checkpoint_to_resume(arguments: AudioTrainingArguments, folder: Path) -> str | None:
    """The checkpoint to resume from: the named one, the newest complete one of the run, or none.

    Args:
        arguments (`AudioTrainingArguments`): `resume_from_checkpoint` says which.
        folder (`Path`): The model folder that the run writes.

    Raises:
        ValueError: If the named one does not exist.
    """
    wanted = arguments.resume_from_checkpoint
    if wanted is None:
        return None
    if str(wanted).lower() in LAST:
        return last_complete_checkpoint(*places_of_checkpoints(folder))
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
        move_code(folder)


def move_code(folder: Path) -> None:
    """Move the code that was saved with a model below it, into `code/`, and name it so in `auto_map`.

    Args:
        folder (`Path`): A folder with a model, as `save_pretrained` writes it.
    """
    files = sorted(folder.glob("*.py"))
    (folder / CODE_FOLDER).mkdir(exist_ok=True)
    # Copied first: at any moment, the files are where `auto_map` says.
    for file in files:
        write_whole(folder / CODE_FOLDER / file.name, partial(shutil.copyfile, file))
    for settings_file in (folder / CONFIG, folder / PREPROCESSOR_CONFIG):
        if not settings_file.is_file():
            continue
        settings = json.loads(settings_file.read_text(encoding="utf-8"))
        if settings.get("auto_map"):
            settings["auto_map"] = {name: _below(value) for name, value in settings["auto_map"].items()}
            text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
            write_whole(settings_file, partial(_write_text, text=text))
    for file in files:
        file.unlink()
    if not any((folder / CODE_FOLDER).iterdir()):
        (folder / CODE_FOLDER).rmdir()


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _below(reference: Any) -> Any:
    """A reference of `auto_map` to a file in `code/`. Classes with two implementations come as a list."""
    if isinstance(reference, list):
        return [_below(entry) for entry in reference]
    if reference is None or "--" in reference or "/" in reference:
        return reference
    return f"{CODE_FOLDER}/{reference}"


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
