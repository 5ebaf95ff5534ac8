"""Configuration of Dasheng."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN

from .carried_code import ConfigWithCode
from .classification_settings import PROBLEM_TYPES, ProblemType, check_classification

# What a saved folder says about its code, whichever class saved it.
AUTO_MAP = {
    "AutoConfig": "configuration_dasheng.DashengConfig",
    "AutoModel": "modeling_dasheng.DashengModel",
    "AutoModelForPreTraining": "modeling_dasheng_pretraining.DashengForPreTraining",
    "AutoModelForAudioClassification": "modeling_dasheng.DashengForAudioClassification",
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
    "base": {
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
    },
    # The table of the paper says 1024; what was released is 1280 wide, and only that has 600 million weights.
    "0.6B": {
        "hidden_size": 1280,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "intermediate_size": 5120,
    },
    "1.2B": {
        "hidden_size": 1536,
        "num_hidden_layers": 40,
        "num_attention_heads": 24,
        "intermediate_size": 6144,
        "decoder_hidden_size": 768,
        "decoder_num_attention_heads": 24,
        "decoder_intermediate_size": 3072,
    },
}
"""Fields of the released models that differ from the defaults, by the name of the model."""


@strict
class DashengConfig(ConfigWithCode):
    r"""
    Configuration of a [`DashengModel`]: a Transformer on pieces of 40 ms of a mel spectrogram (Dasheng, arXiv
    2406.06992). The defaults are those of the base model; [`DashengConfig.named`] has the larger ones.

    Args:
        num_mel_bins (`int`, *optional*, defaults to 64):
            Number of mel bins of the input.
        frames_per_patch (`int`, *optional*, defaults to 4):
            Number of frames that are joined into a patch, with all their mel bins. Frames that do not fill a patch are
            ignored.
        num_time_positions (`int`, *optional*, defaults to 252):
            Number of patches with a position of their own, 10.08 s. Longer clips are cut into pieces of as many.
        window_hop (`int`, *optional*):
            Number of patches from the start of a piece to the next, in clips of more than `num_time_positions`. By
            default `num_time_positions`: pieces lie side by side, and neighbours know nothing of each other, as in the
            authors' code. With a smaller number, such as half of that, they overlap, and the hidden states fade from
            one to the next: there is no seam.
        hidden_size (`int`, *optional*, defaults to 768):
            Size of the hidden states, a multiple of `num_attention_heads`.
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
        layer_norm_eps (`float`, *optional*, defaults to 1e-6):
            Epsilon of the layer normalizations of encoder and decoder.
        batch_norm_eps (`float`, *optional*, defaults to 1e-5):
            Epsilon of the batch normalization of mel bins.
        batch_norm_momentum (`float`, *optional*, defaults to 0.01):
            Weight in `(0, 1]` of a batch in the running statistics.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the initial positions, of the decoder's weights and of the classifier. Weights of
            the encoder layers start from Xavier's uniform distribution.
        decoder_hidden_size (`int`, *optional*, defaults to 512):
            Size of the hidden states of the decoder, which only pre-training has.
        decoder_num_hidden_layers (`int`, *optional*, defaults to 8):
            Number of its layers.
        decoder_num_attention_heads (`int`, *optional*, defaults to 16):
            Number of its attention heads.
        decoder_intermediate_size (`int`, *optional*, defaults to 2048):
            Size of its feed-forward layers.
        mask_ratio (`float`, *optional*, defaults to 0.75):
            Share of the patches that pre-training masks, in `(0, 1)`.
        mask_group_size (`int`, *optional*, defaults to 2):
            Number of neighbouring patches that are masked together.
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
            Machine ids of labels by their names, such as AudioSet's `{"Speech": "/m/09x0r"}`. A list of them in the
            order of the labels, as in older folders, becomes one.

    Raises:
        huggingface_hub.errors.StrictDataclassError: If a value has the wrong type or is out of range, or values do not
            fit together.

    Example:

    ```python
    >>> from audioformer.modeling_dasheng import DashengConfig, DashengModel

    >>> config = DashengConfig.named("0.6B")
    >>> config.num_patches(1001)  # 10 s
    250
    >>> config.frame_times(3)
    [0.0, 0.04, 0.08]
    >>> model = DashengModel(DashengConfig(num_hidden_layers=2))
    ```"""

    # Not "dasheng": the released folders of that type hold other code, and transformers may bring its own.
    model_type = "audioformer_dasheng"
    code_auto_map, code_files = AUTO_MAP, CODE_FILES

    num_mel_bins: int = 64
    frames_per_patch: int = 4
    num_time_positions: int = 252
    window_hop: int | None = None
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.0
    attention_probs_dropout_prob: float | int = 0.0
    classifier_dropout: float | int = 0.0
    layer_norm_eps: float | int = 1e-6
    batch_norm_eps: float | int = 1e-5
    batch_norm_momentum: float | int = 0.01
    initializer_range: float | int = 0.02
    decoder_hidden_size: int = 512
    decoder_num_hidden_layers: int = 8
    decoder_num_attention_heads: int = 16
    decoder_intermediate_size: int = 2048
    mask_ratio: float | int = 0.75
    mask_group_size: int = 2
    sampling_rate: int = 16_000
    hop_length: int = 160
    # Repeated from the parent with its allowed values: `None` means "derive it from the labels".
    problem_type: ProblemType | None = None
    classification_loss: Literal["lsep", "bce", "cross_entropy"] | None = None
    bce_reduction: Literal["mean", "sum"] = "mean"
    calibration_temperature: float | int | None = None
    calibration_bias: list[float] | list[int] | None = None
    label_ids: dict[str, str] | list[str] | None = None
    # Otherwise the Trainer would gather them from every batch that it evaluates.
    keys_to_ignore_at_inference = ["past_key_values", "pooler_output", "patch_mask"]

    def __post_init__(self, **kwargs) -> None:
        if self.problem_type is None and self.classification_loss is not None:
            self.problem_type = PROBLEM_TYPES[self.classification_loss]
        super().__post_init__(**kwargs)
        if isinstance(self.label_ids, list):
            # By number: in a file, "10" comes before "2".
            names = [name for _, name in sorted((self.id2label or {}).items(), key=lambda entry: int(entry[0]))]
            # Another number of ids is that of other labels, which the model had before it got these.
            fits = len(names) == len(self.label_ids)
            self.label_ids = dict(zip(names, self.label_ids, strict=True)) if fits else None

    @classmethod
    def named(cls, size: str, **changes: Any) -> "DashengConfig":
        """
        Configuration of one of the released sizes.

        Args:
            size (`str`):
                `"base"` (85 million weights), `"0.6B"` or `"1.2B"`.
            changes (`dict`, *optional*):
                Fields that differ from it.

        Returns:
            [`DashengConfig`]: The configuration.

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
            "frames_per_patch",
            "num_time_positions",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "decoder_hidden_size",
            "decoder_num_hidden_layers",
            "decoder_num_attention_heads",
            "decoder_intermediate_size",
            "mask_group_size",
            "sampling_rate",
            "hop_length",
        ):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        for name, divisor in (
            ("hidden_size", "num_attention_heads"),
            ("decoder_hidden_size", "decoder_num_attention_heads"),
        ):
            value, by = getattr(self, name), getattr(self, divisor)
            if value % by != 0:
                raise ValueError(f"`{name}` must be a multiple of `{divisor}` ({by}), got {value}.")
        if self.window_hop is not None and not 1 <= self.window_hop <= self.num_time_positions:
            raise ValueError(
                f"`window_hop` must be from 1 to `num_time_positions` ({self.num_time_positions}), got "
                f"{self.window_hop}."
            )

    def validate_rates(self) -> None:
        """Part of `@strict`-powered validation. Dropout, epsilons and shares are in range."""
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"):
            value = getattr(self, name)
            if not 0 <= value < 1:
                raise ValueError(f"`{name}` must be in [0, 1), got {value}.")
        for name in ("layer_norm_eps", "batch_norm_eps", "initializer_range"):
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}.")
        if not 0 < self.batch_norm_momentum <= 1:
            raise ValueError(f"`batch_norm_momentum` must be in (0, 1], got {self.batch_norm_momentum}.")
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"`mask_ratio` must be in (0, 1), got {self.mask_ratio}.")
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"`hidden_act` must be one of {sorted(ACT2FN)}, got {self.hidden_act!r}.")

    def validate_classification(self) -> None:
        """Part of `@strict`-powered validation. The loss fits the problem type, and the calibration is finite."""
        check_classification(self)

    @property
    def patch_values(self) -> int:
        """Number of values in a patch."""
        return self.num_mel_bins * self.frames_per_patch

    @property
    def frame_rate(self) -> float:
        """Patches, and so hidden states, per second."""
        return self.sampling_rate / (self.hop_length * self.frames_per_patch)

    def num_patches(self, num_frames: int) -> int:
        """
        Number of patches of a spectrogram.

        Args:
            num_frames (`int`):
                Number of its frames. Those that do not fill a patch are ignored.

        Returns:
            `int`: `num_frames // frames_per_patch`.
        """
        return num_frames // self.frames_per_patch

    def frame_times(self, num_patches: int) -> list[float]:
        """
        Times of patches.

        Args:
            num_patches (`int`):
                Length of the sequence of hidden states.

        Returns:
            `list[float]`: `num_patches` start times in seconds from the start of the clip, one every 40 ms.

        Raises:
            ValueError: If `num_patches` is negative.
        """
        if num_patches < 0:
            raise ValueError(f"`num_patches` must be at least 0, got {num_patches}.")
        step = self.frames_per_patch * self.hop_length
        return [patch * step / self.sampling_rate for patch in range(num_patches)]


__all__ = ["DashengConfig"]
