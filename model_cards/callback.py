"""Collects what a card says about training while the model is trained."""

import platform
import time
from importlib.metadata import version
from typing import Any

import torch
import transformers
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class CardFactsCallback(TrainerCallback):
    """Records hardware, duration and versions of a training run for [`CardFacts`]. It renders and sends nothing.

    Attributes:
        collected (`dict[str, Any]`): `hardware`, `train_clips`, `num_processes`, `precision`, `batch_size` (over all
            processes and accumulation steps) and `versions` once training has begun; `seconds`, `steps`, `epochs` and
            `best_metric` once it has ended.
    """

    def __init__(self) -> None:
        self.collected: dict[str, Any] = {}
        self._started = time.perf_counter()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._started = time.perf_counter()
        self.collected |= {
            "hardware": hardware(args),
            "train_clips": len(kwargs["train_dataloader"].dataset),
            "num_processes": args.world_size,
            "precision": "bfloat16" if args.bf16 else "float16" if args.fp16 else "float32",
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
        self.collected |= {
            "seconds": time.perf_counter() - self._started,
            "steps": state.global_step,
            "epochs": state.epoch,
            "best_metric": state.best_metric,
        }


def hardware(args: TrainingArguments) -> str:
    """Name of the device that this process trains on."""
    if args.device.type == "cuda":
        return torch.cuda.get_device_name(args.device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads"
