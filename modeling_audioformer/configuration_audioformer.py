"""Configuration of AudioFormer."""

from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers.activations import ACT2FN

from .carried_code import ConfigWithCode
from .classification_settings import PROBLEM_TYPES, ProblemType, check_classification

# What a saved folder says about its code, whichever class saved it. By default `save_pretrained` names only the class
# that is saved, and a masked-LM folder could not be loaded as a classifier with `trust_remote_code=True`.
AUTO_MAP = {
    "AutoConfig": "configuration_audioformer.AudioFormerConfig",
    "AutoModel": "modeling_audioformer.AudioFormerModel",
    "AutoModelForMaskedLM": "modeling_audioformer.AudioFormerForMaskedLM",
    "AutoModelForAudioClassification": "modeling_audioformer.AudioFormerForAudioClassification",
}

SIBLINGS = (
    "carried_code.py",
    "classification_loss.py",
    "classification_settings.py",
    "pooling.py",
    "self_attention.py",
)
CODE_FILES = sorted({f"{reference.split('.')[0]}.py" for reference in AUTO_MAP.values()} | set(SIBLINGS))
"""Files of this folder that are copied into a saved folder: the code of the classes above, and what it imports."""

CODE_OFFSET = 3
"""Code `c` has the id `c + CODE_OFFSET`, after `<BOA>`, `<PAD>` and `<EOA>` (arXiv 2308.07221, section 4.2)."""

SPECIAL_TOKEN_IDS = {"boa_token_id": 0, "pad_token_id": 1, "eoa_token_id": 2}
"""The ids below `CODE_OFFSET`. They are fields of the configuration because transformers reads them there."""


@strict
class AudioFormerConfig(ConfigWithCode):
    r"""
    Configuration of an [`AudioFormerModel`], a RoFormer-style encoder that reads the codes of a neural audio codec
    like words. The defaults are those of AudioFormer (arXiv 2308.07221, sections 3 and 4.2).

    The vocabulary is `<BOA>` 0, `<PAD>` 1, `<EOA>` 2, the codes as `code + 3` (3 to 1026), `<MASK>` 1027.

    Args:
        vocab_size (`int`, *optional*, defaults to 1028):
            Number of embeddings: one per code and special id, or more if the vocabulary is padded.
        codebook_size (`int`, *optional*, defaults to 1024):
            Number of entries per codebook of the codec, that is, of different codes.
        hidden_size (`int`, *optional*, defaults to 768):
            Size of the hidden states, a multiple of `2 * num_attention_heads`.
        num_hidden_layers (`int`, *optional*, defaults to 12):
            Number of encoder layers.
        num_attention_heads (`int`, *optional*, defaults to 12):
            Number of attention heads per layer.
        intermediate_size (`int`, *optional*, defaults to 3072):
            Size of the feed-forward layers.
        hidden_act (`str`, *optional*, defaults to `"gelu"`):
            Activation of the feed-forward layers and the masked-LM head, a key of `transformers.activations.ACT2FN`.
        hidden_dropout_prob (`float`, *optional*, defaults to 0.1):
            Dropout after the embeddings, the attention and the feed-forward layers, in `[0, 1)`.
        attention_probs_dropout_prob (`float`, *optional*, defaults to 0.1):
            Dropout of the attention probabilities, in `[0, 1)`.
        classifier_dropout (`float`, *optional*):
            Dropout before the classifier, in `[0, 1)`. `None` means `hidden_dropout_prob`.
        layer_norm_eps (`float`, *optional*, defaults to 1e-12):
            Epsilon of the layer normalizations.
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of the initial weights.
        rope_parameters (`dict`, *optional*, defaults to `{"rope_type": "default", "rope_theta": 10000.0}`):
            Rotary position embedding, `theta_i = rope_theta ** (-2 * i / head_dim)` (paper Eq. 1-3). Only
            `rope_type="default"` is supported; it needs no maximum length, and any length is accepted.
            `rope_theta=...` is accepted as a shorthand.
        boa_token_id (`int`, *optional*, defaults to 0):
            Id of `<BOA>`, the beginning of the audio. No other value is accepted.
        pad_token_id (`int`, *optional*, defaults to 1):
            Id of `<PAD>`. No other value is accepted.
        eoa_token_id (`int`, *optional*, defaults to 2):
            Id of `<EOA>`, the end of the audio. No other value is accepted.
        mask_token_id (`int`, *optional*, defaults to 1027):
            Id of `<MASK>`, above the codes.
        sampling_rate (`int`, *optional*, defaults to 24000):
            Sampling rate of the audio that the codec reads, in Hz.
        hop_length (`int`, *optional*, defaults to 320):
            Number of samples per code.
        codebook (`int`, *optional*, defaults to 0):
            Index of the residual codebook whose codes the model reads: 0 is the paper's C1, 3 its C4. The first of
            `codebooks` if there are several.
        codebooks (`list[int]`, *optional*):
            Indices of the codebooks whose codes the model reads together, such as `[0, 1, 2, 3]`. `input_ids` then
            have the shape `(batch_size, sequence_length, num_codebooks)`, a frame is embedded as the sum of one
            embedding per codebook, and the masked-LM head predicts each codebook. By default the model reads
            `codebook` alone, as in the paper; a list of one codebook means the same.
        codebook_dropout (`float`, *optional*, defaults to 0.0):
            Probability, in `[0, 1)`, with which each of several codebooks is left out of a clip in training; at least
            one stays. The sum is not rescaled, since a layer normalization follows it. One codebook is never left out.
        tie_word_embeddings (`bool`, *optional*, defaults to `True`):
            Whether the decoder of the masked-LM head shares the weights of the embedding.
        sparse_prediction (`bool`, *optional*, defaults to `True`):
            Whether the masked-LM head computes logits only at the positions that have a label, if labels are given and
            gradients are recorded.
        classification_loss (`str`, *optional*):
            Loss of the classifier: `"cross_entropy"` (Eq. 5, one label per clip), `"bce"` (Eq. 6) or `"lsep"` (Eq. 7,
            the paper's choice for several labels per clip). `None` derives it from `problem_type`, as transformers
            does. If only the loss is given, `problem_type` is derived from it.
        bce_reduction (`str`, *optional*, defaults to `"mean"`):
            How `"bce"` reduces the cross-entropies of a clip's classes: `"sum"`, as in Eq. 6, or `"mean"`, as in
            `torch.nn.BCEWithLogitsLoss`, which is smaller by the number of classes. Clips are averaged in any case.
        calibration_temperature (`float`, *optional*):
            Positive number that the classifier's logits are divided by before they are returned. It is fitted on
            held-out clips after training with LSEP, which ranks labels but does not calibrate scores.
        calibration_bias (`list[float]`, *optional*):
            Values that are then added to the logits, one per label.

    Raises:
        huggingface_hub.errors.StrictDataclassError: If a value has the wrong type or is out of range, or values do not
            fit together. Types and `problem_type` are also checked at assignment, the rest at construction and when
            the configuration is saved. As everywhere in transformers, unknown names are kept as extra attributes.

    Example:

    ```python
    >>> from audioformer import AudioFormerConfig, AudioFormerModel

    >>> config = AudioFormerConfig(num_hidden_layers=2)
    >>> config.frame_rate
    75.0
    >>> model = AudioFormerModel(config)
    ```"""

    model_type = "audioformer"
    code_auto_map, code_files = AUTO_MAP, CODE_FILES
    default_theta = 10_000.0

    vocab_size: int = 1028
    codebook_size: int = 1024
    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    hidden_dropout_prob: float | int = 0.1
    attention_probs_dropout_prob: float | int = 0.1
    classifier_dropout: float | int | None = None
    layer_norm_eps: float | int = 1e-12
    initializer_range: float | int = 0.02
    rope_parameters: dict | None = None
    boa_token_id: int = 0
    pad_token_id: int = 1
    eoa_token_id: int = 2
    mask_token_id: int = 1027
    sampling_rate: int = 24_000
    hop_length: int = 320
    codebook: int = 0
    # Folders saved by earlier versions hold the `int` under this name.
    codebooks: list[int] | int | None = None
    codebook_dropout: float | int = 0.0
    tie_word_embeddings: bool = True
    sparse_prediction: bool = True
    # Repeated from the parent with its allowed values: `None` means "derive it from the labels".
    problem_type: ProblemType | None = None
    classification_loss: Literal["lsep", "bce", "cross_entropy"] | None = None
    bce_reduction: Literal["mean", "sum"] = "mean"
    calibration_temperature: float | int | None = None
    calibration_bias: list[float] | list[int] | None = None
    # Otherwise the Trainer would gather the clip embeddings of every batch that it evaluates.
    keys_to_ignore_at_inference = ["past_key_values", "pooler_output"]

    def __post_init__(self, **kwargs) -> None:
        if isinstance(self.codebooks, int):
            self.codebook, self.codebooks = self.codebooks, None
        elif self.codebooks:
            if self.codebook not in (0, self.codebooks[0]):
                raise ValueError(
                    f"`codebook` {self.codebook} and `codebooks` {self.codebooks} exclude each other: give one of "
                    "them."
                )
            self.codebook = self.codebooks[0]
            self.codebooks = self.codebooks if len(self.codebooks) > 1 else None
        if self.problem_type is None and self.classification_loss is not None:
            self.problem_type = PROBLEM_TYPES[self.classification_loss]
        super().__post_init__(**kwargs)

    def validate_sizes(self) -> None:
        """Part of `@strict`-powered validation. Sizes are positive, and the heads divide the hidden size."""
        for name in (
            "vocab_size",
            "codebook_size",
            "hidden_size",
            "num_hidden_layers",
            "num_attention_heads",
            "intermediate_size",
            "sampling_rate",
            "hop_length",
        ):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}.")
        if self.hidden_size % (2 * self.num_attention_heads) != 0:
            raise ValueError(
                f"`hidden_size` must be a multiple of 2 * `num_attention_heads`, because pairs of values in each head "
                f"are rotated; got {self.hidden_size} and {self.num_attention_heads} heads."
            )

    def validate_codebooks(self) -> None:
        """Part of `@strict`-powered validation. Codebooks are indices, all different."""
        if self.codebook < 0:
            raise ValueError(f"`codebook` must be the index of a codebook, at least 0, got {self.codebook}.")
        if not 0 <= self.codebook_dropout < 1:
            raise ValueError(f"`codebook_dropout` must be in [0, 1), got {self.codebook_dropout}.")
        if self.codebooks is None:
            return
        indices = [self.codebooks] if isinstance(self.codebooks, int) else self.codebooks
        if not indices or min(indices) < 0 or len(set(indices)) < len(indices):
            raise ValueError(
                f"`codebooks` must be different indices of codebooks, at least 0, and at least one, got {indices}."
            )
        if self.codebook != indices[0]:
            raise ValueError(f"`codebook` must be the first of `codebooks` {indices}, got {self.codebook}.")

    def validate_rates(self) -> None:
        """Part of `@strict`-powered validation. Dropout, epsilon and initial standard deviation are in range."""
        for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"`{name}` must be in [0, 1), got {value}.")
        if self.layer_norm_eps <= 0:
            raise ValueError(f"`layer_norm_eps` must be positive, got {self.layer_norm_eps}.")
        if self.initializer_range <= 0:
            raise ValueError(f"`initializer_range` must be positive, got {self.initializer_range}.")
        if self.hidden_act not in ACT2FN:
            raise ValueError(f"`hidden_act` must be one of {sorted(ACT2FN)}, got {self.hidden_act!r}.")

    def validate_classification(self) -> None:
        """Part of `@strict`-powered validation. The loss fits the problem type, and the calibration is finite."""
        check_classification(self)

    def validate_vocabulary(self) -> None:
        """Part of `@strict`-powered validation. The special ids are those of the paper."""
        for name, needed in SPECIAL_TOKEN_IDS.items():
            if getattr(self, name) != needed:
                raise ValueError(
                    f"`{name}` must be {needed}, got {getattr(self, name)}: the ids below {CODE_OFFSET} are those of "
                    "AudioFormer (arXiv 2308.07221, section 4.2), and codes follow from there."
                )
        if self.mask_token_id < CODE_OFFSET + self.codebook_size:
            raise ValueError(
                f"`mask_token_id` must be at least {CODE_OFFSET + self.codebook_size}, because {self.codebook_size} "
                f"codes take the ids from {CODE_OFFSET} up; got {self.mask_token_id}."
            )
        if self.vocab_size <= self.mask_token_id:
            raise ValueError(
                f"`vocab_size` must be greater than `mask_token_id` ({self.mask_token_id}), got {self.vocab_size}."
            )

    def validate_rotary(self) -> None:
        """Part of `@strict`-powered validation. Rotary positions are those of the paper."""
        # `None` stands for the defaults only at construction, where the parent fills them in.
        if self.rope_parameters is None:
            raise ValueError("`rope_parameters` must be a dict, got `None`.")
        rope_type = self.rope_parameters.get("rope_type", "default")
        if rope_type != "default":
            raise ValueError(f'`rope_parameters["rope_type"]` must be "default", got {rope_type!r}.')
        theta = self.rope_parameters["rope_theta"]
        if theta <= 0:
            raise ValueError(f'`rope_parameters["rope_theta"]` must be positive, got {theta}.')

    @property
    def codebook_indices(self) -> int | list[int]:
        """What the model reads: the index of its codebook, or a list of the indices if there are several.

        This is the setting `codebooks` of a feature extractor for the model.
        """
        return self.codebook if self.codebooks is None else self.codebooks

    @property
    def num_codebooks(self) -> int:
        """Number of codebooks that the model reads."""
        return len(self.codebooks) if isinstance(self.codebooks, list) else 1

    @property
    def frame_rate(self) -> float:
        """Number of codes per second."""
        return self.sampling_rate / self.hop_length

    def frame_times(self, num_input_ids: int) -> list[float]:
        """
        Start times of the frames that a sequence of input ids stands for.

        Args:
            num_input_ids (`int`):
                Length of the sequence without padding: `<BOA>`, one id per frame, `<EOA>`. At least 2.

        Returns:
            `list[float]`: `num_input_ids - 2` times in seconds from the start of the clip. Entry `k` belongs to the id
            at position `k + 1` and to the samples from `k * hop_length` on. Each time is computed from its own index,
            so that rounding errors do not accumulate.

        Raises:
            ValueError: If `num_input_ids` is less than 2.
        """
        if num_input_ids < 2:
            raise ValueError(f"`num_input_ids` counts <BOA> and <EOA> and must be at least 2, got {num_input_ids}.")
        return [frame * self.hop_length / self.sampling_rate for frame in range(num_input_ids - 2)]

    def to_dict(self) -> dict[str, Any]:
        """The configuration as plain values; those of several codebooks only if there are several."""
        values = super().to_dict()
        if self.codebooks is None:
            # What earlier versions read `codebooks` as is not `None`.
            del values["codebooks"], values["codebook_dropout"]
        return values


__all__ = ["AudioFormerConfig"]
