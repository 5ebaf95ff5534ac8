"""Pre-training of Dasheng as a masked autoencoder (arXiv 2406.06992, sections 2 and 3.2)."""

from typing import Any

import torch

from audioformer.modeling_dasheng import DashengConfig, DashengForPreTraining

from ..families import Settings
from .masked_autoencoder import check_crops, pretrain_autoencoder


def check_length(settings: Settings) -> None:
    """Check that clips are cut to what a model has positions for.

    Raises:
        ValueError: If `max_length_s` is longer than 10.08 s.
    """
    config = DashengConfig()
    check_crops(settings, config.num_time_positions / config.frame_rate)


def pretrain_dasheng(settings: Settings) -> dict[str, Any]:
    """Pre-train a model; see [`pretrain_autoencoder`]."""
    return pretrain_autoencoder(settings, DashengForPreTraining, to_image)


def to_image(patches: torch.Tensor, config: DashengConfig) -> torch.Tensor:
    """Patches of a clip, `(num_patches, patch_values)`, as a spectrogram, `(num_mel_bins, num_frames)`."""
    return patches.unflatten(1, (config.num_mel_bins, config.frames_per_patch)).transpose(0, 1).flatten(1)
