"""Trainer of fine-tuning method 1, classification alone (FT1, paper section 3.3.1)."""

import warnings
from typing import Any

import torch
from torch import nn
from transformers.trainer_utils import TrainOutput

from audioformer.modeling_audioformer import AudioFormerForAudioClassification
from audioformer.modeling_audioformer.classification_loss import lsep_loss

from ..audioformer_arguments import AudioFormerTrainingArguments
from ..examples.collators import DataCollatorForCodecClassification
from .base import AudioFormerTrainer
from .mixup import draw_mixup, mix_labels, mixed_embeddings


class AudioFormerClassificationTrainer(AudioFormerTrainer):
    """Fine-tunes a classifier with the loss that its configuration names, a mean over the clips of a step.

    `train` drops the calibration of a model that has one, see [`fit_calibration`].

    Args:
        model ([`AudioFormerForAudioClassification`]): What is trained; `config.classification_loss` is its loss.
        args ([`AudioFormerTrainingArguments`]): `mixup_alpha` and `label_smoothing_factor` change the targets in
            training, never in evaluations.
        kwargs: As in [`AudioFormerTrainer`].

    Raises:
        ValueError: If labels are to be smoothed for LSEP, which ranks hard labels.
    """

    # `compute_loss` divides by the clips of all accumulated batches.
    loss_is_scaled_for_ga = True

    def __init__(
        self, model: AudioFormerForAudioClassification, args: AudioFormerTrainingArguments, **kwargs: Any
    ) -> None:
        self.loss_name = classification_loss_name(model)
        if args.label_smoothing_factor and self.loss_name == "lsep":
            raise ValueError(
                "`label_smoothing_factor` must be 0 with the classification loss 'lsep', which ranks hard labels; "
                f"got {args.label_smoothing_factor}."
            )
        with warnings.catch_warnings():
            # The parent says that it leaves several labels unsmoothed: here they are smoothed, in `compute_loss`.
            warnings.filterwarnings("ignore", message="Label smoothing is not compatible")
            super().__init__(model=model, args=args, **kwargs)
        self.label_smoother = None

    def default_data_collator(
        self, model: AudioFormerForAudioClassification, args: AudioFormerTrainingArguments
    ) -> DataCollatorForCodecClassification:
        return DataCollatorForCodecClassification(pad_token_id=model.config.pad_token_id, packed=args.packed)

    def train(self, *args: Any, **kwargs: Any) -> TrainOutput:
        # A calibration was fitted to the scores of weights that are about to change.
        self.model.config.calibration_temperature = self.model.config.calibration_bias = None
        return super().train(*args, **kwargs)

    def _get_num_items_in_batch(self, batch_samples: list[dict[str, Any]], device: torch.device) -> int | None:
        # Accelerate gives every process as many clips.
        return sum(len(batch.get("labels", ())) for batch in batch_samples) or None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        loss, outputs = self.batch_loss(model, inputs)
        if num_items_in_batch is not None:
            # The accumulated batches of an epoch's last step can be unequal: each counts by its clips.
            loss = loss * (len(outputs.logits) / num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def batch_loss(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        """The mean loss over the clips of one batch, and the model's outputs; where other losses come in.

        Args:
            model (`nn.Module`): The model as it was wrapped for training.
            inputs (`dict`): A batch; it may be changed.
        """
        smoothing, alpha = self.args.label_smoothing_factor, self.args.mixup_alpha
        if not model.training or not (smoothing or alpha):
            return super().compute_loss(model, inputs, return_outputs=True)
        labels = inputs.pop("labels")
        if alpha:
            outputs, targets = self._forward_mixed(model, inputs, labels, alpha)
        else:
            outputs, targets = model(**inputs), labels
        return targets_loss(outputs.logits, targets, self.loss_name, smoothing), outputs

    def _forward_mixed(
        self, model: nn.Module, inputs: dict[str, Any], labels: torch.Tensor, alpha: float
    ) -> tuple[Any, torch.Tensor]:
        partners, shares = draw_mixup(len(labels), alpha, labels.device)
        mask = inputs["attention_mask"]
        inputs = {**inputs, "attention_mask": torch.maximum(mask, mask[partners])}
        with mixed_embeddings(self.model.get_input_embeddings(), partners, shares):
            outputs = model(**inputs)
        return outputs, mix_labels(labels, partners, shares, self.model.config.num_labels, self.loss_name)


def classification_loss_name(model: AudioFormerForAudioClassification) -> str:
    """The loss of a classifier: what its configuration says, or what follows from its problem type."""
    config = model.config
    if config.classification_loss is not None:
        return config.classification_loss
    return "bce" if config.problem_type == "multi_label_classification" else "cross_entropy"


def targets_loss(logits: torch.Tensor, targets: torch.Tensor, loss: str, smoothing: float = 0.0) -> torch.Tensor:
    """The loss of targets that mixup or smoothing made soft.

    Args:
        logits (`torch.Tensor` of shape `(batch_size, num_labels)`): Scores.
        targets (`torch.Tensor`): `(batch_size,)` classes, or `(batch_size, num_labels)` shares, 0 to 1.
        loss (`str`): `"cross_entropy"`, `"bce"` or `"lsep"`.
        smoothing (`float`, defaults to 0): Share of the target that is spread evenly: over all classes with
            cross-entropy, over present and absent with BCE.
    """
    logits = logits.float()
    if loss == "lsep":
        return lsep_loss(logits, targets)
    if loss == "bce":
        targets = targets.float() * (1 - smoothing) + smoothing / 2
        return nn.functional.binary_cross_entropy_with_logits(logits, targets)
    return nn.functional.cross_entropy(logits, targets, label_smoothing=smoothing)
