"""Configuration of MaskSpec."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN

from .carried_code import ConfigWithCode
from .classification_settings import PROBLEM_TYPES, ProblemType, check_classification

# What a saved folder says about its code, whichever class saved it.
AUTO_MAP = {
    "AutoConfig": "configuration_maskspec.MaskSpecConfig",
    "AutoModel": "modeling_maskspec.MaskSpecModel",
    "AutoModelForAudioClassification": "modeling_maskspec.MaskSpecForAudioClassification",
    "AutoModelForPreTraining": "modeling_maskspec_pretraining.MaskSpecForPreTraining",
}

SIBLINGS = (
    "carried_code.py",
    "classification_loss.py",
    "classification_settings.py",
    "masked_patches.py",
    "pieces.py",
    "pooling.py",
    "self_attention.py",
)
CODE_FILES = sorted({f"{reference.split('.')[0]}.py" for reference in AUTO_MAP.values()} | set(SIBLINGS))
"""Files of this folder that are copied into a saved folder: the code of the classes above, and what it imports."""

SIZES: dict[str, dict[str, int]] = {
    "base": {},
    "small": {"hidden_size": 384, "num_attention_heads": 6, "intermediate_size": 1536},
    "tiny": {"hidden_size": 192, "num_attention_heads": 3, "intermediate_size": 768},
}
"""What the sizes of the paper change in the defaults. Only the base model was released."""


@strict
class MaskSpecConfig(ConfigWithCode):
    r"""
    Configuration of a [`MaskSpecModel`]: a Transformer on patches of a log-mel spectrogram (MaskSpec, arXiv
    2204.12768). The defaults are those of the released base model, which has wider feed-forward layers (3072) than the
    paper says (2048); [`MaskSpecConfig.named`] has the smaller ones.

    Args:
        num_mel_bins (`int`, *optional*, defaults to 128):
            Number of mel bins of the input, a multiple of `patch_size`.
        patch_size (`int`, *optional*, defaults to 16):
            Number of frames, and of mel bins, in a patch. Frames that do not fill a patch are ignored.
        num_time_positions (`int`, *optional*, defaults to 62):
            Number of columns of patches with a position of their own, 9.92 s. Shorter clips have the positions of the
            first ones; longer clips are read in pieces of as many.
        window_hop (`int`, *optional*):
            Number of columns from the start of a piece to the next, in clips of more than `num_time_positions`. By
            default `num_time_positions`: pieces lie side by side. With a smaller number, such as half of that, they
            overlap, and the hidden states fade from one to the next: there is no seam.
        hidden_size (`int`, *optional*, defaults to 768):
            Size of the hidden states, a multiple of `num_attention_heads` and of 4.
        num_hidden_layers (`int`, *optional*, defaults to 12):
            Number of encoder layers.
        num_attention_heads (`int`, *optional*, defaults to 12):
            Number of attention heads per layer.
        intermediate_size (`int`, *optional*, defaults to 3072):
            Size of the feed-forward layers.
        hidden_act (`str`, *optional*, defaults to `"gelu"`):
            Activation of the feed-forward layers, a key of `transformers.activations.ACT2FN`.
        hidden_dropout_prob (`float`, *optional*, defaults to 0.0):
            Dropout of the embedded patches, and in and after the sublayers, in `[0, 1)`.
        attention_probs_dropout_prob (`float`, *optional*, defaults to 0.0):
            Dropout of the attention probabilities, in `[0, 1)`.
        classifier_dropout (`float`, *optional*, defaults to 0.0):
            Dropout before the classifier, in `[0, 1)`.
        drop_path_rate (`float`, *optional*, defaults to 0.0):
            Probability in `[0, 1)` that the last layer leaves out a sublayer of a clip, in training; it grows linearly
            from 0 at the first layer. Fine-tuning in the authors' code has 0.1.
        patchout (`int`, *optional*, defaults to 0):
            Number of patches that the classifier leaves out in training, the same ones in all clips of a batch, and at
            most half of them. Not in clips that are read in pieces.
        layer_norm_eps (`float`, *optional*, defaults to 1e-6):
            Epsilon of the layer normalizations.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the initial cls and mask tokens. Linear layers start from Xavier's uniform
            distribution, positions from sines and cosines.
        classifier_initializer_range (`float`, *optional*, defaults to 2e-5):
            Standard deviation of the initial weights of the classifier.
        pooling (`str`, *optional*, defaults to `"mean"`):
            What a classifier reads: the `"mean"` of the patches, which is normalized afterwards, or the `"cls"` token,
            normalized with all others.
        final_layer_norm (`bool`, *optional*, defaults to `True`):
            Whether the encoder ends in a layer normalization. A classifier sets it: it has one only with `pooling`
            `"cls"`. Pre-training always has one.
        decoder_hidden_size (`int`, *optional*, defaults to 512):
            Size of the hidden states of the decoder, which only pre-training has; a multiple of 4.
        decoder_num_hidden_layers (`int`, *optional*, defaults to 8):
            Number of its layers.
        decoder_num_attention_heads (`int`, *optional*, defaults to 16):
            Number of its attention heads.
        decoder_intermediate_size (`int`, *optional*, defaults to 2048):
            Size of its feed-forward layers.
        mask_ratio (`float`, *optional*, defaults to 0.75):
            Share of the patches that pre-training masks, in `(0, 1)`.
        standardize_target (`bool`, *optional*, defaults to `True`):
            Whether the decoder predicts each patch with mean 0 and variance 1, as the authors' scripts have it, or the
            patch as it is, as in the paper.
        sampling_rate (`int`, *optional*, defaults to 32000):
            Sampling rate of the audio in Hz.
        hop_length (`int`, *optional*, defaults to 320):
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
    >>> from audioformer.modeling_maskspec import MaskSpecConfig, MaskSpecModel

    >>> config = MaskSpecConfig.named("small")
    >>> config.num_patches(1000)  # 10 s
    496
    >>> model = MaskSpecModel(MaskSpecConfig(num_hidden_layers=2))
    ```"""

    # Not "maskspec": should transformers bring a MaskSpec of its own, folders of both are told apart.
    model_type = "audioformer_maskspec"
    code_auto_map, code_files = AUTO_MAP, CODE_FILES

    num_mel_bins: int = 128
    patch_size: int = 16
    num_time_positions: int = 62
    window_hop: int | None = None
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    classifier_dropout: float | int = 0.0
    drop_path_rate: float | int = 0.0
    patchout: int = 0
    layer_norm_eps: float | int = 1e-6
    initializer_range: float | int = 0.02
    classifier_initializer_range: float | int = 2e-5
    pooling: Literal["mean", "cls"] = "mean"
    final_layer_norm: bool = True
    decoder_hidden_size: int = 512
    decoder_num_hidden_layers: int = 8
    decoder_num_attention_heads: int = 16
    decoder_intermediate_size: int = 2048
    mask_ratio: float | int = 0.75
    standardize_target: bool = True
    sampling_rate: int = 32_000
    hop_length: int = 320
    # Repeated from the parent with its allowed values: `None` means "derive it from the labels".
    problem_type: ProblemType | None = None
    classification_loss: Literal["lsep", "bce", "cross_entropy"] | None = None
    bce_reduction: Literal["mean", "sum"] = "mean"
    calibration_temperature: float | int | None = None
    calibration_bias: list[float] | list[int] | None = None
    label_ids: dict[str, str] | None = None
    # Otherwise the Trainer would gather them from every batch that it evaluates.
    keys_to_ignore_at_inference = ["past_key_values", "pooler_output", "patch_mask", "cls_hidden_state"]

    def __post_init__(self, **kwargs) -> None:
        if self.problem_type is None and self.classification_loss is not None:
            self.problem_type = PROBLEM_TYPES[self.classification_loss]
        super().__post_init__(**kwargs)

    @classmethod
    def named(cls, size: str, **changes: Any) -> "MaskSpecConfig":
        """
        Configuration of one of the sizes of the paper.

        Args:
            size (`str`):
                `"base"` (86 million weights), `"small"` or `"tiny"`.
            changes (`dict`, *optional*):
                Fields that differ from it.

        Returns:
            [`MaskSpecConfig`]: The configuration.

        Raises:
            ValueError: If there is no such size.
        """
        if size not in SIZES:
            raise ValueError(f"`size` must be one of {', '.join(map(repr, SIZES))}, got {size!r}.")
        return cls(**{**SIZES[size], **changes})

    def validate_sizes(self) -> None:
        """Part of `@strict`-powered validation. Sizes are positive and divide each other where they must."""
        for name in (
            "num_mel_bins",
            "patch_size",
            "num_time_positions",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "decoder_hidden_size",
            "decoder_num_hidden_layers",
            "decoder_num_attention_heads",
            "decoder_intermediate_size",
            "sampling_rate",
            "hop_length",
        ):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        for name, divisor in (
            ("num_mel_bins", "patch_size"),
            ("hidden_size", "num_attention_heads"),
            ("decoder_hidden_size", "decoder_num_attention_heads"),
        ):
            value, by = getattr(self, name), getattr(self, divisor)
            if value % by != 0:
                raise ValueError(f"`{name}` must be a multiple of `{divisor}` ({by}), got {value}.")
        for name in ("hidden_size", "decoder_hidden_size"):
            if getattr(self, name) % 4 != 0:
                raise ValueError(
                    f"`{name}` must be a multiple of 4, for sines and cosines of time and frequency, got "
                    f"{getattr(self, name)}."
                )
        if self.window_hop is not None and not 1 <= self.window_hop <= self.num_time_positions:
            raise ValueError(
                f"`window_hop` must be from 1 to `num_time_positions` ({self.num_time_positions}), got "
                f"{self.window_hop}."
            )

    def validate_rates(self) -> None:
        """Part of `@strict`-powered validation. Dropout, epsilon and shares are in range."""
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "drop_path_rate"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"`{name}` must be in [0, 1), got {value}.")
        for name in ("layer_norm_eps", "initializer_range", "classifier_initializer_range"):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}.")
        if self.patchout < 0:
            raise ValueError(f"`patchout` must be at least 0, got {self.patchout}.")
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"`mask_ratio` must be in (0, 1), got {self.mask_ratio}.")
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"`hidden_act` must be one of {sorted(ACT2FN)}, got {self.hidden_act!r}.")

    def validate_classification(self) -> None:
        """Part of `@strict`-powered validation. The loss fits the problem type, and the calibration is finite."""
        check_classification(self)

    @property
    def num_bands(self) -> int:
        """Number of patches side by side in frequency; patch `t * num_bands + f` is band `f` of column `t`."""
        return self.num_mel_bins // self.patch_size

    @property
    def max_patches(self) -> int:
        """Number of patches with a position of their own."""
        return self.num_time_positions * self.num_bands

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
            `t * patch_size * hop_length / sampling_rate`, the same for all bands of a column.

        Raises:
            ValueError: If `num_patches` is negative.
        """
        if num_patches < 0:
            raise ValueError(f"`num_patches` must be at least 0, got {num_patches}.")
        step = self.patch_size * self.hop_length
        return [patch // self.num_bands * step / self.sampling_rate for patch in range(num_patches)]


__all__ = ["MaskSpecConfig"]
