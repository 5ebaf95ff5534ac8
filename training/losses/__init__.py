"""Losses of fine-tuning: tensors in, a scalar out, and no model inside."""

from .lsep import LSEPLoss
from .multi_positive_contrastive import MultiPositiveContrastiveLoss

__all__ = ["LSEPLoss", "MultiPositiveContrastiveLoss"]
