"""The settings of BEATs, in addition to those of every family."""

from dataclasses import dataclass

from .arguments import FINETUNE, TRAIN, FamilyArguments, setting, size
from .ranges import DROPOUT, Range, more_than


@dataclass
class BeatsArguments(FamilyArguments):
    """The scale of the spectrograms, the sizes of a fresh model, and dropout.

    Raises:
        ValueError: If a value is outside its range.
    """

    mean: float | None = setting(
        None, "Mean of the log energies of the data (default: that of the model, else AudioSet's, 15.41663).", TRAIN
    )
    std: float | None = setting(
        None,
        "Standard deviation of the log energies (default: that of the model, else AudioSet's, 6.55582).",
        TRAIN,
        range=more_than(0),
    )
    hidden_size: int = size(768, "Width of a fresh model.", "hidden_size")
    num_hidden_layers: int = size(12, "Layers of a fresh model.", "num_hidden_layers")
    num_attention_heads: int = size(12, "Attention heads of a fresh model.", "num_attention_heads")
    intermediate_size: int = size(3072, "Feed-forward width of a fresh model.", "intermediate_size")
    patch_embedding_size: int = size(512, "Size of a fresh model's embedding of a patch.", "patch_embedding_size")
    num_conv_pos_embeddings: int = size(
        128, "Patches that the positional convolution of a fresh model spans.", "num_conv_pos_embeddings"
    )
    num_conv_pos_embedding_groups: int = size(
        16, "Groups of the positional convolution of a fresh model.", "num_conv_pos_embedding_groups"
    )
    dropout: float | None = setting(
        None,
        "Dropout of the layers (default: 0, or that of the checkpoint).",
        TRAIN,
        config="hidden_dropout_prob",
        range=DROPOUT,
    )
    attention_dropout: float | None = setting(
        None,
        "Dropout of the attention (same default).",
        TRAIN,
        config="attention_probs_dropout_prob",
        range=DROPOUT,
    )
    classifier_dropout: float | None = setting(
        None, "Dropout before the classifier (same default).", (FINETUNE,), config="classifier_dropout", range=DROPOUT
    )
    layerdrop: float | None = setting(
        None,
        "Probability that a layer is passed over, in training (same default).",
        TRAIN,
        config="layerdrop",
        range=DROPOUT,
    )
    layer_gradient_scale: float | None = setting(
        None,
        "Factor of the gradient at the input of each layer, as in the authors' code; the decay of the paper is "
        "--layer-wise-lr-decay, and Adam undoes most of this one (default: 1, or that of the checkpoint).",
        TRAIN,
        config="layer_gradient_scale",
        range=Range(0, 1, open_low=True),
    )
