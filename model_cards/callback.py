"""Collects what a card says about training while the model is trained."""

import platform
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import torch
import transformers
from accelerate.state import AcceleratorState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

TOTALS = "RunTotals"
"""Where the state of a run keeps seconds and losses of all its parts."""

_PRECISIONS = {"bf16": "bfloat16", "fp16": "float16", "fp8": "float8"}


class CardFactsCallback(TrainerCallback):
    """Records hardware, duration, versions and results of a training run for its card. It renders and sends nothing.

    Attributes:
        collected (`dict[str, Any]`): `hardware`, `train_clips`, `num_processes`, `precision`, `batch_size` (over all
            processes and accumulation steps) and `versions` once training has begun; `seconds` of
            all parts of the run, `since_step` (the first step that they count, 0 for all), `steps`, `epochs` and
            `best_metric` once it has ended; `evaluation` once the weights were evaluated: `metrics`, `num_clips`,
            `after_training`, and `selected` (whether the same clips selected the checkpoint).
    """

    def __init__(self) -> None:
        self.collected: dict[str, Any] = {}
        self._started = time.perf_counter()
        self._is_training = False
        self._selecting: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._started = time.perf_counter()
        self._is_training = True
        self._selecting = None
        # Results of weights that change now.
        self.collected.pop("evaluation", None)
        model = kwargs.get("model")
        self.collected |= {
            "hardware": hardware(args),
            "train_clips": len(kwargs["train_dataloader"].dataset),
            "num_processes": args.world_size,
            "precision": precision(model),
            "batch_size": args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
            "versions": {
                "audioformer": version("audioformer"),
                "transformers": transformers.__version__,
                "torch": torch.__version__,
                "python": platform.python_version(),
            },
        }

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._is_training = False
        # A dictionary, whatever its annotation says. A plain Trainer keeps no totals.
        saved: Any = state.stateful_callbacks or {}
        totals = saved.get(TOTALS, {}).get("attributes", {})
        self.collected |= {
            "seconds": totals.get("seconds", time.perf_counter() - self._started),
            "since_step": totals.get("since_step", 0),
            "steps": state.global_step,
            "epochs": state.epoch,
            "best_metric": state.best_metric,
        }

    def on_evaluate(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        loader = kwargs.get("eval_dataloader")
        clips = getattr(loader, "dataset", None)
        if self._is_training and args.load_best_model_at_end:
            self._selecting = clips
        costs = ("_runtime", "_samples_per_second", "_steps_per_second", "_preparation_time")
        metrics = {
            name: float(value)
            for name, value in (kwargs.get("metrics") or {}).items()
            if isinstance(value, (int, float)) and name != "epoch" and not name.endswith(costs)
        }
        self.collected["evaluation"] = {
            "metrics": metrics,
            "num_clips": len(clips) if hasattr(clips, "__len__") else None,
            "after_training": not self._is_training,
            "selected": clips is not None and clips is self._selecting,
        }


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
        if evaluation["selected"]:
            remark = " that selected the checkpoint as well, so the result is optimistic"
        elif not evaluation["after_training"]:
            remark = ", during training and not of the final weights"
        known["evaluated on"] = f"{clips} clips{remark}"
        known |= {name.replace("_", " "): f"{value:.4g}" for name, value in evaluation["metrics"].items()}
    if "steps" in collected:
        since = f", counted from step {collected['since_step']:,} on" if collected.get("since_step") else ""
        seconds = collected["seconds"]
        known |= {
            "training clips": f"{collected['train_clips']:,}",
            "steps": f"{collected['steps']:,} with batches of {collected['batch_size']}",
            "hardware": f"{collected['num_processes']} x {collected['hardware']}, {collected['precision']}",
            "duration": (f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} minutes") + since,
        }
    if "versions" in collected:
        known["versions"] = ", ".join(f"{name} {number}" for name, number in collected["versions"].items())
    return known


def precision(model: Any) -> str:
    """Number format that a model computes in: what Accelerate casts to, otherwise that of the weights."""
    # Not `args.bf16`: Accelerate takes the setting from its own configuration and launcher as well.
    mixed = AcceleratorState().mixed_precision if AcceleratorState._shared_state else "no"
    if mixed in _PRECISIONS:
        return _PRECISIONS[mixed]
    if model is None:
        return "float32"
    return str(next(model.parameters()).dtype).removeprefix("torch.")


def hardware(args: TrainingArguments) -> str:
    """Name of the device that this process trains on."""
    if args.device.type == "cuda":
        return torch.cuda.get_device_name(args.device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
