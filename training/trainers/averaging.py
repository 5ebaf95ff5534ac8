"""An exponential moving average of the weights, which is evaluated and saved in place of the last ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from audioformer.files import write_whole

LAST_WEIGHTS = "last_weights.safetensors"
"""Beside the average in `model.safetensors`, a checkpoint holds the weights that the optimizer goes on with."""


class WeightAverage(TrainerCallback):
    """Averages the weights of a model over the steps of its training.

    After step `t`, the average moves towards the weights by `1 - d`, with `d = min(decay, (1 + t) / (10 + t))`: early
    in a training, or in a short one, it does not hang on to the random weights of the beginning. Averages are kept in
    float32. Every process has the same weights, and computes the same average. Buffers are those of the last step.

    Args:
        decay (`float`): Largest `d`, in (0, 1).

    Attributes:
        checkpoint (`Path`, *optional*): The checkpoint that the next training resumes from.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.checkpoint: Path | None = None
        self._average: list[torch.Tensor] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        model: nn.Module = kwargs["model"]
        self._average = [parameter.detach().float().clone() for parameter in model.parameters()]
        if self.checkpoint is not None:
            last = load_file(self.checkpoint / LAST_WEIGHTS)
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    parameter.copy_(last[name])

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        weights: list[torch.Tensor] = [parameter.detach().float() for parameter in kwargs["model"].parameters()]
        decay = min(self.decay, (1 + state.global_step) / (10 + state.global_step))
        # The count matters to other averages of torch alone.
        get_ema_multi_avg_fn(decay)(self._average, weights, state.global_step)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # The best model, if there is one, was loaded from its checkpoint, which holds the average of its time.
        if not (args.load_best_model_at_end and state.best_model_checkpoint):
            self._write_to(kwargs["model"])
        self._average, self.checkpoint = None, None

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """Within this context, during a training, the model has the average in place of its weights."""
        if self._average is None:
            yield
            return
        last = [parameter.detach().clone() for parameter in model.parameters()]
        self._write_to(model)
        try:
            yield
        finally:
            with torch.no_grad():
                for parameter, weights in zip(model.parameters(), last, strict=True):
                    parameter.copy_(weights)

    def save_last(self, model: nn.Module, folder: Path) -> None:
        """Write the weights that the optimizer goes on with, during a training; nothing at its end."""
        if self._average is not None:
            weights = {name: parameter.detach().contiguous() for name, parameter in model.named_parameters()}
            write_whole(folder / LAST_WEIGHTS, partial(save_file, weights))

    def _write_to(self, model: nn.Module) -> None:
        # In place: the optimizer and whatever wraps the model know these tensors.
        with torch.no_grad():
            for parameter, average in zip(model.parameters(), self._average or [], strict=True):
                parameter.copy_(average)


def check_resumed(checkpoint: Path, decay: float) -> None:
    """Check that a checkpoint was written with an average if one goes on, and without if none does.

    Raises:
        ValueError: If it was not; its weights are then not those that its optimizer belongs to.
    """
    has_average = (checkpoint / LAST_WEIGHTS).is_file()
    if has_average != bool(decay):
        then = "with" if has_average else "without"
        raise ValueError(
            f"`ema_decay` is {decay}, but {checkpoint} was written {then} an average of the weights: resume with the "
            "setting of then, or begin anew."
        )
