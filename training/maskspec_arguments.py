"""The settings of MaskSpec, in addition to those of every family."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .arguments import FINETUNE, PRETRAIN, TRAIN, FamilyArguments, rate, setting, size
from .ranges import Range, at_least, more_than


@dataclass
class MaskSpecArguments(FamilyArguments):
    """The scale of the spectrograms, the sizes of a fresh model, what is left out in training, and dropout.

    Raises:
        ValueError: If a value is outside its range, or the file of statistics cannot be used.
    """

    statistics: str | None = setting(
        None,
        "File of `audioformer statistics` with the mean and standard deviation of each mel bin (default: those of the "
        "model, else AudioSet's).",
        TRAIN,
        path="local",
    )
    lowpass_hz: float | None = setting(
        None,
        "Energy above this frequency in Hz counts as none; 11900 for full-band audio and AudioSet's statistics, which "
        "were measured on MP3 (default: that of the model, else none).",
        TRAIN,
        range=more_than(0),
    )
    stretch_to: int | None = setting(
        None,
        "Stretch shorter clips to N frames, 1000 in the authors' code (default: that of the model, else they keep "
        "their length).",
        TRAIN,
        range=at_least(16),
    )
    window_hop: int | None = setting(
        None,
        "Columns of 160 ms from the start of a piece to the next, in clips of more than 10 s: less than 62, and they "
        "overlap and fade into each other (default: 62, or that of the checkpoint).",
        TRAIN,
        config="window_hop",
        range=at_least(1),
    )
    hidden_size: int = size(768, "Width of a fresh model; 384 for small, 192 for tiny.", "hidden_size")
    num_hidden_layers: int = size(12, "Layers of a fresh model.", "num_hidden_layers")
    num_attention_heads: int = size(
        12, "Attention heads of a fresh model; 6 for small, 3 for tiny.", "num_attention_heads"
    )
    intermediate_size: int = size(
        3072, "Feed-forward width of a fresh model; 1536 for small, 768 for tiny.", "intermediate_size"
    )
    decoder_hidden_size: int = size(512, "Width of a fresh decoder.", "decoder_hidden_size")
    decoder_num_hidden_layers: int = size(8, "Layers of a fresh decoder.", "decoder_num_hidden_layers")
    decoder_num_attention_heads: int = size(16, "Attention heads of a fresh decoder.", "decoder_num_attention_heads")
    decoder_intermediate_size: int = size(2048, "Feed-forward width of a fresh decoder.", "decoder_intermediate_size")
    mask_ratio: float | None = setting(
        None,
        "Share of the patches that is hidden (default: 0.75, or that of the checkpoint).",
        (PRETRAIN,),
        config="mask_ratio",
        range=Range(0, 1, open_low=True, open_high=True),
    )
    standardize_target: bool | None = setting(
        None,
        "Predict each patch with mean 0 and variance 1, not as it is (default: true, or that of the checkpoint).",
        (PRETRAIN,),
        config="standardize_target",
    )
    pooling: Literal["mean", "cls"] | None = setting(
        None,
        "What the classifier reads: the mean of the patches, or the cls token (default: mean, or that of the "
        "checkpoint).",
        (FINETUNE,),
        config="pooling",
    )
    patchout: int | None = setting(
        None,
        "Patches that are left out in each step, of 496 in 10 s (default: 0, or that of the checkpoint).",
        (FINETUNE,),
        config="patchout",
        range=at_least(0),
    )
    drop_path: float | None = rate(
        "Probability that a part of the last layer is left out; it grows linearly up to there (same default).",
        "drop_path_rate",
    )
    head_init_std: float | None = setting(
        None,
        "Standard deviation of the initial weights of the classifier (default: 2e-5, or that of the checkpoint).",
        (FINETUNE,),
        config="classifier_initializer_range",
        range=Range(0, 1, open_low=True),
    )
    dropout: float | None = rate(
        "Dropout of the layers (default: 0, or that of the checkpoint).", "hidden_dropout_prob"
    )
    attention_dropout: float | None = rate("Dropout of the attention (same default).", "attention_probs_dropout_prob")
    classifier_dropout: float | None = rate(
        "Dropout before the classifier (same default).", "classifier_dropout", (FINETUNE,)
    )

    def read_statistics(self) -> dict[str, list[float]]:
        """Mean and standard deviation of each mel bin, if a file is given; otherwise nothing.

        Raises:
            ValueError: If the file is missing, or is none of `audioformer statistics`.
        """
        if self.statistics is None:
            return {}
        file = Path(self.statistics)
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            return {name: [float(value) for value in content["bins"][name]] for name in ("mean", "std")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"`statistics` {self.statistics!r} must be a file that `audioformer statistics` wrote: {error}"
            ) from error
