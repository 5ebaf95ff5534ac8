"""Trainer of classifiers that read audio or spectrograms."""

from typing import Any

import torch
from torch import nn

from .classification import ClassificationTrainer
from .mixup import mix_labels


class SpectrogramClassificationTrainer(ClassificationTrainer):
    """[`ClassificationTrainer`] for batches whose clips the collator may have mixed, see [`DataCollatorForAudio`]."""

    def batch_loss(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        partners, shares = inputs.pop("mixup_partners", None), inputs.pop("mixup_shares", None)
        if partners is None:
            return super().batch_loss(model, inputs)
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        targets = mix_labels(labels, partners, shares, outputs.logits.shape[-1], self.loss_name)
        return self.named_loss(outputs.logits, targets), outputs
