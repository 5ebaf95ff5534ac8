"""The settings of BEATs, in addition to those of every family."""

from dataclasses import dataclass
from typing import Literal

from .arguments import FINETUNE, PRETRAIN, TRAIN, FamilyArguments, rate, setting, size
from .ranges import SEED, Range, at_least, more_than


@dataclass
class BeatsArguments(FamilyArguments):
    """The stage of pre-training, the scale of the spectrograms, the sizes of a fresh model, dropout, and what the
    paper leaves open.

    Raises:
        ValueError: If a value is outside its range.
    """

    stage: Literal["encoder", "tokenizer"] = setting(
        "encoder",
        "encoder: predict the labels of hidden patches. tokenizer: put what --teacher makes of patches into codes.",
        (PRETRAIN,),
    )
    labels_from: Literal["random_projection", "tokenizer"] = setting(
        "random_projection",
        "What labels the patches: random_projection, that of the first iteration, or the model in --tokenizer.",
        (PRETRAIN,),
    )
    tokenizer: str | None = setting(
        None, "Folder or Hub id of the tokenizer whose labels an encoder predicts.", (PRETRAIN,), path="any"
    )
    teacher: str | None = setting(
        None,
        "Folder or Hub id of the model that a tokenizer learns from: an encoder of the iteration before, or with "
        "--teacher-target logits a classifier.",
        (PRETRAIN,),
        path="any",
    )
    min_perplexity: float = setting(
        2.0,
        "Stop where the codes between two log records have a lower perplexity: they have collapsed (0 turns it off).",
        (PRETRAIN,),
        range=at_least(0),
    )
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
    dropout: float | None = rate(
        "Dropout of the layers (default: 0, or that of the checkpoint).", "hidden_dropout_prob"
    )
    attention_dropout: float | None = rate("Dropout of the attention (same default).", "attention_probs_dropout_prob")
    classifier_dropout: float | None = rate(
        "Dropout before the classifier (same default).", "classifier_dropout", (FINETUNE,)
    )
    layerdrop: float | None = rate("Probability that a layer is passed over, in training (same default).", "layerdrop")
    layer_gradient_scale: float | None = setting(
        None,
        "Factor of the gradient at the input of each layer, as in the authors' code; the decay of the paper is "
        "--layer-wise-lr-decay, and Adam undoes most of this one (default: 1, or that of the checkpoint).",
        TRAIN,
        config="layer_gradient_scale",
        range=Range(0, 1, open_low=True),
    )
    codebook_size: int = size(1024, "Codes of a fresh tokenizer, and labels.", "codebook_size")
    codebook_dim: int = size(256, "Size of the codes of a fresh tokenizer.", "codebook_dim")
    mask_ratio: float | None = setting(
        None,
        "Share of the patches that is hidden (default: 0.75, or that of the checkpoint).",
        (PRETRAIN,),
        config="mask_ratio",
        range=Range(0, 1, open_low=True, open_high=True),
    )
    keep_rounding: Literal["floor", "round"] | None = setting(
        None,
        "How the number of patches that are not hidden becomes a whole one (default: floor; not in the paper).",
        (PRETRAIN,),
        config="keep_rounding",
    )
    mask_filler: Literal["zeros", "learned"] = setting(
        "zeros",
        "What a fresh model's predictor reads at hidden patches.",
        (PRETRAIN,),
        config="mask_filler",
        fresh=True,
    )
    masked_positional_conv: Literal["grid", "kept"] | None = setting(
        None,
        "What the positional convolution reads: the grid with zeros at hidden patches, or the kept patches side by "
        "side (default: grid; not in the paper).",
        (PRETRAIN,),
        config="masked_positional_conv",
    )
    predictor_layers: int = size(3, "Layers of a fresh label predictor; not in the paper.", "predictor_layers")
    predictor_label_smoothing: float | None = rate(
        "Share of each label that is spread over all labels (default: 0; not in the paper).",
        "predictor_label_smoothing",
        (PRETRAIN,),
    )
    random_projection_seed: int | None = setting(
        None,
        "Seed of the random projection (default: 0).",
        (PRETRAIN,),
        config="random_projection_seed",
        range=SEED,
    )
    random_projection_init: Literal["xavier_uniform", "xavier_normal"] | None = setting(
        None,
        "Distribution of the random projection (default: xavier_uniform; not in the paper).",
        (PRETRAIN,),
        config="random_projection_init",
    )
    random_projection_distance: Literal["euclidean", "cosine"] | None = setting(
        None,
        "What the nearest random code is nearest by (default: euclidean, as in the paper; by it few codes may win).",
        (PRETRAIN,),
        config="random_projection_distance",
    )
    teacher_target: Literal["hidden_states", "logits"] = setting(
        "hidden_states",
        "What of its teacher a tokenizer learns: the last hidden states, or, of a classifier, the logits of patches.",
        (PRETRAIN,),
        config="teacher_target",
    )
    estimator_layers: int = size(3, "Layers of a tokenizer's estimator.", "estimator_layers")
    codebook_decay: float | None = setting(
        None,
        "Share of itself that a code keeps in a step (default: 0.99).",
        (PRETRAIN,),
        config="codebook_decay",
        range=Range(0, 1),
    )
    codebook_rounds: int | None = setting(
        None,
        "Rounds of k-means over the first batch, where codes start (default: 10).",
        (PRETRAIN,),
        config="codebook_rounds",
        range=at_least(1),
    )
    codebook_loss_reduction: Literal["mean", "sum"] | None = setting(
        None,
        "Squared distance to the code: mean over its values, as in the authors' code, or sum, as in the paper "
        "(default: mean).",
        (PRETRAIN,),
        config="codebook_loss_reduction",
    )
