"""Training of AudioFormer: codes of clips, collators, masked-LM pre-training, fine-tuning, and the small codec."""

from audioformer.training.augmentation import augment
from audioformer.training.code_examples import CodeExamples, encode_waveforms
from audioformer.training.data_collator import (
    DataCollatorForCodecClassification,
    DataCollatorForCodecMaskedLM,
    pad_input_ids,
)
from audioformer.training.fit import (
    classifier_from_pretrained_backbone,
    finetune_classifier,
    predict_logits,
    pretrain_masked_lm,
    training_arguments,
)
from audioformer.training.losses import LSEPLoss, MultiPositiveContrastiveLoss

__all__ = [
    "CodeExamples",
    "DataCollatorForCodecClassification",
    "DataCollatorForCodecMaskedLM",
    "LSEPLoss",
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
