"""Collects what a card says about training while the model is trained, over all parts of a run that was resumed."""

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import torch
import transformers
from accelerate.state import AcceleratorState
from accelerate.utils import reduce
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

PARTS = "run_parts"
"""Entry of the Trainer's state, and so of its checkpoints, that holds the parts of a run up to there."""

PRECISIONS = {"bf16": "bfloat16", "fp16": "float16", "fp8": "float8"}
_OF_PARTS = ("hardware", "num_processes", "precision", "batch_size")


class CardFactsCallback(TrainerCallback):
    """Records how a model was trained, for [`CardFacts`] and the results. It renders and sends nothing.

    A run that is killed and resumed has several parts. What a part did up to its last checkpoint is kept in that
    checkpoint, so that the facts are those of all steps that led to the model. Steps after the last checkpoint of a
    part are trained again by the next one; only the latter count.

    Args:
        measure_memory (`Callable[[], float]`, *optional*): Peak memory of this process so far in GB.

    Attributes:
        collected (`dict[str, Any]`): `hardware`, `train_clips` (`None` of a stream), `num_processes`, `precision`,
            `batch_size` (over all processes and accumulation steps) and `versions` once training has begun; where
            parts differ, the values in order as one text, such as `"float32, then bfloat16"`. Once training has ended
            also `seconds`, `steps`,
            `epochs`, `best_metric`, `train_loss` (mean over all steps), `peak_memory_gb` (the largest of all parts;
            `None` without `measure_memory`), `parts` (a dictionary per part with `steps`, `seconds`, `loss_sum`,
            `peak_memory_gb` and the settings above) and `unrecorded_steps`: steps of which only the loss is known,
            since their checkpoint holds no record. `evaluation` once the weights were evaluated: `metrics`,
            `num_clips`, `after_training`, and `selected` (whether the same clips selected the checkpoint).
        epoch_loss (`float`): Mean loss over the steps of the last epoch that ended, or over those of this part.
    """

    def __init__(self, measure_memory: Callable[[], float] | None = None) -> None:
        self.collected: dict[str, Any] = {}
        self.measure_memory = measure_memory
        self._started = time.perf_counter()
        self._earlier: list[dict[str, Any]] = []
        self._unrecorded_steps = 0
        self._unrecorded_loss = 0.0
        self._first_step = 0
        self._own: dict[str, Any] = {}
        self._loss_sum: torch.Tensor | float = 0.0
        self._num_losses = 0
        self._until_epoch: tuple[int, float] = (0, 0.0)
        self.epoch_loss = 0.0
        self._selecting: Any = None

    def add_loss(self, loss: torch.Tensor) -> None:
        """Count the loss of a batch, as `training_step` returns it: divided by the number of accumulated batches."""
        loss = loss.detach().float()
        # As in the Trainer's log, the mean so far stands for a loss that is not finite. Nothing waits for the device.
        mean = self._loss_sum / max(1, self._num_losses) + torch.zeros_like(loss)
        self._loss_sum = self._loss_sum + torch.where(torch.isfinite(loss), loss, mean)
        self._num_losses += 1

    def mean_loss_sum(self) -> float:
        """Sum of the losses of the steps of this part, the mean over the processes; all of them must call it."""
        total = torch.as_tensor(self._loss_sum, dtype=torch.float32)
        return float(reduce(total, "mean").item())

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._started = time.perf_counter()
        self._selecting = None
        self._loss_sum, self._num_losses = 0.0, 0
        self._first_step = state.global_step
        self._until_epoch = (state.global_step, 0.0)
        # A dictionary by names, whatever its annotation says.
        saved: Any = state.stateful_callbacks
        self._earlier = [dict(part) for part in saved.get(PARTS, [])] if state.global_step else []
        self._unrecorded_steps = state.global_step - sum(part["steps"] for part in self._earlier)
        self._unrecorded_loss = logged_loss(state.log_history) * self._unrecorded_steps
        self._own = {
            "hardware": hardware(args),
            "num_processes": args.world_size,
            "precision": precision(kwargs.get("model")),
            "batch_size": args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
            "versions": {
                "audioformer": version("audioformer"),
                "transformers": transformers.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        }
        clips = kwargs["train_dataloader"].dataset
        self.collected = {
            "train_clips": len(clips) if hasattr(clips, "__len__") else None,
            **merged([*self._earlier, self._own]),
        }

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if control.should_save:
            self._record(state)

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        step, loss_sum = self._until_epoch
        self._until_epoch = (state.global_step, self.mean_loss_sum())
        self.epoch_loss = (self._until_epoch[1] - loss_sum) / max(1, state.global_step - step)
        if control.should_save:
            self._record(state)

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # A checkpoint follows, if there is one; its metric may decide that.
        if self._own and state.global_step > self._first_step:
            self._record(state)
        clips = getattr(kwargs.get("eval_dataloader"), "dataset", None)
        is_training = bool(self._own)
        if is_training and args.load_best_model_at_end:
            self._selecting = clips
        costs = ("_runtime", "_samples_per_second", "_steps_per_second", "_preparation_time")
        metrics = {
            name: float(value)
            for name, value in (kwargs.get("metrics") or {}).items()
            if isinstance(value, (int, float)) and name != "epoch" and not name.endswith(costs)
        }
        self.collected["evaluation"] = {
            "metrics": metrics,
            "num_clips": len(clips) if clips is not None and hasattr(clips, "__len__") else None,
            "after_training": not is_training,
            "selected": clips is not None and clips is self._selecting,
        }

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._record(state)
        every = [*self._earlier, self._part(state)]
        # A run that was killed after its last step, and only finished now, was not trained in this part.
        parts = [part for part in every if part["steps"]] or every
        memory = [part["peak_memory_gb"] for part in parts if part["peak_memory_gb"] is not None]
        loss_sum = sum(part["loss_sum"] for part in parts) + self._unrecorded_loss
        self.collected |= {
            **merged(parts),
            "seconds": sum(part["seconds"] for part in parts),
            "steps": state.global_step,
            "epochs": state.epoch,
            "best_metric": state.best_metric,
            "train_loss": loss_sum / max(1, state.global_step),
            "peak_memory_gb": max(memory) if memory else None,
            "parts": parts,
            "unrecorded_steps": self._unrecorded_steps,
        }
        # An evaluation after the training is no part of it.
        self._own = {}

    def _part(self, state: TrainerState) -> dict[str, Any]:
        return {
            "steps": state.global_step - self._first_step,
            "seconds": time.perf_counter() - self._started,
            "loss_sum": self.mean_loss_sum(),
            "peak_memory_gb": None if self.measure_memory is None else self.measure_memory(),
            **self._own,
        }

    def _record(self, state: TrainerState) -> None:
        saved: Any = state.stateful_callbacks
        saved[PARTS] = [*self._earlier, self._part(state)]


def known_facts(collected: Mapping[str, Any]) -> dict[str, str]:
    """What a card says about a run of which nothing else is known, by title.

    Args:
        collected (`Mapping[str, Any]`): From [`CardFactsCallback`].
    """
    known: dict[str, str] = {}
    evaluation = collected.get("evaluation")
    if evaluation is not None:
        clips = "an unknown number of" if evaluation["num_clips"] is None else f"{evaluation['num_clips']:,}"
        remark = ""
        if not evaluation["after_training"]:
            remark = ", during training and not of the final weights"
        elif evaluation["selected"]:
            remark = " that selected the checkpoint as well, so the result is optimistic"
        known["evaluated on"] = f"{clips} clips{remark}"
        known |= {name.replace("_", " "): f"{value:.4g}" for name, value in evaluation["metrics"].items()}
    if "steps" in collected:
        unrecorded = collected["unrecorded_steps"]
        since = f", without the first {unrecorded:,} steps, which have no record" if unrecorded else ""
        seconds = collected["seconds"]
        known |= {
            "training clips": "streamed" if collected["train_clips"] is None else f"{collected['train_clips']:,}",
            "mean training loss": f"{collected['train_loss']:.4g}",
            "steps": f"{collected['steps']:,} with batches of {collected['batch_size']}",
            "hardware": f"{collected['num_processes']} x {collected['hardware']}, {collected['precision']}",
            "duration": (f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} minutes") + since,
        }
        if collected["peak_memory_gb"] is not None:
            known["peak memory"] = f"{collected['peak_memory_gb']:.2f} GB"
    if "versions" in collected:
        known["versions"] = ", ".join(f"{name} {number}" for name, number in collected["versions"].items())
    return known


def merged(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Hardware, processes, precision, batch and versions of a run; values that differ between parts become a text."""
    values = {name: _in_order([part[name] for part in parts]) for name in _OF_PARTS}
    packages = dict.fromkeys(name for part in parts for name in part["versions"])
    versions = {
        name: _in_order([part["versions"][name] for part in parts if name in part["versions"]]) for name in packages
    }
    return {**values, "versions": versions}


def _in_order(values: Sequence[Any]) -> Any:
    changes = [value for index, value in enumerate(values) if index == 0 or value != values[index - 1]]
    return changes[0] if len(changes) == 1 else ", then ".join(map(str, changes))


def logged_loss(log_history: Sequence[Mapping[str, Any]]) -> float:
    """Mean training loss over the steps that a log covers; 0 if it has none."""
    total, last = 0.0, 0
    for record in log_history:
        if "loss" in record and record["step"] > last:
            total += record["loss"] * (record["step"] - last)
            last = record["step"]
    return total / last if last else 0.0


def precision(model: torch.nn.Module | None) -> str:
    """Precision of the training that is going on: that of the mixed precision, else that of the parameters.

    Accelerate decides on mixed precision: by the Trainer's arguments, by `accelerate launch`, or by the settings of
    DeepSpeed.

    Args:
        model (`torch.nn.Module`, *optional*): The model that is trained.
    """
    mixed = AcceleratorState().mixed_precision
    if mixed != "no":
        return PRECISIONS.get(mixed, str(mixed))
    dtypes = {} if model is None else dict.fromkeys(parameter.dtype for parameter in model.parameters())
    return " and ".join(str(dtype).removeprefix("torch.") for dtype in dtypes) or "float32"


def hardware(args: TrainingArguments) -> str:
    """Name of the device that this process trains on."""
    if args.device.type == "cuda":
        return torch.cuda.get_device_name(args.device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
