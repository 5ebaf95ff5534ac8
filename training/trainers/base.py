"""The trainer that all model families share: order of the clips, learning rates, early stopping, logs, checkpoints."""

from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from huggingface_hub import CommitInfo
from torch.utils.data import DataLoader, Dataset, Sampler
from transformers import EarlyStoppingCallback, PreTrainedModel, Trainer, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME, TRAINING_ARGS_NAME
from transformers.trainer_utils import TrainOutput, get_last_checkpoint

from audioformer.files import CARD
from audioformer.model_cards.callback import CardFactsCallback, known_facts
from audioformer.model_cards.card_check import is_card_of_trainer, load_card
from audioformer.model_cards.facts import TrainedFacts
from audioformer.model_cards.push import push_folder
from audioformer.model_cards.render import render_card

from ..arguments import AudioTrainingArguments
from ..examples.streams import StreamedExamples
from ..peak_memory import peak_memory_gb
from ..samplers import ClassBalancedSampler, EpochSampler, LengthGroupedSampler, ShuffledSampler
from .averaging import WeightAverage, check_resumed
from .best_checkpoints import BestCheckpoints
from .callbacks import EpochCallback, PatienceCallback, StreamCallback, read_state, used_patience
from .optimizer import decay_by_layer
from .progress import show_progress


class AudioTrainer(Trainer):
    """`Trainer` of transformers for models that read audio.

    The order of the clips depends on `args.data_seed` (or `args.seed`) and the epoch alone. A loss that consists of
    several components is logged component by component: subclasses call [`~AudioTrainer.log_component`].

    Args:
        model (`PreTrainedModel`): The model to train.
        args ([`AudioTrainingArguments`]): Settings.
        data_collator (*optional*): Makes a batch of a list of items. Without one, `default_data_collator` is asked.
        kwargs: Passed to `Trainer`. Items of `train_dataset` are mappings of the forward's arguments. A data set may
            have `lengths` and `labels`, arrays over all clips, which spare reading every item for them; its
            `set_epoch` is called at the beginning of each epoch. [`StreamedExamples`] have no order and no end: all
            `args.max_steps` are one epoch, and checkpoints hold the position of every process.

    Raises:
        ValueError: If `args` lack the settings of this trainer, there is no collator, early stopping is requested
            without evaluations or without loading the best model at the end, or weights are to be averaged that are
            divided among processes (FSDP, DeepSpeed) or adapters.

    Attributes:
        card_facts ([`CardFactsCallback`]): What happened in all parts of a training, for its card and its results.
    """

    args: AudioTrainingArguments
    model: PreTrainedModel
    arguments_class: ClassVar[type[AudioTrainingArguments]] = AudioTrainingArguments

    def __init__(
        self, model: PreTrainedModel, args: AudioTrainingArguments, data_collator: Any = None, **kwargs: Any
    ) -> None:
        self.check_arguments(args)
        args.check_early_stopping()
        self.epoch_sampler: EpochSampler | None = None
        self._components: dict[str, list[torch.Tensor]] = defaultdict(list)
        self._resumed_step = 0
        self._has_stopped_early = False
        self.weight_average = WeightAverage(args.ema_decay) if args.ema_decay else None
        if data_collator is None:
            data_collator = self.default_data_collator(model, args)
        super().__init__(model=model, args=args, data_collator=data_collator, **kwargs)
        self.add_callback(EpochCallback(self))
        self._stream = self.train_dataset if isinstance(self.train_dataset, StreamedExamples) else None
        if self._stream is not None:
            # The stream goes on from its position: there is nothing to skip.
            self.args.ignore_data_skip = True
            self.add_callback(StreamCallback())
        if self.weight_average is not None:
            if self.is_fsdp_enabled or self.is_deepspeed_enabled:
                raise ValueError(
                    f"`ema_decay` {args.ema_decay} needs the weights as a whole: FSDP and DeepSpeed divide them."
                )
            self.add_callback(self.weight_average)
        self.best_checkpoints: BestCheckpoints | None = None
        if args.average_best_checkpoints:
            if self.is_fsdp_enabled or self.is_deepspeed_enabled or hasattr(model, "peft_config"):
                raise ValueError(
                    f"`average_best_checkpoints` {args.average_best_checkpoints} needs the weights as a whole: FSDP "
                    "and DeepSpeed divide them, and adapters are a part of them."
                )
            self.best_checkpoints = BestCheckpoints(args.average_best_checkpoints)
            self.add_callback(self.best_checkpoints)
        self.card_facts = CardFactsCallback(peak_memory_gb)
        self.add_callback(self.card_facts)
        show_progress(self, self.card_facts)
        if args.early_stopping_patience is not None:
            early_stopping = EarlyStoppingCallback(args.early_stopping_patience)
            self.add_callback(early_stopping)
            self.add_callback(PatienceCallback(early_stopping))

    @classmethod
    def check_arguments(cls, args: Any) -> None:
        """Refuse arguments that lack the settings of this trainer.

        Raises:
            ValueError: If `args` are not of the class `arguments_class`.
        """
        if not isinstance(args, cls.arguments_class):
            raise ValueError(f"`args` must be `{cls.arguments_class.__name__}`, got `{type(args).__name__}`.")

    def default_data_collator(self, model: Any, args: Any) -> Any:
        """Return the collator for `model`; subclasses take their own classes of models and arguments.

        Raises:
            ValueError: If only the caller can know it, as here.
        """
        raise ValueError(f"`data_collator` must be given: {type(self).__name__} does not know how to batch clips.")

    # Private in transformers, which offers no public way to set the sampler: a `get_train_dataloader` of our own would
    # have to repeat its whole construction of data loaders.
    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler | None:
        dataset: Any = self.train_dataset if train_dataset is None else train_dataset
        seed = self.args.seed if self.args.data_seed is None else self.args.data_seed
        # Clips in the batches of one step should be of similar length on all processes, which wait for each other.
        clips_per_step = (
            self.args.train_batch_size * self.args.gradient_accumulation_steps * max(1, self.args.world_size)
        )
        if self.args.class_balanced_sampling:
            labels = dataset.labels if hasattr(dataset, "labels") else [item["labels"] for item in dataset]
            self.epoch_sampler = ClassBalancedSampler(
                np.asarray(labels), distinct_within=min(clips_per_step, len(dataset)), seed=seed
            )
        elif self.args.group_by_length:
            name = self.model.main_input_name
            lengths = dataset.lengths if hasattr(dataset, "lengths") else [len(item[name]) for item in dataset]
            self.epoch_sampler = LengthGroupedSampler(
                lengths, clips_per_step, seed=seed, buffer_size=self.args.shuffle_buffer_size
            )
        else:
            self.epoch_sampler = ShuffledSampler(len(dataset), seed, self.args.shuffle_buffer_size)
        return self.epoch_sampler

    def get_train_dataloader(self) -> DataLoader:
        if self._stream is None:
            return super().get_train_dataloader()
        # Accelerate would divide the stream among the processes once more.
        return self._stream.loader(
            self.args.train_batch_size,
            self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
            prefetch_factor=self.args.dataloader_prefetch_factor,
            multiprocessing_context=self.args.dataloader_multiprocessing_context,
        )

    def create_optimizer(self, model: torch.nn.Module | None = None) -> torch.optim.Optimizer:
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new and self.args.layer_wise_lr_decay is not None:
            decay_by_layer(optimizer, self.model if model is None else model, self.args.layer_wise_lr_decay)
        return optimizer

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> TrainOutput:
        """Train, see `Trainer.train`. A resumed run that had taken all its steps, or stopped early, takes no more."""
        if resume_from_checkpoint is True:
            # Where there is none, the Trainer says so.
            resume_from_checkpoint = get_last_checkpoint(self.args.output_dir) or True
        self._resumed_step, self._has_stopped_early = 0, False
        if (
            isinstance(resume_from_checkpoint, str | Path)
            and (Path(resume_from_checkpoint) / TRAINER_STATE_NAME).is_file()
        ):
            check_resumed(Path(resume_from_checkpoint), self.args.ema_decay)
            if self._stream is not None:
                self._stream.load(Path(resume_from_checkpoint))
            if self.weight_average is not None:
                self.weight_average.checkpoint = Path(resume_from_checkpoint)
            state = read_state(resume_from_checkpoint)
            patience = self.args.early_stopping_patience
            self._resumed_step = state.global_step
            self._has_stopped_early = patience is not None and used_patience(state) >= patience
        output = super().train(resume_from_checkpoint, *args, **kwargs)
        if self.best_checkpoints is not None:
            self.card_facts.collected["averaged_checkpoints"] = self.best_checkpoints.averaged
        return output

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        if self._stream is not None:
            self._stream.count(inputs)
        loss = super().training_step(model, inputs, *args, **kwargs)
        self.card_facts.add_loss(loss)
        return loss

    def set_initial_training_values(self, args: TrainingArguments, dataloader: DataLoader) -> tuple[Any, ...]:
        num_train_epochs, steps_per_epoch, *values, max_steps = super().set_initial_training_values(args, dataloader)
        if self._stream is not None:
            num_train_epochs = 1
        if self._has_stopped_early or self._resumed_step >= max_steps:
            # The run was killed between its last checkpoint and the end. With no epoch left to train, the Trainer goes
            # straight to the end; otherwise, and if a callback stopped it, it would take one more step.
            num_train_epochs = self._resumed_step // steps_per_epoch
        return (num_train_epochs, steps_per_epoch, *values, max_steps)

    # Private in transformers. There is no public hook between the random states, which each process saves, and the
    # Trainer's state, which the first process saves last and which marks the checkpoint as complete.
    def _save_rng_state(self, output_dir: str) -> None:
        super()._save_rng_state(output_dir)
        if self._stream is not None:
            self._stream.save(Path(output_dir))
        self.accelerator.wait_for_everyone()

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        with self._averaged_weights():
            return super().evaluate(*args, **kwargs)

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        with self._averaged_weights():
            super().save_model(output_dir, _internal_call)
        if self.args.should_save:
            folder = Path(output_dir or str(self.args.output_dir))
            # A pickle does not belong in a folder that is passed on, and nothing here reads it.
            (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)
            if self.weight_average is not None:
                self.weight_average.save_last(self.model, folder)

    def _averaged_weights(self) -> AbstractContextManager[None]:
        """Within this context, a model in training has its averaged weights if `args.ema_decay` asks for them."""
        return nullcontext() if self.weight_average is None else self.weight_average.applied(self.model)

    # Unlike the Trainer's, it returns nothing on processes that upload nothing.
    def push_to_hub(  # type: ignore[override]
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
        """Save the model and upload `output_dir` in one commit, with the checks of `audioformer push`.

        Args:
            commit_message (`str`): Title of the commit.
            blocking (`bool`): Ignored. The upload always blocks, so that a failed check is reported.
            token, revision, private (*optional*): As in `Trainer.push_to_hub`.
            license (`str`, *optional*): License of the weights, unless the model card states one.
            kwargs: Ignored. `Trainer.push_to_hub` passes them to its own model card; here the folder's card is used.

        Returns:
            `huggingface_hub.CommitInfo` on the first process, `None` on the others.

        Raises:
            ValueError: If the folder contains something that must not be published, see [`push_folder`].
        """
        token = self.args.hub_token if token is None else token
        self.save_model(_internal_call=True)
        if not self.is_world_process_zero():
            return None
        if self.hub_model_id is None:
            self.init_hf_repo(token=token, private=private)
        folder, repo_id = Path(str(self.args.output_dir)), str(self.hub_model_id)
        self._write_card(folder, repo_id.split("/")[-1])
        return push_folder(
            folder,
            repo_id,
            private=bool(private or self.args.hub_private_repo),
            license=license,
            revision=revision or self.args.hub_revision,
            commit_message=commit_message or "Upload with audioformer",
            token=token,
        )

    def _write_card(self, folder: Path, name: str) -> None:
        """Write what is known about the training, and a card that says it, unless the folder has a card of others."""
        card = folder / CARD
        if card.is_file() and not is_card_of_trainer(folder):
            return
        collected = self.card_facts.collected
        known = {"parameters": f"{self.model.num_parameters():,}", **known_facts(collected)}
        facts = TrainedFacts(name=name, known=known, evaluated="evaluation" in collected)
        facts.save(folder)
        stated = load_card(card).data.get("license") if card.is_file() else None
        render_card(facts, license=stated).save(card)

    def log_component(self, name: str, value: torch.Tensor) -> None:
        """Record one component of a batch's loss. The next log record has the mean over all batches since the last.

        Args:
            name (`str`): Key in the log, such as `"mpc_loss"`. In evaluations it becomes `"eval_mpc_loss"`.
            value (`torch.Tensor`): Scalar, the mean over the batch.
        """
        prefix = "" if self.model.training else "eval_"
        # Values stay on the device: reading them would synchronize with it in every step.
        self._components[prefix + name].append(value.detach().float())

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        for prefix in ("", "eval_"):
            if f"{prefix}loss" not in logs:
                continue
            for name in [name for name in self._components if name.startswith("eval_") == bool(prefix)]:
                mean = torch.stack(self._components.pop(name)).mean()
                logs[name] = self.accelerator.gather(mean.reshape(1)).mean().item()
        super().log(logs, start_time)
