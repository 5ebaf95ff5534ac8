"""Training of every model family: examples, losses, trainers, recipes, fine-tuning and evaluation."""

from typing import TYPE_CHECKING

from audioformer.lazy import lazy_names

if TYPE_CHECKING:
    from .arguments import AudioTrainingArguments, DataArguments, ModelArguments
    from .audioformer_arguments import AudioFormerTrainingArguments
    from .comparison import compare, comparison_settings
    from .examples.codes import CodeExamples
    from .examples.collators import (
        DataCollatorForCodecClassification,
        DataCollatorForCodecMaskedLM,
        pad_input_ids,
    )
    from .families import Family, Settings, register_family
    from .finetuning import finetune
    from .losses import LSEPLoss, MultiPositiveContrastiveLoss
    from .probing.arguments import ProbeArguments
    from .probing.run import create_probe_run, probe
    from .settings import create_settings
    from .testing import evaluate
    from .trainers import (
        AudioFormerClassificationTrainer,
        AudioFormerMLMTrainer,
        AudioFormerMPCTrainer,
        AudioTrainer,
        ClassificationTrainer,
    )

_MODULES = {
    "AudioFormerClassificationTrainer": "trainers",
    "AudioFormerMLMTrainer": "trainers",
    "AudioFormerMPCTrainer": "trainers",
    "AudioFormerTrainingArguments": "audioformer_arguments",
    "AudioTrainer": "trainers",
    "AudioTrainingArguments": "arguments",
    "ClassificationTrainer": "trainers",
    "CodeExamples": "examples.codes",
    "DataArguments": "arguments",
    "DataCollatorForCodecClassification": "examples.collators",
    "DataCollatorForCodecMaskedLM": "examples.collators",
    "Family": "families",
    "LSEPLoss": "losses",
    "ModelArguments": "arguments",
    "MultiPositiveContrastiveLoss": "losses",
    "ProbeArguments": "probing.arguments",
    "Settings": "families",
    "compare": "comparison",
    "comparison_settings": "comparison",
    "create_probe_run": "probing.run",
    "create_settings": "settings",
    "evaluate": "testing",
    "finetune": "finetuning",
    "pad_input_ids": "examples.collators",
    "probe": "probing.run",
    "register_family": "families",
}
"""Module of each public name, imported when the name is first used: a loss needs no trainer, no reader, no plot."""

__all__ = [
    "AudioFormerClassificationTrainer",
    "AudioFormerMLMTrainer",
    "AudioFormerMPCTrainer",
    "AudioFormerTrainingArguments",
    "AudioTrainer",
    "AudioTrainingArguments",
    "ClassificationTrainer",
    "CodeExamples",
    "DataArguments",
    "DataCollatorForCodecClassification",
    "DataCollatorForCodecMaskedLM",
    "Family",
    "LSEPLoss",
    "ModelArguments",
    "MultiPositiveContrastiveLoss",
    "ProbeArguments",
    "Settings",
    "compare",
    "comparison_settings",
    "create_probe_run",
    "create_settings",
    "evaluate",
    "finetune",
    "pad_input_ids",
    "probe",
    "register_family",
]

__getattr__, __dir__ = lazy_names(__name__, _MODULES)
