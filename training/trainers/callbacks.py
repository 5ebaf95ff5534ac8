"""Callbacks of the trainers: the epoch of samplers and data sets, and early stopping across a resume."""

from pathlib import Path
from typing import Any, Protocol

from transformers import EarlyStoppingCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME


class FollowsEpochs(Protocol):
    """A trainer whose sampler, training data set and collator depend on the epoch."""

    epoch_sampler: Any
    train_dataset: Any
    data_collator: Any


class EpochCallback(TrainerCallback):
    """Tells the sampler, the training data set and the collator which epoch begins.

    Accelerate's data loaders set the epoch of the sampler or of the data set, never of both, and of neither once
    batches have been skipped on several processes (`DataLoaderShard.set_epoch` of accelerate 1.15).

    Args:
        trainer ([`FollowsEpochs`]): Its `epoch_sampler`, `train_dataset` and `data_collator` are told.
    """

    def __init__(self, trainer: FollowsEpochs) -> None:
        self.trainer = trainer

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        epoch = int(state.epoch or 0)
        trainer = self.trainer
        listeners: tuple[Any, ...] = (trainer.epoch_sampler, trainer.train_dataset, trainer.data_collator)
        for listener in listeners:
            if hasattr(listener, "set_epoch"):
                listener.set_epoch(epoch)


class StreamCallback(TrainerCallback):
    """Counts a run on a stream as one epoch: the Trainer would begin it again where a run is resumed."""

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        state.epoch = state.global_step / state.max_steps


class PatienceCallback(TrainerCallback):
    """Sets the patience that a run has used up when it begins: that of its checkpoint, or none.

    The Trainer restores the best metric from a checkpoint, but not the number of evaluations since then. A resumed run
    would stop later than an uninterrupted one.

    Args:
        early_stopping (`EarlyStoppingCallback`): The callback whose counter is set.
    """

    def __init__(self, early_stopping: EarlyStoppingCallback) -> None:
        self.early_stopping = early_stopping

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # The state of a new run records what the callback counted in an earlier call of `train`, if there was one.
        self.early_stopping.early_stopping_patience_counter = used_patience(state) if state.global_step else 0
        # A checkpoint of a run without early stopping lacks this entry, which the Trainer needs to save the next one.
        saved: Any = state.stateful_callbacks
        saved.setdefault(EarlyStoppingCallback.__name__, self.early_stopping.state())


def used_patience(state: TrainerState) -> int:
    """Number of evaluations without a better metric that the state of a checkpoint has recorded."""
    # A dictionary by the names of the classes, whatever its annotation says.
    callbacks: Any = state.stateful_callbacks
    saved = callbacks.get(EarlyStoppingCallback.__name__)
    return 0 if saved is None else saved["attributes"]["early_stopping_patience_counter"]


def read_state(checkpoint: str | Path) -> TrainerState:
    """The Trainer's state that a checkpoint folder holds."""
    return TrainerState.load_from_json(str(Path(checkpoint) / TRAINER_STATE_NAME))
