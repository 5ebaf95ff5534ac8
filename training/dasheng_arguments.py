"""The settings of Dasheng, in addition to those of every family."""

from dataclasses import dataclass

from .arguments import FINETUNE, PRETRAIN, TRAIN, FamilyArguments, rate, setting, size
from .ranges import Range, at_least


@dataclass
class DashengArguments(FamilyArguments):
    """The sizes of a fresh model, what is trained of it, how it reads long clips, and dropout.

    Raises:
        ValueError: If a value is outside its range.
    """

    freeze_encoder: bool = setting(
        False, "Train the classifier alone; the encoder and its statistics stay as they are.", (FINETUNE,)
    )
    window_hop: int | None = setting(
        None,
        "Patches of 40 ms from the start of a piece to the next, in clips of more than 10.08 s: less than 252, and "
        "they overlap and fade into each other (default: 252, or that of the checkpoint).",
        TRAIN,
        config="window_hop",
        range=at_least(1),
    )
    hidden_size: int = size(768, "Width of a fresh model.", "hidden_size")
    num_hidden_layers: int = size(12, "Layers of a fresh model.", "num_hidden_layers")
    num_attention_heads: int = size(12, "Attention heads of a fresh model.", "num_attention_heads")
    intermediate_size: int = size(3072, "Feed-forward width of a fresh model.", "intermediate_size")
    decoder_hidden_size: int = size(512, "Width of a fresh decoder, for pre-training.", "decoder_hidden_size")
    decoder_num_hidden_layers: int = size(8, "Layers of a fresh decoder.", "decoder_num_hidden_layers")
    decoder_num_attention_heads: int = size(16, "Attention heads of a fresh decoder.", "decoder_num_attention_heads")
    decoder_intermediate_size: int = size(2048, "Feed-forward width of a fresh decoder.", "decoder_intermediate_size")
    mask_ratio: float | None = setting(
        None,
        "Share of the patches that are masked (default: 0.75, or that of the checkpoint).",
        (PRETRAIN,),
        config="mask_ratio",
        range=Range(0, 1, open_low=True, open_high=True),
    )
    mask_group_size: int | None = setting(
        None,
        "Neighbouring patches that are masked together (default: 2, or as in the checkpoint).",
        (PRETRAIN,),
        config="mask_group_size",
        range=at_least(1),
    )
    dropout: float | None = rate(
        "Dropout of the layers (default: 0, or that of the checkpoint).", "hidden_dropout_prob"
    )
    attention_dropout: float | None = rate("Dropout of the attention (same default).", "attention_probs_dropout_prob")
    classifier_dropout: float | None = rate(
        "Dropout before the classifier (same default).", "classifier_dropout", (FINETUNE,)
    )
