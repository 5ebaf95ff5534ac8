"""A small training run for the tests of large batches and of resuming, which run it in processes of their own."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import TrainerCallback, set_seed

from audioformer.modeling_audioformer import (
    AudioFormerConfig,
    AudioFormerForAudioClassification,
    AudioFormerForMaskedLM,
)
from audioformer.training import (
    AudioFormerClassificationTrainer,
    AudioFormerMLMTrainer,
    AudioFormerTrainingArguments,
    CodeExamples,
)
from audioformer.training.trainers import last_complete_checkpoint

NUM_LABELS = 3


class Kill(TrainerCallback):
    """Kills the process without warning in the middle of step `step + 1`, between two accumulated batches."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_substep_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def examples(task: str) -> CodeExamples:
    rng = np.random.default_rng(0)
    clips = [rng.integers(0, 1024, rng.integers(5, 40)) for _ in range(24)]
    if task == "mlm":
        return CodeExamples(clips, crop_frames=30)
    labels = rng.integers(0, NUM_LABELS, 24)
    if task == "lsep":
        labels = np.maximum(np.eye(NUM_LABELS)[labels], rng.random((24, NUM_LABELS)) < 0.3).astype(np.float32)
    return CodeExamples(clips, labels)


def train(task: str, output: Path, settings: dict[str, Any]) -> None:
    """Train, then write `final.safetensors` (weights), `log.json` and `facts.json` (for the card) into `output`.

    Args:
        task (`str`): `"mlm"`, or the loss of a classifier.
        output (`Path`): Output folder.
        settings (`dict`): Training arguments, and `dropout` (0 by default), `kill_at`, see [`Kill`], `dtype` of the
            weights, and `environment`, variables set before.
    """
    settings = dict(settings)
    os.environ |= settings.pop("environment", {})
    dtype = getattr(torch, settings.pop("dtype", "float32"))
    kill_at, dropout = settings.pop("kill_at", None), settings.pop("dropout", 0.0)
    arguments = AudioFormerTrainingArguments(output_dir=str(output), use_cpu=True, disable_tqdm=True, **settings)
    if arguments.resume_from_checkpoint:
        arguments.resume_from_checkpoint = last_complete_checkpoint(output)
    set_seed(arguments.seed)
    config = AudioFormerConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        initializer_range=0.1,
        num_labels=NUM_LABELS,
        classification_loss=None if task == "mlm" else task,
    )
    if task == "mlm":
        model, kind = AudioFormerForMaskedLM(config), AudioFormerMLMTrainer
    else:
        model, kind = AudioFormerForAudioClassification(config), AudioFormerClassificationTrainer
    trainer = kind(
        model=model.to(dtype),
        args=arguments,
        train_dataset=examples(task),
        callbacks=[] if kill_at is None else [Kill(kill_at)],
    )
    trainer.train(resume_from_checkpoint=arguments.resume_from_checkpoint)
    if trainer.is_world_process_zero():
        weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
        save_file(weights, output / "final.safetensors")
        (output / "log.json").write_text(json.dumps(trainer.state.log_history))
        (output / "facts.json").write_text(json.dumps(trainer.card_facts.collected))
