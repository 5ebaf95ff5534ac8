"""Trainer of models that predict the parts of a spectrogram that they do not see."""

from typing import Any

import torch

from .base import AudioTrainer


class MaskedAutoencoderTrainer(AudioTrainer):
    """Pre-trains a model that draws its masks itself and returns the loss of what they hide.

    Evaluations draw the same masks every time, and leave the random numbers of the training as they are.

    Args:
        kwargs: As in [`AudioTrainer`]. Items have no labels.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        # There are no labels that would tell the Trainer so.
        self.can_return_loss = True

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        with torch.random.fork_rng():
            torch.manual_seed(self.args.seed)
            return super().evaluate(*args, **kwargs)
