"""Configuration of BEATs."""

import os
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig
from transformers.activations import ACT2FN

from .carried_code import carry_code
from .classification_settings import PROBLEM_TYPES, ProblemType, check_classification

# What a saved folder says about its code, whichever class saved it.
AUTO_MAP = {
    "AutoConfig": "configuration_beats.BeatsConfig",
    "AutoModel": "modeling_beats.BeatsModel",
    "AutoModelForAudioClassification": "modeling_beats.BeatsForAudioClassification",
}

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
class BeatsConfig(PreTrainedConfig):
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
        codebook_size (`int`, *optional*, defaults to 1024):
            Number of codes of a tokenizer, and of labels in pre-training.
        codebook_dim (`int`, *optional*, defaults to 256):
            Size of the codes of a tokenizer.
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
            "sampling_rate",
            "hop_length",
        ):
            value = getattr(self, name)
            if value < 1:
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
        ):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"`{name}` must be in [0, 1), got {value}.")
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

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> None:
        """
        Save the configuration, the code of the model and an `auto_map` that names all classes.

        Args:
            save_directory (`str` or `os.PathLike`):
                The folder, created if necessary.
            push_to_hub (`bool`, *optional*, defaults to `False`):
                Whether to upload the saved files.
            kwargs (`dict`, *optional*):
                Passed to [`~transformers.PreTrainedConfig.save_pretrained`].
        """
        if self._auto_class is not None:
            carry_code(self, save_directory, AUTO_MAP, CODE_FILES)
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)


__all__ = ["BeatsConfig"]
