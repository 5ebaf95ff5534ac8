"""Trainers built on the `Trainer` of transformers, and therefore on Accelerate."""

from ..samplers import ClassBalancedSampler, LengthGroupedSampler, ShuffledSampler
from .audioformer_classification import AudioFormerClassificationTrainer
from .base import AudioTrainer
from .checkpoints import last_complete_checkpoint
from .classification import ClassificationTrainer
from .masked_lm import AudioFormerMLMTrainer
from .multi_positive import AudioFormerMPCTrainer
from .teachers import build_positives, load_teachers

__all__ = [
    "AudioFormerClassificationTrainer",
    "AudioFormerMLMTrainer",
    "AudioFormerMPCTrainer",
    "AudioTrainer",
    "ClassBalancedSampler",
    "ClassificationTrainer",
    "LengthGroupedSampler",
    "ShuffledSampler",
    "build_positives",
    "last_complete_checkpoint",
    "load_teachers",
]
