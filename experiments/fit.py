"""Short runs in one process for the demo and the bundled models: pre-training and FT1 of one row, from Python."""

import tempfile
from dataclasses import replace

import numpy as np
import torch

from audioformer.modeling_audioformer import AudioFormerForAudioClassification, AudioFormerForMaskedLM
from audioformer.training.audioformer_arguments import AudioFormerTrainingArguments
from audioformer.training.examples.codes import CodeExamples
from audioformer.training.examples.collators import DataCollatorForCodecClassification
from audioformer.training.trainers import AudioFormerClassificationTrainer, AudioFormerMLMTrainer


def training_arguments(
    num_train_epochs: float, learning_rate: float, batch_size: int, seed: int, warmup_share: float = 0.1
) -> AudioFormerTrainingArguments:
    """Arguments of a short run that keeps no checkpoints and reports to the console alone.

    Args:
        num_train_epochs (`float`): Passes over the clips.
        learning_rate (`float`): Highest rate, reached after the warm-up, then decayed along a cosine.
        batch_size (`int`): Clips a step.
        seed (`int`): Seeds weights, order, masking, copies and crops.
        warmup_share (`float`, defaults to 0.1): Share of the steps in which the rate rises; 0 for the paper's recipes.
    """
    return AudioFormerTrainingArguments(
        output_dir=tempfile.gettempdir(),
        num_train_epochs=num_train_epochs,
        learning_rate=learning_rate,
        per_device_train_batch_size=batch_size,
        per_device_eval_batch_size=batch_size,
        lr_scheduler_type="cosine",
        warmup_steps=warmup_share,
        weight_decay=0.01,
        seed=seed,
        save_strategy="no",
        logging_strategy="epoch",
    )


def pretrain_masked_lm(
    model: AudioFormerForMaskedLM,
    examples: CodeExamples,
    arguments: AudioFormerTrainingArguments,
    mask_probability: float = 0.25,
) -> float:
    """Train `model` in place to restore hidden codes; returns the mean loss of the run in nats a chosen position."""
    arguments = replace(arguments, mask_probability=mask_probability)
    return AudioFormerMLMTrainer(model=model, args=arguments, train_dataset=examples).train().training_loss


def finetune_classifier(
    model: AudioFormerForAudioClassification, examples: CodeExamples, arguments: AudioFormerTrainingArguments
) -> float:
    """Train `model` in place on labelled examples (FT1); returns the mean loss of the run."""
    trainer = AudioFormerClassificationTrainer(model=model, args=arguments, train_dataset=examples)
    return trainer.train().training_loss


@torch.no_grad()
def predict_logits(
    model: AudioFormerForAudioClassification, examples: CodeExamples, batch_size: int = 16
) -> np.ndarray:
    """Logits of shape `(len(examples), num_labels)`, in eval mode."""
    model.eval()
    collator = DataCollatorForCodecClassification(pad_token_id=model.config.pad_token_id)
    logits = []
    for start in range(0, len(examples), batch_size):
        batch = collator([examples[index] for index in range(start, min(start + batch_size, len(examples)))])
        batch.pop("labels", None)
        logits.append(model(**{name: value.to(model.device) for name, value in batch.items()}).logits.cpu())
    return torch.cat(logits).float().numpy()


def classifier_from_pretrained_backbone(
    pretrained: AudioFormerForMaskedLM, labels: list[str], **config_changes: object
) -> AudioFormerForAudioClassification:
    """Drop the masked-LM head and put a fresh linear layer on the mean of the last hidden states (FT1).

    Args:
        pretrained (`AudioFormerForMaskedLM`): Its backbone's weights are copied.
        labels (list of `str`): Class names; their order gives the indices.
        config_changes: Fields of the configuration to change, such as `hidden_dropout_prob`.
    """
    config = type(pretrained.config).from_dict(
        {
            **pretrained.config.to_dict(),
            "id2label": dict(enumerate(labels)),
            "label2id": {label: index for index, label in enumerate(labels)},
            "problem_type": "single_label_classification",
            **config_changes,
        }
    )
    model = AudioFormerForAudioClassification(config)
    model.base_model.load_state_dict(pretrained.base_model.state_dict())
    return model
