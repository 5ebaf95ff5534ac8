"""The trainer of classifiers of every model family."""

import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.trainer_utils import TrainOutput

from audioformer.modeling_audioformer.classification_loss import classification_loss_name, named_classification_loss

from ..arguments import AudioTrainingArguments
from .base import AudioTrainer


class ClassificationTrainer(AudioTrainer):
    """Fine-tunes a classifier on the mean loss over the clips of a step.

    The model computes its own loss. With label smoothing the trainer computes the loss that the configuration names,
    see [`classification_loss_name`].

    `train` removes the calibration (`config.calibration_temperature`, `config.calibration_bias`) of a model that has
    one, see [`fit_calibration`].

    Args:
        model (`PreTrainedModel`): A classifier whose forward takes `labels` and returns `loss` and `logits`, the first
            dimension of `logits` being the clips. Its configuration has `problem_type`, and may have
            `classification_loss`.
        args ([`AudioTrainingArguments`]): `label_smoothing_factor` changes the targets of training, not of evaluation.
        data_collator: Makes a batch of a list of items. The first dimension of `labels` is the clips.
        kwargs: As in [`AudioTrainer`].

    Raises:
        ValueError: If labels are to be smoothed for a loss that has no smoothed form (LSEP, regression).
    """

    # `compute_loss` divides by the number of clips in all accumulated batches.
    loss_is_scaled_for_ga = True

    def __init__(
        self, model: PreTrainedModel, args: AudioTrainingArguments, data_collator: Any = None, **kwargs: Any
    ) -> None:
        self.loss_name = classification_loss_name(model.config)
        # Other model families have no such field.
        self.bce_reduction = getattr(model.config, "bce_reduction", "mean")
        if args.label_smoothing_factor and self.loss_name in ("lsep", "regression"):
            raise ValueError(
                f"`label_smoothing_factor` must be 0 with the classification loss {self.loss_name!r}, which has no "
                f"smoothed form; got {args.label_smoothing_factor}."
            )
        with warnings.catch_warnings():
            # The Trainer would not smooth multi-label targets, and says so; `batch_loss` does.
            warnings.filterwarnings("ignore", message="Label smoothing is not compatible")
            super().__init__(model=model, args=args, data_collator=data_collator, **kwargs)
        self.label_smoother = None
        # The model's loss is a mean over its batch. A forward that takes `**kwargs` would otherwise be given a number
        # of items to divide a sum by.
        self.model_accepts_loss_kwargs = False

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        # A calibration was fitted to the scores of weights that are about to change.
        for name in ("calibration_temperature", "calibration_bias"):
            if getattr(self.model.config, name, None) is not None:
                setattr(self.model.config, name, None)
        return super().train(*args, **kwargs)

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, torch.Tensor | int | None]:
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        # Accelerate gives every process the same number of clips, so that each may divide by its own.
        return batches, sum(len(batch.get("labels", ())) for batch in batches) or None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        loss, outputs = self.batch_loss(model, inputs)
        if num_items_in_batch is not None:
            # The accumulated batches of an epoch's last step can differ in size. Each is weighted by its clips.
            loss = loss * (len(outputs.logits) / num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def batch_loss(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        """Compute the mean loss over the clips of one batch. Subclasses add other losses here.

        Args:
            model (`nn.Module`): The model as wrapped for training.
            inputs (`dict`): The batch; it may be modified.

        Returns:
            `tuple`: The loss, a scalar, and the model's outputs.
        """
        if not (model.training and self.args.label_smoothing_factor):
            with_outputs: Any = super().compute_loss(model, inputs, return_outputs=True)
            return with_outputs
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        return self.named_loss(outputs.logits, labels), outputs

    def named_loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss that the configuration names, with the label smoothing of the settings.

        Args:
            logits (`torch.Tensor` of shape `(batch_size, num_labels)`): Scores.
            targets (`torch.Tensor`): As in [`named_classification_loss`].
        """
        smoothing = self.args.label_smoothing_factor
        return named_classification_loss(logits, targets, self.loss_name, smoothing, self.bce_reduction)
