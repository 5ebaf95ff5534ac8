"""Trainers of pre-training, FT1 and FT2 over the `Trainer` of transformers, hence over Accelerate."""

from ..samplers import ClassBalancedSampler, LengthGroupedSampler, ShuffledSampler
from .base import AudioFormerTrainer
from .checkpoints import last_complete_checkpoint
from .classification import AudioFormerClassificationTrainer
from .masked_lm import AudioFormerMLMTrainer
from .multi_positive import AudioFormerMPCTrainer
from .teachers import build_positives, load_teachers

__all__ = [
    "AudioFormerClassificationTrainer",
    "AudioFormerMLMTrainer",
    "AudioFormerMPCTrainer",
    "AudioFormerTrainer",
    "ClassBalancedSampler",
    "LengthGroupedSampler",
    "ShuffledSampler",
    "build_positives",
    "last_complete_checkpoint",
    "load_teachers",
]
