"""What a run has cost and lost in all its parts, across every resume."""

import time
from typing import Any, Protocol

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from audioformer.model_cards.callback import TOTALS


class SumsLosses(Protocol):
    """A trainer that keeps the sum of the losses of its last call of `train`."""

    _total_loss_scalar: float


class RunTotals(TrainerCallback):
    """Counts seconds and losses of a whole run. Checkpoints keep them, so that a resumed run goes on counting.

    The Trainer itself reports time and loss of its last call of `train` alone.

    Args:
        trainer ([`SumsLosses`]): Its losses are counted.

    Attributes:
        seconds (`float`): Time spent in training, in seconds, without what was lost when a run was killed.
        since_step (`int`): First step that is counted: 0, unless a checkpoint was resumed that has no record.
    """

    def __init__(self, trainer: SumsLosses) -> None:
        self.trainer = trainer
        self.seconds = 0.0
        self.since_step = 0
        self._loss_sum = self._loss_before = self._seconds_before = 0.0
        self._steps = 0
        self._started = time.perf_counter()

    @property
    def training_loss(self) -> float:
        """Mean loss over all steps that are counted."""
        return self._loss_sum / max(self._steps - self.since_step, 1)

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # A dictionary, whatever its annotation says.
        saved: Any = state.stateful_callbacks
        record = saved.get(TOTALS, {}).get("attributes") if state.global_step else None
        unknown = {"seconds": 0.0, "loss_sum": 0.0, "since_step": state.global_step}
        record = unknown if record is None else record
        self._seconds_before, self._loss_before = record["seconds"], record["loss_sum"]
        self.since_step = record["since_step"]
        self._started = time.perf_counter()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.record(state, pending=0.0)

    def record(self, state: TrainerState, pending: float) -> None:
        """Count up to now, and put the record into the state that a checkpoint saves.

        Args:
            state (`TrainerState`): The Trainer's state.
            pending (`float`): Sum of the losses of steps that the Trainer has not logged yet.
        """
        self.seconds = self._seconds_before + time.perf_counter() - self._started
        self._loss_sum = self._loss_before + self.trainer._total_loss_scalar + pending
        self._steps = state.global_step
        saved: Any = state.stateful_callbacks
        values = {"seconds": self.seconds, "loss_sum": self._loss_sum, "since_step": self.since_step}
        saved[TOTALS] = {"args": {}, "attributes": values}
