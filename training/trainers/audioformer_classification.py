"""Trainer of fine-tuning method 1, classification alone (FT1, paper section 3.3.1)."""

from typing import Any

import torch
from torch import nn

from audioformer.modeling_audioformer import AudioFormerForAudioClassification

from ..audioformer_arguments import AudioFormerTrainingArguments
from ..examples.collators import DataCollatorForCodecClassification
from .classification import ClassificationTrainer
from .codes import CodesTrainer
from .mixup import draw_mixup, draw_token_mixup, mix_labels, mix_tokens, mixed_embeddings


class AudioFormerClassificationTrainer(CodesTrainer, ClassificationTrainer):
    """Fine-tunes an AudioFormer classifier with the loss that its configuration names.

    Args:
        model ([`AudioFormerForAudioClassification`]): The model to train.
        args ([`AudioFormerTrainingArguments`]): `mixup_alpha`, `token_mixup_alpha` and `label_smoothing_factor`
            change the targets in training, not in evaluations.
        data_collator (*optional*): [`DataCollatorForCodecClassification`] by default.
        kwargs: As in [`AudioTrainer`].

    Raises:
        ValueError: As in [`CodesTrainer`] and [`ClassificationTrainer`].
    """

    def default_data_collator(
        self, model: AudioFormerForAudioClassification, args: AudioFormerTrainingArguments
    ) -> DataCollatorForCodecClassification:
        return DataCollatorForCodecClassification(pad_token_id=model.config.pad_token_id, packed=args.packed)

    def batch_loss(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        alpha, token_alpha = self.args.mixup_alpha, self.args.token_mixup_alpha
        if not (model.training and (alpha or token_alpha)):
            return super().batch_loss(model, inputs)
        labels, mask = inputs.pop("labels"), inputs["attention_mask"]
        if token_alpha:
            partners, taken, shares = draw_token_mixup(mask, token_alpha)
            outputs = model(**{**inputs, "input_ids": mix_tokens(inputs["input_ids"], partners, taken)})
        else:
            partners, shares = draw_mixup(len(labels), alpha, labels.device)
            inputs = {**inputs, "attention_mask": torch.maximum(mask, mask[partners])}
            with mixed_embeddings(self.model.get_input_embeddings(), partners, shares):
                outputs = model(**inputs)
        targets = mix_labels(labels, partners, shares, outputs.logits.shape[-1], self.loss_name)
        return self.named_loss(outputs.logits, targets), outputs
