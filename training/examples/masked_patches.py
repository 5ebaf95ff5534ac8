"""Batches for masked audio modelling: features, and the random numbers that decide which patches are hidden."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .audio import DataCollatorForAudio

HIDE = 21
"""Separates the random numbers of hiding from others that come from the same `draw_seed` of a clip."""


class DataCollatorForMaskedPatches(DataCollatorForAudio):
    """Adds `noise`, float32 of the shape of `attention_mask`, to the features of clips.

    The numbers of a clip come from its `draw_seed`, whatever the batch, the worker and the process.

    Args:
        extractor: Feature extractor of the model, with an `attention_mask` of one value per patch.
    """

    def __init__(self, extractor: Any) -> None:
        super().__init__(extractor)

    def __call__(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        batch = super().__call__(items)
        num_patches = batch["attention_mask"].shape[1]
        rows = [np.random.default_rng([item["draw_seed"], HIDE]).random(num_patches) for item in items]
        return {**batch, "noise": torch.from_numpy(np.stack(rows)).float()}
