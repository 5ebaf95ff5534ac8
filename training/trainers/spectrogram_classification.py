"""Trainer of classifiers that read audio or spectrograms."""

from typing import Any

import torch
from torch import nn

from .classification import ClassificationTrainer
from .mixup import mix_labels


class SpectrogramClassificationTrainer(ClassificationTrainer):
    """[`ClassificationTrainer`] for batches whose clips the collator may have mixed, see [`DataCollatorForAudio`]."""

    def batch_loss(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        # Spectrograms are made of waveforms that are mixed already.
        mixtures = [
            (inputs.pop(f"{kind}_partners"), inputs.pop(f"{kind}_shares"))
            for kind in ("mixup", "spectrogram_mixup")
            if f"{kind}_partners" in inputs
        ]
        if not mixtures:
            return super().batch_loss(model, inputs)
        targets = inputs.pop("labels")
        outputs = model(**inputs)
        for partners, shares in mixtures:
            targets = mix_labels(targets, partners, shares, outputs.logits.shape[-1], self.loss_name)
        return self.named_loss(outputs.logits, targets), outputs
