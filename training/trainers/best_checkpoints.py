"""The mean of the weights of the best checkpoints of a run, which is saved in place of the best or the last ones."""

import json
import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import broadcast
from safetensors.torch import load_file
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from audioformer.files import write_whole

KEPT_FOLDER = "best_checkpoints"
"""Beside the checkpoints of a run: the weights of the best, which the Trainer removes with older checkpoints."""

_LIST = "checkpoints.json"
_WEIGHTS = "model*.safetensors"


class BestCheckpoints(TrainerCallback):
    """Keeps the weights of the best checkpoints, and gives the model their mean when the training ends.

    The best are those with the best metric in evaluations of the same step: `metric_for_best_model`, or the loss.
    Without evaluations they are the last ones. Parameters and buffers are averaged in float32, whole numbers are those
    of the newest.

    Args:
        count (`int`): Number of checkpoints.

    Attributes:
        averaged (`list[dict]`): Of each checkpoint in the mean its `step`, and the metric if there is one.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.averaged: list[dict[str, float]] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not args.should_save:
            return
        # A run that goes on from an earlier checkpoint takes the steps after it again.
        folder = _folder(args)
        self._write(folder, [entry for entry in _read(folder) if entry["step"] <= state.global_step])

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if not args.should_save:
            return
        metric, has_metric = metric_of(args), args.eval_strategy != "no"
        entry: dict[str, float] = {"step": state.global_step}
        of_step = [record for record in state.log_history if record["step"] == state.global_step]
        found = [record[metric] for record in of_step if metric in record]
        if has_metric:
            if not found:
                return
            entry[metric] = found[-1]
        folder, sign = _folder(args), -1 if args.greater_is_better else 1

        def rank(one: dict[str, float]) -> tuple[float, float]:
            value = sign * one[metric] if has_metric else 0.0
            return math.inf if math.isnan(value) else value, -one["step"]

        others = [one for one in _read(folder) if one["step"] != state.global_step and has_metric == (metric in one)]
        best = sorted([*others, entry], key=rank)[: self.count]
        if entry in best:
            checkpoint = Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            keep_weights(checkpoint, _place(folder, entry))
        self._write(folder, best)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        model: nn.Module = kwargs["model"]
        folder = _folder(args)
        self.averaged = sorted(_read(folder), key=lambda entry: entry["step"]) if args.should_save else []
        if self.averaged:
            write_to(model, mean_weights([_place(folder, entry) for entry in self.averaged]))
        if args.world_size > 1:
            # The folder of the first process need not be there for the others.
            for value in model.state_dict().values():
                broadcast(value)

    def _write(self, folder: Path, entries: list[dict[str, float]]) -> None:
        if not entries and not folder.is_dir():
            return
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / _LIST, lambda path: path.write_text(json.dumps(entries) + "\n"))
        kept = {_place(folder, entry) for entry in entries}
        for place in folder.iterdir():
            if place.is_dir() and place not in kept:
                shutil.rmtree(place)


def metric_of(args: TrainingArguments) -> str:
    """The metric that says which checkpoints are the best, as the log names it."""
    return f"eval_{(args.metric_for_best_model or 'loss').removeprefix('eval_')}"


def keep_weights(checkpoint: Path, place: Path) -> None:
    """Keep the weights of a checkpoint in another folder: as links, which cost nothing, where the disk has them.

    Raises:
        ValueError: If the checkpoint has no weights as a whole.
    """
    files = sorted(checkpoint.glob(_WEIGHTS))
    if not files:
        raise ValueError(
            f"`average_best_checkpoints` needs the weights of a model as a whole, but {checkpoint} has no "
            f"{_WEIGHTS}: adapters and divided weights are not averaged."
        )
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for file in files:
        try:
            os.link(file, place / file.name)
        except OSError:
            shutil.copyfile(file, place / file.name)


def mean_weights(places: list[Path]) -> dict[str, torch.Tensor]:
    """The mean of the weights in several folders, float32; whole numbers are those of the last folder."""
    means: dict[str, torch.Tensor] = {}
    for place in places:
        for file in sorted(place.glob(_WEIGHTS)):
            for name, value in load_file(file).items():
                if not value.is_floating_point():
                    means[name] = value
                elif name in means:
                    means[name] += value.float() / len(places)
                else:
                    means[name] = value.float() / len(places)
    return means


@torch.no_grad()
def write_to(model: nn.Module, weights: dict[str, torch.Tensor]) -> None:
    """Give a model these weights, in place.

    Raises:
        ValueError: If it has other ones.
    """
    own = model.state_dict()
    unknown = sorted(set(weights) - set(own))
    if unknown:
        raise ValueError(f"Checkpoints have weights that the model has not: {', '.join(unknown[:5])}.")
    for name, value in weights.items():
        own[name].copy_(value)


def _folder(args: TrainingArguments) -> Path:
    return Path(str(args.output_dir)) / KEPT_FOLDER


def _place(folder: Path, entry: dict[str, float]) -> Path:
    return folder / str(entry["step"])


def _read(folder: Path) -> list[dict[str, float]]:
    """The checkpoints whose weights are kept; one that was lost with a kill counts no more."""
    try:
        entries = json.loads((folder / _LIST).read_text())
    except (OSError, ValueError):
        return []
    return [entry for entry in entries if _place(folder, entry).is_dir()]
