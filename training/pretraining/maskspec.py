"""Pre-training of MaskSpec as a masked autoencoder (arXiv 2204.12768, section 3)."""

from typing import Any

import torch

from audioformer.modeling_maskspec import MaskSpecConfig, MaskSpecForPreTraining

from ..families import Settings
from .masked_autoencoder import check_crops, pretrain_autoencoder

LONGEST_S = 10.0
"""Longest clip in seconds: 1000 frames, of which the last eight fill no patch."""


def check_length(settings: Settings) -> None:
    """Check that clips are cut to what a model has positions for.

    Raises:
        ValueError: If `max_length_s` is longer than 10 s.
    """
    check_crops(settings, LONGEST_S)


def pretrain_maskspec(settings: Settings) -> dict[str, Any]:
    """Pre-train a model; see [`pretrain_autoencoder`]."""
    return pretrain_autoencoder(settings, MaskSpecForPreTraining, to_image)


def to_image(patches: torch.Tensor, config: MaskSpecConfig) -> torch.Tensor:
    """Patches of a clip, `(num_patches, patch_values)`, as a spectrogram, `(num_mel_bins, num_frames)`."""
    size = config.patch_size
    # Columns, bands, bins of a band, frames of a column.
    grid = patches.unflatten(0, (-1, config.num_bands)).unflatten(2, (size, size))
    return grid.permute(1, 2, 0, 3).reshape(config.num_mel_bins, -1)
