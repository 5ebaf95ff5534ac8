"""Training of AudioFormer: data to codes, masked-LM pre-training, FT1 and FT2, evaluation, and the small codec."""

from audioformer.evaluation import MeanAveragePrecision

from .arguments import AudioFormerTrainingArguments, AudioTrainingArguments, DataArguments, ModelArguments
from .examples.codes import CodeExamples, encode_waveforms
from .examples.collators import (
    DataCollatorForCodecClassification,
    DataCollatorForCodecMaskedLM,
    pad_input_ids,
)
from .losses import LSEPLoss, MultiPositiveContrastiveLoss
from .trainers import (
    AudioFormerClassificationTrainer,
    AudioFormerMLMTrainer,
    AudioFormerMPCTrainer,
    AudioTrainer,
    ClassificationTrainer,
)

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
    "LSEPLoss",
    "MeanAveragePrecision",
    "ModelArguments",
    "MultiPositiveContrastiveLoss",
    "encode_waveforms",
    "pad_input_ids",
]
