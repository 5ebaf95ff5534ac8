"""Losses of fine-tuning, which map tensors to a scalar and know nothing of models."""

from .lsep import LSEPLoss
from .multi_positive_contrastive import MultiPositiveContrastiveLoss

__all__ = ["LSEPLoss", "MultiPositiveContrastiveLoss"]
