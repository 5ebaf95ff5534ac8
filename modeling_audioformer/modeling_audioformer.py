"""The AudioFormer model: a post-norm encoder with rotary positions for the codes of a neural audio codec."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask, packed_sequence_mask_function
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, MaskedLMOutput, SequenceClassifierOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, logging
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .classification_loss import audio_classification_loss
from .classification_settings import calibrated, drop_settings_of_other_labels
from .configuration_audioformer import AudioFormerConfig
from .pooling import mean_over_frames
from .self_attention import eager_attention_forward

if TYPE_CHECKING:
    from torch.nn.attention.flex_attention import BlockMask

logger = logging.get_logger(__name__)

LONG_S = 60.0
"""Clips longer than this, in seconds, deserve a warning: the cost of attention grows with the square of the length."""

WINDOW_S = 10.0
"""Usual length of a window, with which the warning compares."""


class AudioFormerCodebookEmbeddings(nn.ModuleList):
    """
    One table of embeddings per codebook; a position is embedded as the sum over its ids.

    Tables of their own, rather than one long table, are initialized, resized and tied to the decoders of the masked-LM
    heads like any other, and each has its own `<PAD>`.
    """

    def __init__(self, config: AudioFormerConfig):
        super().__init__(_table(config) for _ in range(config.num_codebooks))
        self.codebook_dropout = config.codebook_dropout

    def forward(self, input_ids: torch.Tensor, clip_of_position: torch.Tensor | None = None) -> torch.Tensor:
        """
        Embed the ids.

        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length, num_codebooks)`):
                Ids of each codebook.
            clip_of_position (`torch.LongTensor` of shape `(sequence_length,)`, *optional*):
                Index of the clip at each position of a packed sequence.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, sequence_length, hidden_size)`: The sums.
        """
        embedded = [table(ids) for table, ids in zip(self, input_ids.unbind(-1), strict=True)]
        if self.training and self.codebook_dropout:
            kept = self._draw_kept(input_ids, clip_of_position).to(embedded[0].dtype)
            embedded = [states * kept[:, :, index, None] for index, states in enumerate(embedded)]
        # The layer normalization that follows makes up for sums of fewer codebooks.
        return torch.stack(embedded).sum(dim=0)

    def _draw_kept(self, input_ids: torch.Tensor, clip_of_position: torch.Tensor | None) -> torch.Tensor:
        """Which codebooks each clip keeps, of shape `(batch_size, 1, num_codebooks)`; if packed, of each position."""
        # A packed sequence has no more clips than positions, and their number need not be known.
        num_clips = input_ids.shape[0] if clip_of_position is None else input_ids.shape[1]
        draws = torch.rand(num_clips, len(self), device=input_ids.device)
        kept = (draws >= self.codebook_dropout) | (draws == draws.amax(dim=1, keepdim=True))
        return kept[:, None] if clip_of_position is None else kept[clip_of_position][None]


def _table(config: AudioFormerConfig) -> nn.Embedding:
    return nn.Embedding(config.vocab_size, config.hidden_size, padding_idx=config.pad_token_id)


class AudioFormerEmbeddings(nn.Module):
    """Embeddings of the ids, layer normalization and dropout. Positions enter in the attention, not here."""

    def __init__(self, config: AudioFormerConfig):
        super().__init__()
        self.has_several_codebooks = config.num_codebooks > 1
        self.word_embeddings = AudioFormerCodebookEmbeddings(config) if self.has_several_codebooks else _table(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        clip_of_position: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if inputs_embeds is None and self.has_several_codebooks:
            inputs_embeds = self.word_embeddings(input_ids, clip_of_position)
        elif inputs_embeds is None:
            inputs_embeds = self.word_embeddings(input_ids)
        return self.dropout(self.layer_norm(inputs_embeds))


class AudioFormerRotaryEmbedding(nn.Module):
    """
    Cosines and sines of the rotary positions (AudioFormer, arXiv 2308.07221, Eq. 1-3).

    They are computed in every forward, in float32. Without a table the length is not limited, `model.half()` casts
    nothing, and `from_pretrained` has no buffer to restore.
    """

    def __init__(self, config: AudioFormerConfig):
        super().__init__()
        self.head_dim = config.hidden_size // config.num_attention_heads
        assert config.rope_parameters is not None  # The configuration fills in the defaults.
        self.theta = config.rope_parameters["rope_theta"]

    @torch.no_grad()
    def forward(self, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Compute the cosines and sines of the angles.

        Args:
            position_ids (`torch.LongTensor` of shape `(batch_size or 1, sequence_length)`):
                Positions.

        Returns:
            `tuple[torch.FloatTensor, torch.FloatTensor]`: Cosines and sines, both float32 of shape `(batch_size or 1,
            sequence_length, 1, head_dim / 2)`.
        """
        exponents = torch.arange(0, self.head_dim, 2, dtype=torch.float32, device=position_ids.device) / self.head_dim
        # Autocast would compute the angles in half precision, in which positions 700 and 701 are the same.
        with torch.autocast(device_type=position_ids.device.type, enabled=False):
            angles = position_ids[..., None].float() * (1.0 / self.theta**exponents)
        return angles.cos()[:, :, None, :], angles.sin()[:, :, None, :]


def apply_rotary_pos_emb(states: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """
    Rotate pairs of values by the angle of their position: value `i` with value `i + head_dim / 2` ("half-split").

    RoFormer pairs `2 * i` with `2 * i + 1`; [`convert_roformer_state_dict`] reorders the weights accordingly.

    Args:
        states (`torch.Tensor` of shape `(batch_size, sequence_length, num_attention_heads, head_dim)`):
            Queries or keys.
        cos, sin (`torch.Tensor` of shape `(batch_size or 1, sequence_length, 1, head_dim / 2)`):
            Output of [`AudioFormerRotaryEmbedding`], float32.

    Returns:
        `torch.Tensor`: Rotated states, of the shape and dtype of `states`, computed in float32.
    """
    source = states.float()
    first, second = source.chunk(2, dim=-1)
    # In-place additions to the halves of one product need half the memory traffic of two sums and a concatenation.
    turned = source * torch.cat((cos, cos), dim=-1)
    half = turned.shape[-1] // 2
    turned[..., :half].addcmul_(second, sin, value=-1)
    turned[..., half:].addcmul_(first, sin)
    return turned.to(states.dtype)


class AudioFormerAttention(nn.Module):
    """Bidirectional multi-head self-attention with rotary positions on queries and keys."""

    def __init__(self, config: AudioFormerConfig):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_probs_dropout_prob
        self.is_causal = False
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.o_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        input_shape = hidden_states.shape[:-1]
        head_shape = (*input_shape, -1, self.head_dim)
        query = apply_rotary_pos_emb(self.q_proj(hidden_states).view(head_shape), *position_embeddings)
        key = apply_rotary_pos_emb(self.k_proj(hidden_states).view(head_shape), *position_embeddings)
        value = self.v_proj(hidden_states).view(head_shape)

        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attention_output, attention_weights = attention_interface(
            self,
            query.transpose(1, 2),
            key.transpose(1, 2),
            value.transpose(1, 2),
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            **kwargs,
        )
        attention_output = attention_output.reshape(*input_shape, -1).contiguous()
        return self.o_proj(attention_output), attention_weights


class AudioFormerMLP(nn.Module):
    """The feed-forward part of a layer."""

    def __init__(self, config: AudioFormerConfig):
        super().__init__()
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size)
        self.act_fn = ACT2FN[config.hidden_act]
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.act_fn(self.up_proj(hidden_states)))


class AudioFormerLayer(GradientCheckpointingLayer):
    """One encoder layer. Normalization follows each residual sum ("post-norm"), as in BERT and RoFormer."""

    def __init__(self, config: AudioFormerConfig):
        super().__init__()
        self.attention = AudioFormerAttention(config)
        self.attention_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = AudioFormerMLP(config)
        self.mlp_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        attention_output, _ = self.attention(hidden_states, attention_mask, position_embeddings, **kwargs)
        hidden_states = self.attention_layer_norm(hidden_states + self.dropout(attention_output))
        return self.mlp_layer_norm(hidden_states + self.dropout(self.mlp(hidden_states)))


class AudioFormerPreTrainedModel(PreTrainedModel):
    """
    Base class of all AudioFormer models: loading, saving, initialization, and the supported features of transformers.

    Weights are initialized as in BERT (normal with `config.initializer_range`, zero biases). The parent's
    `_init_weights` does that for every module used here, and none of them has parameters or buffers of its own.
    """

    config: AudioFormerConfig
    base_model_prefix = "audioformer"
    _input_embed_layer = "word_embeddings"
    supports_gradient_checkpointing = True
    _no_split_modules = ["AudioFormerEmbeddings", "AudioFormerLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {
        "hidden_states": AudioFormerLayer,
        "attentions": AudioFormerAttention,
    }

    def _resize_token_embeddings(
        self, new_num_tokens: int | None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Module:
        """Resize the tables and decoders of all codebooks alike, and return the first table."""
        tables = self.get_input_embeddings()
        if not isinstance(tables, AudioFormerCodebookEmbeddings):
            return super()._resize_token_embeddings(new_num_tokens, pad_to_multiple_of, mean_resizing)
        for index, table in enumerate(tables):
            assert isinstance(table, nn.Embedding)
            resized = self._get_resized_embeddings(table, new_num_tokens, pad_to_multiple_of, mean_resizing)
            tables[index] = resized.requires_grad_(table.weight.requires_grad)
        for head in getattr(self, "lm_head", ()):
            needs_gradient = head.decoder.weight.requires_grad
            decoder = self._get_resized_lm_head(head.decoder, resized.num_embeddings, mean_resizing=mean_resizing)
            head.decoder = decoder.requires_grad_(needs_gradient)
        return tables[0]


def _check_values(inputs: torch.Tensor, vocab_size: int) -> None:
    """Refuse an empty batch, and ids outside the vocabulary.

    Raises:
        ValueError: If there is nothing to encode, or an id is not from 0 to `vocab_size` - 1.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return
    if 0 in inputs.shape[:2]:
        raise ValueError(f"The batch is empty: the inputs have the shape {tuple(inputs.shape)}.")
    # On a GPU looking at the values would wait for it in every step.
    if not inputs.is_floating_point() and inputs.device.type == "cpu":
        lowest, highest = (int(value) for value in inputs.aminmax())
        if lowest < 0 or highest >= vocab_size:
            wrong = lowest if lowest < 0 else highest
            raise ValueError(
                f"`input_ids` must be from 0 to {vocab_size - 1} (`vocab_size` is {vocab_size}), got {wrong}."
            )


def _check_shape(input_ids: torch.Tensor, config: AudioFormerConfig) -> None:
    """Refuse ids of another shape than the codebooks of the model require.

    Raises:
        ValueError: If they have the wrong rank, or another number of codebooks.
    """
    count, shape = config.num_codebooks, tuple(input_ids.shape)
    if count == 1 and input_ids.ndim != 2:
        raise ValueError(f"`input_ids` must have the shape (batch_size, sequence_length), got {shape}.")
    if count > 1 and (input_ids.ndim != 3 or shape[2] != count):
        raise ValueError(
            f"`input_ids` must have the shape (batch_size, sequence_length, {count}), since the model reads the "
            f"codebooks {config.codebooks}, got {shape}."
        )


class AudioFormerModel(AudioFormerPreTrainedModel):
    """
    The AudioFormer encoder without a head (arXiv 2308.07221, section 3.2).

    Args:
        config ([`AudioFormerConfig`]):
            Sizes and ids.
    """

    def __init__(self, config: AudioFormerConfig):
        super().__init__(config)
        self.embeddings = AudioFormerEmbeddings(config)
        self.rotary_emb = AudioFormerRotaryEmbedding(config)
        self.layers = nn.ModuleList([AudioFormerLayer(config) for _ in range(config.num_hidden_layers)])
        self.gradient_checkpointing = False
        self.post_init()

    # `position_ids` is a parameter of its own here, and `TransformersKwargs` lists it as well.
    @merge_with_config_defaults
    @capture_outputs
    def forward(  # type: ignore[misc]
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        r"""
        Args:
            input_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                `<BOA>`, the codes + 3, `<EOA>`, padded with `<PAD>`. Any length. For a model of several codebooks the
                shape is `(batch_size, sequence_length, num_codebooks)`, with the special ids in every codebook.
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
                1 for audio, 0 for padding. By default derived from `input_ids`: 0 at `<PAD>` (of all codebooks). A 4-D
                mask or the mask of an attention implementation is used as it is; pooling then derives padding from
                `input_ids`.
            position_ids (`torch.LongTensor` of shape `(batch_size or 1, sequence_length)`, *optional*):
                By default 0, 1, 2, ... Only the differences between positions matter.
            inputs_embeds (`torch.FloatTensor` of shape `(batch_size, sequence_length, hidden_size)`, *optional*):
                Embeddings instead of `input_ids`; `codebook_dropout` does not act on them.
            cu_seq_lens_q, cu_seq_lens_k, max_length_q, max_length_k (*optional*):
                For packed clips, that is, one sequence of clips end to end without padding: the boundaries 0, ...,
                `sequence_length` as an int32 tensor of shape `(num_clips + 1,)`, twice, and the longest length, twice,
                with `position_ids` that start at 0 in each clip, as made by the data collators of this package and by
                `DataCollatorWithFlattening` of transformers. Clips do not attend to each other. Packing is faster with
                flash attention; other implementations give the same values at no gain.

        Returns:
            [`~transformers.modeling_outputs.BaseModelOutputWithPooling`]: `last_hidden_state` of shape `(batch_size,
            sequence_length, hidden_size)` and `pooler_output` of shape `(batch_size, hidden_size)`, the mean over the
            positions that are not padding, including `<BOA>` and `<EOA>` (section 3.3.1), or zero if all are padding.
            For packed clips `pooler_output` has the shape `(num_clips, hidden_size)`.

        Raises:
            ValueError: If both or neither of `input_ids` and `inputs_embeds` are given, `input_ids` have the wrong
                rank, the batch is empty, ids are outside the vocabulary (on a CPU; a GPU reports them itself), or
                packed clips come in a batch of several sequences, without `position_ids`, or with boundaries that do
                not rise from 0 to the length.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Exactly one of `input_ids` and `inputs_embeds` must be given.")
        if input_ids is not None:
            _check_shape(input_ids, self.config)
        inputs = input_ids if inputs_embeds is None else inputs_embeds
        assert inputs is not None  # Exactly one of them is given.
        _check_values(inputs, self.config.vocab_size)

        keep = None if input_ids is None else input_ids.ne(self.config.pad_token_id)
        if keep is not None and keep.ndim == 3:
            keep = keep.any(dim=-1)
        if attention_mask is None:
            attention_mask = keep
        elif isinstance(attention_mask, torch.Tensor) and attention_mask.ndim == 2:
            keep = attention_mask

        limits = kwargs.get("cu_seq_lens_q")
        clip_of_position = None if limits is None else _clip_of_position(limits, inputs, position_ids)
        hidden_states = self.embeddings(input_ids, inputs_embeds, clip_of_position)
        if clip_of_position is not None:
            mask = self._packed_mask(hidden_states, clip_of_position)
        else:
            warn_of_long_clips(self.config, hidden_states.shape[1])
            if position_ids is None:
                position_ids = torch.arange(hidden_states.shape[1], device=hidden_states.device)[None]
            mask = create_bidirectional_mask(
                config=self.config, inputs_embeds=hidden_states, attention_mask=attention_mask
            )
        position_embeddings = self.rotary_emb(position_ids)
        for layer in self.layers:
            hidden_states = layer(
                hidden_states, attention_mask=mask, position_embeddings=position_embeddings, **kwargs
            )
        if limits is not None and clip_of_position is not None:
            pooled = mean_of_packed(hidden_states, clip_of_position, len(limits) - 1)
        else:
            pooled = mean_over_frames(hidden_states, keep)
        return BaseModelOutputWithPooling(last_hidden_state=hidden_states, pooler_output=pooled)

    def _packed_mask(
        self, hidden_states: torch.Tensor, clip_of_position: torch.Tensor
    ) -> "torch.Tensor | BlockMask | None":
        # Flash attention takes the boundaries themselves; the others need a mask with one block per clip.
        if "flash" in self.config._attn_implementation:
            return None
        return create_bidirectional_mask(
            config=self.config,
            inputs_embeds=hidden_states,
            attention_mask=None,
            and_mask_function=packed_sequence_mask_function(clip_of_position[None]),
        )


def warn_of_long_clips(config: AudioFormerConfig, sequence_length: int) -> None:
    """
    Warn, before the time is spent, of clips that windows would be much cheaper for.

    What a layer multiplies per position: `4 * hidden_size**2 + 2 * hidden_size * intermediate_size` with its weights,
    `2 * sequence_length * hidden_size` in attention.

    Args:
        config ([`AudioFormerConfig`]):
            Rates and sizes.
        sequence_length (`int`):
            Number of ids of the clips.
    """
    # A compiler would trace the warning, and for it the length is a symbol.
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return
    if sequence_length <= LONG_S * config.frame_rate:
        return
    weights = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
    window = min(sequence_length, round(WINDOW_S * config.frame_rate) + 2)
    cost = (weights + 2 * sequence_length * config.hidden_size) / (weights + 2 * window * config.hidden_size)
    logger.warning_once(
        f"A clip of {sequence_length / config.frame_rate / 60:.1f} minutes ({sequence_length} ids) is computed at"
        f" once: that takes about {cost:.1f} times as many operations as windows of {WINDOW_S:g} s, and the model was"
        " probably trained on clips of that length. `audioformer.classify_file` classifies window by window."
    )


def _clip_of_position(limits: torch.Tensor, inputs: torch.Tensor, position_ids: torch.Tensor | None) -> torch.Tensor:
    """Index of the clip that each position of a packed sequence belongs to, `(sequence_length,)`."""
    batch_size, sequence_length = inputs.shape[:2]
    if batch_size != 1 or position_ids is None:
        raise ValueError(
            f"Packed clips (`cu_seq_lens_q`) must be a batch of one sequence, got {batch_size}, with `position_ids` "
            f"that start at 0 in each clip{'' if position_ids is not None else ', which are missing'}."
        )
    if not torch.compiler.is_compiling() and (
        limits.ndim != 1 or limits[0] != 0 or limits[-1] != sequence_length or (limits.diff() <= 0).any()
    ):
        raise ValueError(
            f"`cu_seq_lens_q` must rise from 0 to the sequence length, {sequence_length}, got {limits.tolist()}."
        )
    positions = torch.arange(sequence_length, device=inputs.device)
    return torch.searchsorted(limits[1:].to(positions), positions, right=True)


def mean_of_packed(hidden_states: torch.Tensor, clip_of_position: torch.Tensor, num_clips: int) -> torch.Tensor:
    """
    Mean of the hidden states per clip of a packed sequence, accumulated in float32.

    Args:
        hidden_states (`torch.Tensor` of shape `(1, sequence_length, hidden_size)`):
            Hidden states of one layer.
        clip_of_position (`torch.LongTensor` of shape `(sequence_length,)`):
            Index of the clip at each position.
        num_clips (`int`):
            Number of clips.

    Returns:
        `torch.Tensor` of shape `(num_clips, hidden_size)`: The means, in the dtype of `hidden_states`.
    """
    states = hidden_states[0].float()
    total = states.new_zeros(num_clips, states.shape[1]).index_add(0, clip_of_position, states)
    counts = states.new_zeros(num_clips).index_add(0, clip_of_position, states.new_ones(len(states)))
    return (total / counts[:, None]).to(hidden_states.dtype)


class AudioFormerLMHead(nn.Module):
    """Hidden states to one score per id: dense, activation, layer normalization, decoder (as in RoFormer)."""

    def __init__(self, config: AudioFormerConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden_size, config.hidden_size)
        self.act_fn = ACT2FN[config.hidden_act]
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.decoder = nn.Linear(config.hidden_size, config.vocab_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.layer_norm(self.act_fn(self.dense(hidden_states))))


class AudioFormerLMHeads(nn.ModuleList):
    """One [`AudioFormerLMHead`] per codebook, on the same hidden states."""

    def __init__(self, config: AudioFormerConfig):
        super().__init__(AudioFormerLMHead(config) for _ in range(config.num_codebooks))

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(batch_size, sequence_length, hidden_size)` to scores per codebook, which are the third dimension."""
        return torch.stack([head(hidden_states) for head in self], dim=2)

    def predict_labelled(self, hidden_states: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Logits of the labelled codes only, those of the first codebook first, and their labels.

        Args:
            hidden_states (`torch.Tensor` of shape `(batch_size, sequence_length, hidden_size)`):
                Last hidden states.
            labels (`torch.LongTensor` of shape `(batch_size, sequence_length, num_codebooks)`):
                Ids to predict, -100 where there is none.

        Returns:
            `tuple[torch.Tensor, torch.Tensor]`: Of shape `(num_codes, vocab_size)` and `(num_codes,)`.
        """
        logits, chosen = [], []
        for head, of_codebook in zip(self, labels.unbind(-1), strict=True):
            counts = of_codebook != -100
            logits.append(head(hidden_states[counts]))
            chosen.append(of_codebook[counts])
        return torch.cat(logits), torch.cat(chosen)


class AudioFormerForMaskedLM(AudioFormerPreTrainedModel):
    """
    AudioFormer with the head of its cloze-style pre-training (arXiv 2308.07221, section 3.2).

    Args:
        config ([`AudioFormerConfig`]):
            Sizes and ids. With `tie_word_embeddings` the decoder shares the weights of the embedding; of several
            codebooks, each has a head of its own, whose decoder shares the weights of its embedding.
    """

    _tied_weights_keys = {"lm_head.decoder.weight": "audioformer.embeddings.word_embeddings.weight"}

    def __init__(self, config: AudioFormerConfig):
        super().__init__(config)
        self.audioformer = AudioFormerModel(config)
        self.lm_head = AudioFormerLMHead(config) if config.num_codebooks == 1 else AudioFormerLMHeads(config)
        if config.num_codebooks > 1:
            self._tied_weights_keys = {
                f"lm_head.{index}.decoder.weight": f"audioformer.embeddings.word_embeddings.{index}.weight"
                for index in range(config.num_codebooks)
            }
        self.post_init()

    def get_output_embeddings(self) -> nn.Linear | None:
        """The decoder; `None` for several codebooks, which have one each."""
        return self.lm_head.decoder if isinstance(self.lm_head, AudioFormerLMHead) else None

    def set_output_embeddings(self, new_embeddings: nn.Linear) -> None:
        """Replace the decoder.

        Raises:
            ValueError: If there are several, one per codebook.
        """
        if not isinstance(self.lm_head, AudioFormerLMHead):
            raise ValueError("A model of several codebooks has one decoder each: set `lm_head[index].decoder`.")
        self.lm_head.decoder = new_embeddings

    # `position_ids` is a parameter of its own here, and `TransformersKwargs` lists it as well.
    @can_return_tuple
    def forward(  # type: ignore[misc]
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        return_full_logits: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MaskedLMOutput:
        r"""
        Args:
            input_ids, attention_mask, position_ids, inputs_embeds:
                As in [`AudioFormerModel.forward`].
            labels (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Ids to predict, -100 at the positions to ignore. For several codebooks of the shape of `input_ids`.
            return_full_logits (`bool`, *optional*):
                Whether to compute the logits of all positions even if `labels` are given. By default only if
                `config.sparse_prediction` is `False`; if no gradients are recorded, because evaluations take the
                first dimension of the logits for the clips; or if the forward is being compiled, when the number of
                positions must not depend on the labels.

        Returns:
            [`~transformers.modeling_outputs.MaskedLMOutput`]: `logits` of shape `(batch_size, sequence_length,
            vocab_size)`. With `labels` also `loss`, the mean cross-entropy over the labelled positions; unless
            `return_full_logits`, `logits` are then those of these positions only, of shape `(num_positions,
            vocab_size)` in the order of `labels[labels != -100]`. For several codebooks: `logits` of shape
            `(batch_size, sequence_length, num_codebooks, vocab_size)`, and `loss` is the mean over all labelled codes
            of all codebooks; logits of labelled codes only are in the order of the codebooks, as in
            `labels.movedim(-1, 0)`.

        Raises:
            ValueError: If no position has a label (on a CPU), or `labels` do not have the shape of several codebooks.
        """
        outputs: BaseModelOutputWithPooling = self.audioformer(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        hidden_states = outputs.last_hidden_state
        assert hidden_states is not None  # The encoder always returns it.
        if return_full_logits is None:
            # The `Trainer` gathers, pads and cuts what a model returns in evaluations by its first dimension. Logits
            # of labelled positions would be cut as if they were clips, and no longer belong to the labels.
            return_full_logits = (
                not self.config.sparse_prediction or not torch.is_grad_enabled() or torch.compiler.is_compiling()
            )
        # With `num_items_in_batch` the loss is a share of that of a larger batch, which has labels elsewhere.
        no_larger_batch = kwargs.get("num_items_in_batch") is None
        on_cpu = labels is not None and labels.device.type == "cpu" and not torch.compiler.is_compiling()
        if labels is not None and on_cpu and no_larger_batch and (labels == -100).all():
            raise ValueError(
                f"`labels` of shape {tuple(labels.shape)} are all -100: there is no position to compute a loss for."
            )
        if labels is not None and isinstance(self.lm_head, AudioFormerLMHeads):
            wanted = (*hidden_states.shape[:2], len(self.lm_head))
            if tuple(labels.shape) != wanted:
                raise ValueError(
                    f"`labels` of several codebooks must have the shape {wanted}, got {tuple(labels.shape)}."
                )
        # About three positions in four have no label, and the head is not computed there.
        if labels is None or return_full_logits:
            logits = self.lm_head(hidden_states)
        elif isinstance(self.lm_head, AudioFormerLMHeads):
            logits, labels = self.lm_head.predict_labelled(hidden_states, labels.to(hidden_states.device))
        else:
            counts = (labels != -100).to(hidden_states.device)
            labels = labels.to(hidden_states.device)[counts]
            logits = self.lm_head(hidden_states[counts])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size, **kwargs)
        return MaskedLMOutput(
            loss=loss, logits=logits, hidden_states=outputs.hidden_states, attentions=outputs.attentions
        )


@dataclass
class AudioFormerClassifierOutput(SequenceClassifierOutput):
    """
    Output of the classifier: the fields of [`~transformers.modeling_outputs.SequenceClassifierOutput`], and

    Args:
        pooler_output (`torch.FloatTensor` of shape `(batch_size, hidden_size)`):
            Mean of the last hidden states, before dropout: the embedding of the clip, and the anchor of FT2.
    """

    pooler_output: torch.Tensor | None = None


class AudioFormerForAudioClassification(AudioFormerPreTrainedModel):
    """
    AudioFormer with dropout and one linear layer on the mean of the hidden states (arXiv 2308.07221, section 3.3.1).

    Args:
        config ([`AudioFormerConfig`]):
            Sizes and ids, `num_labels` or `id2label`, `problem_type`, `classification_loss`, and the calibration: with
            `calibration_temperature` and `calibration_bias` the returned logits are `raw / temperature + bias`. The
            loss is computed from the raw logits. A calibration for another number of labels is dropped with a warning.
    """

    # The loss is a mean over the batch, never a sum divided by a number of items, so the Trainer must divide it by the
    # number of accumulated batches. It would otherwise assume that a forward with `**kwargs` takes care of that.
    accepts_loss_kwargs = False

    def __init__(self, config: AudioFormerConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        drop_settings_of_other_labels(config)
        self.audioformer = AudioFormerModel(config)
        dropout = config.hidden_dropout_prob if config.classifier_dropout is None else config.classifier_dropout
        self.dropout = nn.Dropout(dropout)
        assert config.num_labels is not None  # The configuration has two labels unless told otherwise.
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.loss_function = audio_classification_loss
        self.post_init()

    # `position_ids` is a parameter of its own here, and `TransformersKwargs` lists it as well.
    @can_return_tuple
    def forward(  # type: ignore[misc]
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> AudioFormerClassifierOutput:
        r"""
        Args:
            input_ids, attention_mask, position_ids, inputs_embeds:
                As in [`AudioFormerModel.forward`].
            labels (`torch.Tensor` of shape `(batch_size,)` or `(batch_size, num_labels)`, *optional*):
                See [`audio_classification_loss`].

        Returns:
            [`AudioFormerClassifierOutput`]: `logits` of shape `(batch_size, num_labels)`, `pooler_output` of shape
            `(batch_size, hidden_size)`, with `labels` also `loss`.
        """
        outputs: BaseModelOutputWithPooling = self.audioformer(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            **kwargs,
        )
        logits = self.classifier(self.dropout(outputs.pooler_output))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels, logits, self.config, **kwargs)
        return AudioFormerClassifierOutput(
            loss=loss,
            logits=calibrated(logits, self.config),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            pooler_output=outputs.pooler_output,
        )

    def freeze_feature_encoder(self) -> None:
        """
        Do nothing, successfully: the codec, which stands where others have a convolutional encoder, is frozen anyway.

        It is part of the feature extractor and no parameter of this model. Scripts written for models that read
        waveforms, such as `run_audio_classification.py` of transformers, call this method. All parameters of this
        model stay trainable.
        """


__all__ = [
    "AudioFormerForAudioClassification",
    "AudioFormerForMaskedLM",
    "AudioFormerModel",
    "AudioFormerPreTrainedModel",
]
