"""What the trainers of AudioFormer share: the order of the clips, the components of the loss, the layers' rates."""

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from huggingface_hub import CommitInfo
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer import TRAINING_ARGS_NAME

from audioformer.files import CARD
from audioformer.model_cards.push import push_folder
from audioformer.model_cards.render import render_plain_card

from ..arguments import AudioFormerTrainingArguments
from ..samplers import ClassBalancedSampler, EpochSampler, LengthGroupedSampler, ShuffledSampler
from .optimizer import decay_by_layer


class EpochCallback(TrainerCallback):
    """Tells the sampler and the examples which epoch it is.

    Accelerate's data loaders reach the sampler or the data set, never both, and neither once batches were skipped on
    several processes (`DataLoaderShard.set_epoch` of accelerate 1.15).
    """

    def __init__(self, trainer: "AudioFormerTrainer") -> None:
        self.trainer = trainer

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        epoch = int(state.epoch or 0)
        for listener in (self.trainer.epoch_sampler, self.trainer.train_dataset):
            if hasattr(listener, "set_epoch"):
                listener.set_epoch(epoch)


def check_arguments(args: TrainingArguments) -> None:
    """Refuse arguments that lack the settings of these trainers.

    Raises:
        ValueError: If `args` are plain `TrainingArguments`.
    """
    if not isinstance(args, AudioFormerTrainingArguments):
        raise ValueError(f"`args` must be `AudioFormerTrainingArguments`, got `{type(args).__name__}`.")


class AudioFormerTrainer(Trainer):
    """`Trainer` of transformers for [`CodeExamples`], the parent of the trainers for each task.

    Other data sets of items with `input_ids` (and `labels`) train as well; what is drawn for their items then comes
    from torch's global generator.

    The order of the clips follows from `args.data_seed` (or `args.seed`) and the epoch alone. Losses that consist of
    several parts are logged part by part: subclasses call [`~AudioFormerTrainer.log_component`].

    Args:
        model (`PreTrainedModel`): What is trained.
        args (`AudioFormerTrainingArguments`): Settings.
        data_collator (*optional*): By default the one of the task, see `default_data_collator`.
        kwargs: Passed to `Trainer`.

    Raises:
        ValueError: If `args` are plain `TrainingArguments`, `packed` is asked of another attention than flash
            attention, or early stopping without evaluations or without the best model at the end.
    """

    args: AudioFormerTrainingArguments

    def __init__(
        self,
        model: PreTrainedModel,
        args: AudioFormerTrainingArguments,
        data_collator: Any = None,
        **kwargs: Any,
    ) -> None:
        check_arguments(args)
        if args.packed and "flash" not in model.config._attn_implementation:
            raise ValueError(
                '`packed` needs the attention "flash_attention_2", which takes clips of any lengths in one row; '
                f"the model has {model.config._attn_implementation!r}. Elsewhere use `group_by_length`."
            )
        if args.early_stopping_patience is not None and not (
            args.load_best_model_at_end and args.metric_for_best_model and args.eval_strategy != "no"
        ):
            raise ValueError(
                f"`early_stopping_patience` {args.early_stopping_patience} needs `load_best_model_at_end`, "
                '`metric_for_best_model`, and an `eval_strategy` other than "no".'
            )
        self.epoch_sampler: EpochSampler | None = None
        self._components: dict[str, list[torch.Tensor]] = defaultdict(list)
        if data_collator is None:
            data_collator = self.default_data_collator(model, args)
        super().__init__(model=model, args=args, data_collator=data_collator, **kwargs)
        self.add_callback(EpochCallback(self))
        self.early_stopping: EarlyStoppingCallback | None = None
        if args.early_stopping_patience is not None:
            self.early_stopping = EarlyStoppingCallback(args.early_stopping_patience)
            self.add_callback(self.early_stopping)

    def default_data_collator(self, model: PreTrainedModel, args: AudioFormerTrainingArguments) -> Any:
        """The collator of the task."""
        raise NotImplementedError(f"{type(self).__name__} has no collator of its own: pass `data_collator`.")

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        dataset = self.train_dataset if train_dataset is None else train_dataset
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        # What a step computes on all processes: clips that share a batch should be alike in length on each of them.
        clips_a_step = (
            self.args.train_batch_size * self.args.gradient_accumulation_steps * max(1, self.args.world_size)
        )
        if self.args.class_balanced_sampling:
            labels = dataset.labels if hasattr(dataset, "labels") else [item["labels"] for item in dataset]
            self.epoch_sampler = ClassBalancedSampler(
                np.asarray(labels), distinct_within=min(clips_a_step, len(dataset)), seed=seed
            )
        elif self.args.group_by_length:
            lengths = dataset.lengths if hasattr(dataset, "lengths") else [len(item["input_ids"]) for item in dataset]
            self.epoch_sampler = LengthGroupedSampler(
                lengths, clips_a_step, seed=seed, buffer_size=self.args.shuffle_buffer_size
            )
        else:
            self.epoch_sampler = ShuffledSampler(len(dataset), seed, self.args.shuffle_buffer_size)
        return self.epoch_sampler

    def _get_dataloader(self, *args: Any, is_training: bool = False, **kwargs: Any) -> DataLoader:
        collator = self.data_collator
        if not is_training and getattr(collator, "packed", False):
            # Evaluations count clips by the rows of a batch, and packed clips are one row.
            self.data_collator = replace(collator, packed=False)
        try:
            return super()._get_dataloader(*args, is_training=is_training, **kwargs)
        finally:
            self.data_collator = collator

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new and self.args.layer_wise_lr_decay is not None:
            decay_by_layer(optimizer, self.model if model is None else model, self.args.layer_wise_lr_decay)
        return optimizer

    def _init_training_state(
        self, max_steps: int, num_update_steps_per_epoch: int, num_train_epochs: int, *resume_and_trial: Any
    ) -> tuple[int, int]:
        steps = (max_steps, num_update_steps_per_epoch, num_train_epochs)
        stopping = self.early_stopping
        if stopping is None:
            return super()._init_training_state(*steps, *resume_and_trial)
        stopping.early_stopping_patience_counter = 0
        position = super()._init_training_state(*steps, *resume_and_trial)
        # The Trainer restores the best metric, not for how long nothing was better: a resumed run would stop later.
        saved = self.state.stateful_callbacks.setdefault(type(stopping).__name__, stopping.state())
        stopping.early_stopping_patience_counter = saved["attributes"]["early_stopping_patience_counter"]
        # A run that had stopped, and was killed before it saved its model, has nothing left to train.
        has_stopped = stopping.early_stopping_patience_counter >= stopping.early_stopping_patience
        return (num_train_epochs, 0) if has_stopped else position

    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        # What comes next marks the checkpoint as whole: the random states of the other processes belong to it.
        self.accelerator.wait_for_everyone()

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        super().save_model(output_dir, _internal_call)
        if self.args.should_save:
            # A pickle, which nobody should load from a folder that travels, and which nothing here reads.
            (Path(output_dir or self.args.output_dir) / TRAINING_ARGS_NAME).unlink(missing_ok=True)

    def push_to_hub(
        self,
        commit_message: str | None = "Upload with audioformer",
        blocking: bool = True,
        token: str | None = None,
        revision: str | None = None,
        private: bool | None = None,
        *,
        license: str | None = None,
        **kwargs: Any,
    ) -> CommitInfo | None:
        """Save the model and upload `output_dir` in one commit, checked as by `audioformer push`.

        Args:
            commit_message (`str`): Title of the commit.
            blocking (`bool`): Only `True` is there: a check that fails has to be heard.
            token, revision, private (*optional*): As in `Trainer.push_to_hub`.
            license (`str`, *optional*): Licence of the weights, unless the card states one.
            kwargs: What `Trainer.push_to_hub` passes to its own card; the card here is that of the folder.

        Returns:
            `huggingface_hub.CommitInfo` on the first process.

        Raises:
            ValueError: If something in the folder must not be published, see [`push_folder`].
        """
        token = self.args.hub_token if token is None else token
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        card = Path(self.args.output_dir) / CARD
        if not card.is_file():
            render_plain_card(self.hub_model_id.split("/")[-1], license).save(card)
        return push_folder(
            self.args.output_dir,
            self.hub_model_id,
            private=bool(private or self.args.hub_private_repo),
            license=license,
            revision=revision or self.args.hub_revision,
            commit_message=commit_message or "Upload with audioformer",
            token=token,
        )

    def log_component(self, name: str, value: torch.Tensor) -> None:
        """Add one batch's value of a part of the loss to the mean that the next log record shows as `name`.

        Args:
            name (`str`): Such as `"mpc_loss"`; in evaluations it becomes `"eval_mpc_loss"`.
            value (`torch.Tensor`): Scalar, the mean over the batch.
        """
        prefix = "" if self.model.training else "eval_"
        # Kept on the device: reading a value here would wait for it in every step.
        self._components[prefix + name].append(value.detach().float())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        for prefix in ("", "eval_"):
            if f"{prefix}loss" not in logs:
                continue
            for name in [name for name in self._components if name.startswith("eval_") == bool(prefix)]:
                mean = torch.stack(self._components.pop(name)).mean()
                logs[name] = self.accelerator.gather(mean.reshape(1)).mean().item()
        super().log(logs, start_time)
