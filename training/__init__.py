"""Training of AudioFormer: data to codes, masked-LM pre-training, FT1 and FT2, evaluation, and the small codec."""

from audioformer.training.arguments import AudioFormerTrainingArguments, DataArguments, ModelArguments
from audioformer.training.augmentation import augment
from audioformer.training.code_examples import CodeExamples, encode_waveforms
from audioformer.training.data_collator import (
    DataCollatorForCodecClassification,
    DataCollatorForCodecMaskedLM,
    pad_input_ids,
)
from audioformer.training.evaluation import MeanAveragePrecision
from audioformer.training.fit import (
    classifier_from_pretrained_backbone,
    finetune_classifier,
    predict_logits,
    pretrain_masked_lm,
    training_arguments,
)
from audioformer.training.losses import LSEPLoss, MultiPositiveContrastiveLoss
from audioformer.training.trainers import (
    AudioFormerClassificationTrainer,
    AudioFormerMLMTrainer,
    AudioFormerMPCTrainer,
    AudioFormerTrainer,
)

__all__ = [
    "AudioFormerClassificationTrainer",
    "AudioFormerMLMTrainer",
    "AudioFormerMPCTrainer",
    "AudioFormerTrainer",
    "AudioFormerTrainingArguments",
    "CodeExamples",
    "DataArguments",
    "DataCollatorForCodecClassification",
    "DataCollatorForCodecMaskedLM",
    "LSEPLoss",
    "MeanAveragePrecision",
    "ModelArguments",
    "MultiPositiveContrastiveLoss",
    "augment",
    "classifier_from_pretrained_backbone",
    "encode_waveforms",
    "finetune_classifier",
    "pad_input_ids",
    "predict_logits",
    "pretrain_masked_lm",
    "training_arguments",
]
