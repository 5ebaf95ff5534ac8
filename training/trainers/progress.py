"""What a training says while it goes on: bars on a terminal, and elsewhere one line per epoch."""

import math
import sys
import time
from collections.abc import Callable
from typing import Any

from tqdm.auto import tqdm
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from audioformer.data.progress import is_terminal
from audioformer.model_cards.callback import CardFactsCallback

SILENCE_S = 1800.0
"""Longest time in seconds without a line; only epochs that take longer have more than one."""
UNTIMED_STEPS, TIMED_STEPS = 2, 10
"""The first steps take longer; the duration of a training is estimated from those after them."""
_NOT_SHOWN = ("_runtime", "_per_second", "_preparation_time")


def show_progress(trainer: Trainer, record: CardFactsCallback) -> None:
    """Replace bars, and the records that the Trainer prints, by one line per epoch where no terminal shows them.

    Bars stay if the error stream is a terminal; the records of the log stay if the output stream is one as well.
    Callbacks that somebody else chose stay as they are.

    Args:
        trainer (`Trainer`): Its callbacks are changed.
        record ([`CardFactsCallback`]): Callback of the trainer that knows the loss of an epoch.
    """
    if is_terminal(sys.stdout) and is_terminal(sys.stderr):
        return
    kinds = {type(callback) for callback in trainer.callback_handler.callbacks}
    for kind in kinds & {ProgressCallback, PrinterCallback}:
        trainer.remove_callback(kind)
        if kind is ProgressCallback and is_terminal(sys.stderr):
            trainer.add_callback(BarCallback())
        trainer.add_callback(EpochLinesCallback(record))


class BarCallback(ProgressCallback):
    """The Trainer's progress bar without the records of the log, which go elsewhere."""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        pass


class EpochLinesCallback(TrainerCallback):
    """Prints one line per epoch: steps, losses and metrics, and the time that is left.

    Args:
        record ([`CardFactsCallback`]): Callback of the same trainer, called before this one.
        clock (`Callable[[], float]`, defaults to `time.perf_counter`): Time in seconds.
    """

    def __init__(self, record: CardFactsCallback, clock: Callable[[], float] = time.perf_counter) -> None:
        self.record = record
        self.clock = clock
        self._started = self._last_line = clock()
        self._first_step = 0
        self._ended: dict[str, float] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._started = self._last_line = self.clock()
        self._first_step, self._ended = state.global_step, None

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._print_epoch(state)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.clock() - self._last_line > SILENCE_S:
            self._print(state, f"epoch {_epoch(state)}: step {_step(state)}{self._time_left(state)}")

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # The line follows when the evaluation at the end of the epoch is done as well.
        self._ended = {"loss": self.record.epoch_loss}

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if self._ended is not None and "train_runtime" not in (logs or {}):
            shown = {name: value for name, value in (logs or {}).items() if _is_shown(name)}
            self._ended = {**shown, **self._ended}

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._print_epoch(state)

    def _print_epoch(self, state: TrainerState) -> None:
        if self._ended is None:
            return
        first = ("loss", *(name for name in self._ended if name != "loss"))
        values = "".join(f", {name} {self._ended[name]:.4g}" for name in first)
        self._print(state, f"epoch {_epoch(state)}: step {_step(state)}{values}{self._time_left(state)}")
        self._ended = None

    def _time_left(self, state: TrainerState) -> str:
        steps, left = state.global_step - self._first_step, state.max_steps - state.global_step
        if steps <= 0 or left <= 0:
            return ""
        return f", {about((self.clock() - self._started) / steps * left)} left"

    def _print(self, state: TrainerState, line: str) -> None:
        self._last_line = self.clock()
        if state.is_world_process_zero:
            say(line)


class PlanCallback(TrainerCallback):
    """Says before a training how many clips and steps it has, and after its first steps how long it will take.

    Args:
        num_models (`int`, defaults to 1): Number of models that are trained one after the other, with this callback.
        unit (`str`, *optional*): What they are, such as `"codebooks"`.
        clock (`Callable[[], float]`, defaults to `time.perf_counter`): Time in seconds.
    """

    def __init__(
        self, num_models: int = 1, unit: str = "models", clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.num_models = num_models
        self.unit = unit
        self.clock = clock
        self._models_begun = 0
        self._first_step = 0
        self._timed_from = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._first_step = state.global_step
        self._models_begun += 1
        data_set = kwargs["train_dataloader"].dataset
        clips = f"{len(data_set):,} clips" if hasattr(data_set, "__len__") else "streamed clips"
        batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        models = "" if self.num_models == 1 else f"{self.num_models} {self.unit} x "
        resumed = f", resumed after step {state.global_step:,}" if state.global_step else ""
        if self._models_begun == 1:
            plan = f"training: {models}{state.max_steps:,} steps; {clips}, batches of {batch:,}{resumed}"
        else:
            plan = f"training: {self._models_begun} of {self.num_models} {self.unit}{resumed}"
        self._say(state, plan)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        done = state.global_step - self._first_step
        if done == UNTIMED_STEPS:
            self._timed_from = self.clock()
        if done != UNTIMED_STEPS + TIMED_STEPS or self._models_begun > 1:
            return
        step_s = (self.clock() - self._timed_from) / TIMED_STEPS
        models_after = self.num_models - self._models_begun
        steps = state.max_steps - state.global_step + models_after * state.max_steps
        models = "" if self.num_models == 1 else f" for all {self.num_models} {self.unit}"
        self._say(state, f"training: {about(step_s * steps)} left{models} ({step_s:.2g} s a step)")

    def _say(self, state: TrainerState, line: str) -> None:
        if state.is_world_process_zero:
            say(line)


def say(line: str) -> None:
    """Print a line without breaking a progress bar."""
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


def about(seconds: float) -> str:
    """A duration as people estimate it: `about 40 s`, `about 12 min`, `about 3.5 h`, `about 4 days`."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} min"
    if seconds < 48 * 3600:
        return f"about {seconds / 3600:.1f} h"
    return f"about {round(seconds / 86400)} days"


def _is_shown(name: str) -> bool:
    is_result = name.startswith("eval_") or name.endswith(("_loss", "_accuracy", "codes_used", "_perplexity"))
    return name == "learning_rate" or (is_result and not name.endswith(_NOT_SHOWN))


def _epoch(state: TrainerState) -> str:
    return f"{math.ceil((state.epoch or 0) - 1e-6)} of {state.num_train_epochs}"


def _step(state: TrainerState) -> str:
    return f"{state.global_step:,} of {state.max_steps:,}"
