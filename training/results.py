"""Testing a classifier and putting together what came of it."""

import time
from collections.abc import Sequence
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

import audioformer
from audioformer.data.codes.encoded import EncodedData
from audioformer.evaluation import EvaluationSummary

from .arguments import AudioFormerTrainingArguments, DataArguments, ModelArguments
from .examples.codes import CodeExamples
from .outputs import peak_memory_gb
from .trainers import AudioFormerClassificationTrainer

__all__ = ["describe_settings", "predict", "summarize"]


def predict(trainer: AudioFormerClassificationTrainer, part: EncodedData) -> np.ndarray:
    """Logits of each clip, float32 of shape `(num_clips, num_labels)`, on every process."""
    examples = CodeExamples(part.codes, codebook=trainer.model.config.codebook)
    return trainer.predict(examples).predictions


def describe_settings(
    data: DataArguments, model: ModelArguments, arguments: AudioFormerTrainingArguments
) -> dict[str, Any]:
    """What was asked for and is not a default, and the versions; of paths of this machine only their names."""
    settings: dict[str, Any] = {}
    for group in (data, model, arguments):
        values = group.to_dict() if isinstance(group, AudioFormerTrainingArguments) else asdict(group)
        for entry in fields(group):
            default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
            value = values.get(entry.name)
            if value != default and value is not None and not entry.name.startswith(("_", "hub_", "push_")):
                settings[entry.name] = publishable(value)
    return settings | {
        "audioformer": audioformer.__version__,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
    }


def publishable(value: Any) -> Any:
    """A setting as anyone may read it: of an absolute path, which tells of this machine, only its name."""
    if isinstance(value, list):
        return [publishable(entry) for entry in value]
    is_path = isinstance(value, (str, Path)) and Path(value).is_absolute()
    return Path(value).name if is_path else value


def summarize(
    trainer: AudioFormerClassificationTrainer,
    part: EncodedData,
    *,
    tested_on: str,
    selection: str | None,
    settings: dict[str, Any],
    notes: Sequence[str] = (),
    train_seconds: float | None = None,
) -> EvaluationSummary:
    """Test a classifier on a part of the data."""
    started = time.perf_counter()
    scores = predict(trainer, part)
    seconds = {"testing": time.perf_counter() - started}
    if train_seconds is not None:
        seconds = {"training": train_seconds, **seconds}
    return EvaluationSummary(
        ids=part.dataset["id"][:],
        scores=scores,
        targets=part.targets,
        labels=part.labels,
        multi_label=part.multi_label,
        tested_on=tested_on,
        selection=selection,
        groups=part.groups,
        settings=settings,
        data=asdict(part.report),
        data_text=part.report.to_text(),
        notes=notes,
        log_history=trainer.state.log_history,
        seconds=seconds,
        peak_memory_gb=peak_memory_gb(),
    )
