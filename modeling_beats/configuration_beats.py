"""Configuration of BEATs."""

import math
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN

from .carried_code import ConfigWithCode
from .classification_settings import PROBLEM_TYPES, ProblemType, check_classification

# What a saved folder says about its code, whichever class saved it.
AUTO_MAP = {
    "AutoConfig": "configuration_beats.BeatsConfig",
    "AutoModel": "modeling_beats.BeatsModel",
    "AutoModelForAudioClassification": "modeling_beats.BeatsForAudioClassification",
    "AutoModelForPreTraining": "modeling_beats_pretraining.BeatsForMaskedAudioModeling",
}

ROUNDING = 1e-3
"""What a number of patches may lie below a whole one by its rounding in float32."""

SIBLINGS = (
    "carried_code.py",
    "classification_loss.py",
    "classification_settings.py",
    "modeling_beats_tokenizer.py",
    "pooling.py",
)
CODE_FILES = sorted({f"{reference.split('.')[0]}.py" for reference in AUTO_MAP.values()} | set(SIBLINGS))
"""Files of this folder that are copied into a saved folder: the code of the classes above, what it imports, and the
tokenizer."""


@strict
class BeatsConfig(ConfigWithCode):
    r"""
    Configuration of a [`BeatsModel`] or a [`BeatsTokenizer`]: a post-norm Transformer on patches of a log-mel
    spectrogram (BEATs, arXiv 2212.09058). The defaults are those of the released base models.

    Args:
        num_mel_bins (`int`, *optional*, defaults to 128):
            Number of mel bins of the input, a multiple of `patch_size`.
        patch_size (`int`, *optional*, defaults to 16):
            Number of frames, and of mel bins, in a patch. Frames that do not fill a patch are ignored.
        patch_embedding_size (`int`, *optional*, defaults to 512):
            Size of the embedding of a patch before it is projected to `hidden_size`. Without a projection if they are
            equal.
        patch_bias (`bool`, *optional*, defaults to `False`):
            Whether the embedding of patches has a bias.
        hidden_size (`int`, *optional*, defaults to 768):
            Size of the hidden states, a multiple of `num_attention_heads`.
        num_hidden_layers (`int`, *optional*, defaults to 12):
            Number of encoder layers.
        num_attention_heads (`int`, *optional*, defaults to 12):
            Number of attention heads. The released models have 12, the paper says 8.
        intermediate_size (`int`, *optional*, defaults to 3072):
            Size of the feed-forward layers.
        hidden_act (`str`, *optional*, defaults to `"gelu"`):
            Activation of the feed-forward layers, a key of `transformers.activations.ACT2FN`.
        hidden_dropout_prob (`float`, *optional*, defaults to 0.0):
            Dropout after the positional convolution, the attention and the feed-forward layers, in `[0, 1)`.
        attention_probs_dropout_prob (`float`, *optional*, defaults to 0.0):
            Dropout of the attention probabilities, in `[0, 1)`.
        activation_dropout (`float`, *optional*, defaults to 0.0):
            Dropout inside the feed-forward layers, in `[0, 1)`.
        input_dropout (`float`, *optional*, defaults to 0.0):
            Dropout of the embedded patches, in `[0, 1)`.
        classifier_dropout (`float`, *optional*, defaults to 0.0):
            Dropout before the classifier, in `[0, 1)`.
        layerdrop (`float`, *optional*, defaults to 0.0):
            Probability in `[0, 1)` that a layer is passed over, for the whole batch, in training.
        layer_gradient_scale (`float`, *optional*, defaults to 1.0):
            Factor in `(0, 1]` of the gradient at the input of each layer, as in the authors' code. Adam undoes most
            of it; the paper's layer-wise decay is one of learning rates.
        layer_norm_eps (`float`, *optional*, defaults to 1e-5):
            Epsilon of the layer normalizations.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of initial weights that DeepNorm does not determine.
        deep_norm (`bool`, *optional*, defaults to `True`):
            Whether residuals are scaled by `(2 * num_hidden_layers) ** 0.25`, and some weights start smaller.
        num_conv_pos_embeddings (`int`, *optional*, defaults to 128):
            Kernel size of the positional convolution, over patches.
        num_conv_pos_embedding_groups (`int`, *optional*, defaults to 16):
            Groups of the positional convolution.
        relative_position_bias (`bool`, *optional*, defaults to `True`):
            Whether attention has a bias by the distance of two patches.
        gated_relative_position_bias (`bool`, *optional*, defaults to `True`):
            Whether that bias is multiplied by a gate which each query computes.
        num_buckets (`int`, *optional*, defaults to 320):
            Number of buckets of distances, a multiple of 4: half for each direction.
        max_distance (`int`, *optional*, defaults to 800):
            Distance in patches from which on all fall into the last bucket, more than `num_buckets / 4`.
        masked_positional_conv (`str`, *optional*, defaults to `"grid"`):
            What the positional convolution reads where the encoder runs on some of the patches only, as in masked
            pre-training: `"grid"`, all positions with zeros at the missing patches, or `"kept"`, the remaining patches
            side by side. The paper does not say.
        mask_ratio (`float`, *optional*, defaults to 0.75):
            Share in `(0, 1)` of the patches of a clip that masked pre-training hides.
        keep_rounding (`str`, *optional*, defaults to `"floor"`):
            How the number of kept patches becomes a whole one: `"floor"`, 124 of 496, or `"round"`. The paper does not
            say.
        mask_filler (`str`, *optional*, defaults to `"zeros"`):
            What the label predictor reads at hidden patches: `"zeros"`, as in the paper, or a `"learned"` vector.
        predictor_layers (`int`, *optional*, defaults to 3):
            Layers of the label predictor, which are like those of the encoder, with a table of relative positions of
            their own. The paper does not say how many.
        predictor_label_smoothing (`float`, *optional*, defaults to 0.0):
            Share in `[0, 1)` of each label that masked pre-training spreads over all labels. The paper does not say.
        codebook_size (`int`, *optional*, defaults to 1024):
            Number of codes of a tokenizer, and of labels in pre-training.
        codebook_dim (`int`, *optional*, defaults to 256):
            Size of the codes of a tokenizer.
        codebook_decay (`float`, *optional*, defaults to 0.99):
            Share in `[0, 1]` of itself that a code keeps in a step of training a tokenizer; the rest is the mean of
            the vectors that it was assigned.
        codebook_rounds (`int`, *optional*, defaults to 10):
            Rounds of k-means over the first batch, whose centres are the first codes.
        codebook_loss_reduction (`str`, *optional*, defaults to `"mean"`):
            Whether the squared distance of a vector to its code is the `"mean"` over its values, as in the authors'
            code, or the `"sum"`, as in the paper.
        estimator_layers (`int`, *optional*, defaults to 3):
            Layers of the estimator, which reads codes in the training of a tokenizer.
        estimator_target_size (`int`, *optional*):
            Size of what the estimator predicts for each patch; by default `hidden_size`.
        teacher_target (`str`, *optional*, defaults to `"hidden_states"`):
            What of its teacher a tokenizer learns: `"hidden_states"` of the last layer, or `"logits"`, those of a
            classifier for each patch, where the paper does not say whether they are of patches or of the clip.
        random_projection_seed (`int`, *optional*, defaults to 0):
            Seed of the weights of a [`BeatsRandomProjectionTokenizer`].
        random_projection_init (`str`, *optional*, defaults to `"xavier_uniform"`):
            Distribution of its projection, `"xavier_uniform"` or `"xavier_normal"`; its codes are normal. The paper
            says "random".
        random_projection_distance (`str`, *optional*, defaults to `"euclidean"`):
            What is nearest: by the `"euclidean"` distance, as in the paper, or by `"cosine"`, as in the method that
            it takes up (arXiv 2202.01855). By the former short codes win more often.
        sampling_rate (`int`, *optional*, defaults to 16000):
            Sampling rate of the audio in Hz.
        hop_length (`int`, *optional*, defaults to 160):
            Number of samples from one frame to the next.
        classification_loss (`str`, *optional*):
            Loss of the classifier: `"cross_entropy"` (one label per clip), `"bce"` or `"lsep"` (several labels per
            clip). `None` derives it from `problem_type`, as transformers does. If only the loss is given,
            `problem_type` is derived from it.
        bce_reduction (`str`, *optional*, defaults to `"mean"`):
            Whether `"bce"` is the `"mean"` or the `"sum"` over the labels of a clip.
        calibration_temperature (`float`, *optional*):
            The classifier divides its logits by this, if given.
        calibration_bias (`list[float]`, *optional*):
            The classifier adds this to its logits, one value per label, if given.
        label_ids (`dict[str, str]`, *optional*):
            Machine ids of labels by their names, such as AudioSet's `{"Speech": "/m/09x0r"}`.

    Raises:
        huggingface_hub.errors.StrictDataclassError: If a value has the wrong type or is out of range, or values do not
            fit together.

    Example:

    ```python
    >>> from audioformer.modeling_beats import BeatsConfig, BeatsModel

    >>> config = BeatsConfig(num_hidden_layers=2)
    >>> config.num_patches(998)
    496
    >>> model = BeatsModel(config)
    ```"""

    # Not "beats": should transformers bring a BEATs of its own, folders of both are told apart.
    model_type = "audioformer_beats"
    code_auto_map, code_files = AUTO_MAP, CODE_FILES

    num_mel_bins: int = 128
    patch_size: int = 16
    patch_embedding_size: int = 512
    patch_bias: bool = False
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    activation_dropout: float | int = 0.0
    input_dropout: float | int = 0.0
    classifier_dropout: float | int = 0.0
    layerdrop: float | int = 0.0
    layer_gradient_scale: float | int = 1.0
    layer_norm_eps: float | int = 1e-5
    initializer_range: float | int = 0.02
    deep_norm: bool = True
    num_conv_pos_embeddings: int = 128
    num_conv_pos_embedding_groups: int = 16
    relative_position_bias: bool = True
    gated_relative_position_bias: bool = True
    num_buckets: int = 320
    max_distance: int = 800
    masked_positional_conv: Literal["grid", "kept"] = "grid"
    codebook_size: int = 1024
    codebook_dim: int = 256
    mask_ratio: float = 0.75
    keep_rounding: Literal["floor", "round"] = "floor"
    mask_filler: Literal["zeros", "learned"] = "zeros"
    predictor_layers: int = 3
    predictor_label_smoothing: float | int = 0.0
    codebook_decay: float | int = 0.99
    codebook_rounds: int = 10
    codebook_loss_reduction: Literal["mean", "sum"] = "mean"
    estimator_layers: int = 3
    estimator_target_size: int | None = None
    teacher_target: Literal["hidden_states", "logits"] = "hidden_states"
    random_projection_seed: int = 0
    random_projection_init: Literal["xavier_uniform", "xavier_normal"] = "xavier_uniform"
    random_projection_distance: Literal["euclidean", "cosine"] = "euclidean"
    sampling_rate: int = 16_000
    hop_length: int = 160
    # Repeated from the parent with its allowed values: `None` means "derive it from the labels".
    problem_type: ProblemType | None = None
    classification_loss: Literal["lsep", "bce", "cross_entropy"] | None = None
    bce_reduction: Literal["mean", "sum"] = "mean"
    calibration_temperature: float | int | None = None
    calibration_bias: list[float] | list[int] | None = None
    label_ids: dict[str, str] | None = None
    # Otherwise the Trainer would gather them from every batch that it evaluates.
    keys_to_ignore_at_inference = ["past_key_values", "pooler_output", "patch_mask"]

    def __post_init__(self, **kwargs) -> None:
        if self.problem_type is None and self.classification_loss is not None:
            self.problem_type = PROBLEM_TYPES[self.classification_loss]
        super().__post_init__(**kwargs)

    def validate_sizes(self) -> None:
        """Part of `@strict`-powered validation. Sizes are positive and divide each other where they must."""
        for name in (
            "num_mel_bins",
            "patch_size",
            "patch_embedding_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "num_conv_pos_embeddings",
            "num_conv_pos_embedding_groups",
            "codebook_size",
            "codebook_dim",
            "codebook_rounds",
            "predictor_layers",
            "estimator_layers",
            "estimator_target_size",
            "sampling_rate",
            "hop_length",
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        for name, divisor in (
            ("num_mel_bins", "patch_size"),
            ("hidden_size", "num_attention_heads"),
            ("hidden_size", "num_conv_pos_embedding_groups"),
        ):
            value, by = getattr(self, name), getattr(self, divisor)
            if value % by != 0:
                raise ValueError(f"`{name}` must be a multiple of `{divisor}` ({by}), got {value}.")

    def validate_rates(self) -> None:
        """Part of `@strict`-powered validation. Dropout, epsilon and initial standard deviation are in range."""
        for name in (
            "hidden_dropout_prob",
            "attention_probs_dropout_prob",
            "activation_dropout",
            "input_dropout",
            "classifier_dropout",
            "layerdrop",
            "predictor_label_smoothing",
        ):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"`{name}` must be in [0, 1), got {value}.")
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"`mask_ratio` must be in (0, 1), got {self.mask_ratio}.")
        if not 0 <= self.codebook_decay <= 1:
            raise ValueError(f"`codebook_decay` must be in [0, 1], got {self.codebook_decay}.")
        if not 0 < self.layer_gradient_scale <= 1:
            raise ValueError(f"`layer_gradient_scale` must be in (0, 1], got {self.layer_gradient_scale}.")
        for name in ("layer_norm_eps", "initializer_range"):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}.")
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"`hidden_act` must be one of {sorted(ACT2FN)}, got {self.hidden_act!r}.")

    def validate_relative_positions(self) -> None:
        """Part of `@strict`-powered validation. Buckets can be computed, and a gate has a bias to multiply."""
        if self.num_buckets < 4 or self.num_buckets % 4 != 0:
            raise ValueError(f"`num_buckets` must be a positive multiple of 4, got {self.num_buckets}.")
        if self.max_distance <= self.num_buckets // 4:
            raise ValueError(
                f"`max_distance` must be more than `num_buckets` / 4 ({self.num_buckets // 4}), the distances with a "
                f"bucket of their own; got {self.max_distance}."
            )
        if self.gated_relative_position_bias and not self.relative_position_bias:
            raise ValueError("`gated_relative_position_bias` needs `relative_position_bias`, got `False`.")

    def validate_classification(self) -> None:
        """Part of `@strict`-powered validation. The loss fits the problem type, and the calibration is finite."""
        check_classification(self)

    @property
    def num_bands(self) -> int:
        """Number of patches side by side in frequency; patch `t * num_bands + f` is band `f` of time step `t`."""
        return self.num_mel_bins // self.patch_size

    def num_patches(self, num_frames: int) -> int:
        """
        Number of patches of a spectrogram.

        Args:
            num_frames (`int`):
                Number of its frames. Those that do not fill a patch are ignored.

        Returns:
            `int`: `num_frames // patch_size * num_bands`.
        """
        return num_frames // self.patch_size * self.num_bands

    def num_kept(self, num_patches: int) -> int:
        """
        Number of patches that masked pre-training keeps.

        Args:
            num_patches (`int`):
                Number of patches of a clip.

        Returns:
            `int`: At least 1 if there is a patch.
        """
        share = (1 - self.mask_ratio) * num_patches
        # A product such as 0.3 * 10 may lie just below a whole number.
        kept = math.floor(share + ROUNDING) if self.keep_rounding == "floor" else round(share)
        return min(num_patches, max(1, kept))

    def frame_times(self, num_patches: int) -> list[float]:
        """
        Start times of patches.

        Args:
            num_patches (`int`):
                Length of the sequence of hidden states.

        Returns:
            `list[float]`: `num_patches` times in seconds from the start of the clip: entry `t * num_bands + f` is
            `t * patch_size * hop_length / sampling_rate`, the same for all bands of a time step.

        Raises:
            ValueError: If `num_patches` is negative.
        """
        if num_patches < 0:
            raise ValueError(f"`num_patches` must be at least 0, got {num_patches}.")
        step = self.patch_size * self.hop_length
        return [patch // self.num_bands * step / self.sampling_rate for patch in range(num_patches)]


__all__ = ["BeatsConfig"]
