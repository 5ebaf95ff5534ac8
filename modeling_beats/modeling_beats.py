"""The BEATs model: a post-norm encoder with a gated relative bias for patches of log-mel spectrograms."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, logging
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .classification_loss import audio_classification_loss
from .classification_settings import calibrated, drop_settings_of_other_labels
from .configuration_beats import BeatsConfig
from .pooling import mean_over_frames

logger = logging.get_logger(__name__)

LONG_S = 60.0
"""Clips longer than this, in seconds, deserve a warning: attention and its bias grow with the square of the length."""


class BeatsLinear(nn.Linear):
    """
    A linear layer whose weights do not start from `initializer_range`.

    It says so itself, because transformers would not ask the module around it: of remote code, modules without
    parameters of their own are passed over.

    Args:
        in_features (`int`):
            Size of the input.
        out_features (`int`):
            Size of the output.
        bias (`bool`, *optional*, defaults to `True`):
            Whether there is a bias.
        gain (`float`, *optional*):
            Gain of Xavier's normal distribution; `None` for the uniform one that is torch's default.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, gain: float | None = None):
        self.gain = gain
        super().__init__(in_features, out_features, bias)

    def reset_parameters(self) -> None:
        if self.gain is None:
            init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        else:
            init.xavier_normal_(self.weight, gain=self.gain)
        if self.bias is not None:
            init.zeros_(self.bias)


def deep_norm_linear(
    config: BeatsConfig, num_layers: int, in_features: int, out_features: int, is_smaller: bool = True
) -> nn.Linear:
    """
    A linear layer of an encoder layer. With DeepNorm its weights depend on the depth, if `is_smaller`.

    Args:
        config ([`BeatsConfig`]):
            `deep_norm`.
        num_layers (`int`):
            Number of layers of the stack.
        in_features (`int`):
            Size of the input.
        out_features (`int`):
            Size of the output.
        is_smaller (`bool`, *optional*, defaults to `True`):
            Whether the gain is `(8 * num_layers) ** -0.25` rather than 1.

    Returns:
        `nn.Linear`: The layer, with a bias.
    """
    if not config.deep_norm:
        return nn.Linear(in_features, out_features)
    gain = (8 * num_layers) ** -0.25 if is_smaller else 1.0
    return BeatsLinear(in_features, out_features, gain=gain)


class BeatsPositionalConvolution(nn.Module):
    """
    Convolution along the sequence of patches whose output is added to them, with one norm per tap of its kernel.

    Its weight is `magnitude * direction / |direction|`, weight norm over all but the last dimension. Plain parameters
    rather than `torch.nn.utils.parametrizations`: they can be initialized, sharded and exported like any others.
    """

    def __init__(self, config: BeatsConfig):
        super().__init__()
        size, kernel = config.hidden_size, config.num_conv_pos_embeddings
        self.groups = config.num_conv_pos_embedding_groups
        self.initial_std = math.sqrt(4 / (kernel * size))
        # The norm of so many normal values, but for a deviation of less than a percent.
        self.initial_norm = self.initial_std * math.sqrt(size * size // self.groups)
        self.direction = nn.Parameter(torch.empty(size, size // self.groups, kernel))
        self.magnitude = nn.Parameter(torch.empty(1, 1, kernel))
        self.bias = nn.Parameter(torch.empty(size))
        self.act_fn = nn.GELU()

    def norms(self) -> torch.Tensor:
        """Norm of the direction of each tap, `(1, 1, kernel_size)`, accumulated in float32."""
        # `vector_norm` takes a dozen times as long on a CPU, as long as a layer of a second of sound.
        return self.direction.float().square().sum(dim=(0, 1), keepdim=True).sqrt()

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """`(batch_size, num_patches, hidden_size)` to the same shape."""
        weight = self.direction * (self.magnitude / self.norms()).to(self.direction.dtype)
        length, kernel = hidden_states.shape[1], weight.shape[2]
        convolved = nn.functional.conv1d(
            hidden_states.transpose(1, 2), weight, self.bias, padding=kernel // 2, groups=self.groups
        )
        # An even kernel gives one position too many.
        return self.act_fn(convolved[:, :, :length].transpose(1, 2))


def cut_into_patches(input_features: torch.Tensor, size: int) -> torch.Tensor:
    """
    Cut spectrograms into patches; frames that do not fill one are dropped.

    Args:
        input_features (`torch.Tensor` of shape `(batch_size, num_frames, num_mel_bins)`):
            Spectrograms.
        size (`int`):
            Number of frames, and of mel bins, in a patch.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_patches, size**2)`: Patch `t * num_bands + f` is band `f` of time
        step `t`; its values are in the order of frames, then mel bins.
    """
    batch_size, num_frames, num_bins = input_features.shape
    steps, bands = num_frames // size, num_bins // size
    grid = input_features[:, : steps * size].reshape(batch_size, steps, size, bands, size)
    return grid.transpose(2, 3).reshape(batch_size, steps * bands, size * size)


class BeatsEmbeddings(nn.Module):
    """From the spectrogram to the hidden states that enter the layers: patches, projection, positional convolution."""

    def __init__(self, config: BeatsConfig):
        super().__init__()
        self.patch_size = config.patch_size
        self.masked_positional_conv = config.masked_positional_conv
        # A convolution whose stride is its kernel is a product with each patch.
        self.patch_embedding = BeatsLinear(config.patch_size**2, config.patch_embedding_size, bias=config.patch_bias)
        self.patch_layer_norm = nn.LayerNorm(config.patch_embedding_size, eps=config.layer_norm_eps)
        self.projection = (
            BeatsLinear(config.patch_embedding_size, config.hidden_size)
            if config.patch_embedding_size != config.hidden_size
            else None
        )
        self.input_dropout = nn.Dropout(config.input_dropout)
        self.position_conv = BeatsPositionalConvolution(config)
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        input_features: torch.Tensor,
        patch_mask: torch.Tensor | None = None,
        kept_patches: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Embed all patches, or some of them.

        Args:
            input_features (`torch.Tensor` of shape `(batch_size, num_frames, num_mel_bins)`):
                Spectrograms.
            patch_mask (`torch.BoolTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Which of the embedded patches are real. The others are zero for the convolution.
            kept_patches (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Indices of the patches to embed; -1 for none. Without it, all patches.

        Returns:
            `torch.Tensor` of shape `(batch_size, sequence_length, hidden_size)`.
        """
        patches = cut_into_patches(input_features, self.patch_size)
        num_patches = patches.shape[1]
        index = None if kept_patches is None else kept_patches.clamp(min=0)[:, :, None]
        if index is not None:
            patches = patches.gather(1, index.expand(-1, -1, patches.shape[2]))
        hidden_states = self.patch_layer_norm(self.patch_embedding(patches.to(self.patch_embedding.weight.dtype)))
        if self.projection is not None:
            hidden_states = self.projection(hidden_states)
        hidden_states = self.input_dropout(hidden_states)
        if patch_mask is not None:
            hidden_states = hidden_states * patch_mask[:, :, None].to(hidden_states.dtype)
        if index is None or self.masked_positional_conv == "kept":
            convolved = self.position_conv(hidden_states)
        else:
            index = index.expand(-1, -1, hidden_states.shape[2])
            grid = hidden_states.new_zeros(hidden_states.shape[0], num_patches, hidden_states.shape[2])
            # Added, not assigned: entries without a patch are zero and must not erase patch 0.
            convolved = self.position_conv(grid.scatter_add(1, index, hidden_states)).gather(1, index)
        return self.dropout(self.layer_norm(hidden_states + convolved))


class BeatsRelativePositionBias(nn.Module):
    """
    A learned attention bias by the distance from query to key, in buckets, one table for all layers.

    Half of the buckets is for keys after the query. In each half, half of the buckets hold one distance each, and the
    others grow logarithmically up to `max_distance`.
    """

    def __init__(self, config: BeatsConfig):
        super().__init__()
        self.num_buckets, self.max_distance = config.num_buckets, config.max_distance
        self.table = nn.Embedding(config.num_buckets, config.num_attention_heads)

    def buckets(self, distances: torch.Tensor) -> torch.Tensor:
        """
        Bucket of each distance.

        Args:
            distances (`torch.LongTensor`):
                Index of the key minus that of the query, of any shape.

        Returns:
            `torch.LongTensor`: From 0 to `num_buckets` - 1, of the same shape.
        """
        half = self.num_buckets // 2
        exact = half // 2
        size = distances.abs()
        # Clamped so that there is no logarithm of 0; those values are not used.
        ratio = torch.log(size.clamp(min=exact).float() / exact) / math.log(self.max_distance / exact)
        coarse = (exact + (ratio * (half - exact)).long()).clamp(max=half - 1)
        return torch.where(distances > 0, half, 0) + torch.where(size < exact, size, coarse)

    def forward(self, position_ids: torch.Tensor) -> torch.Tensor:
        """
        Look up the bias.

        Args:
            position_ids (`torch.LongTensor` of shape `(batch_size or 1, sequence_length)`):
                Index of each patch in the grid of its clip.

        Returns:
            `torch.Tensor` of shape `(batch_size or 1, num_attention_heads, sequence_length, sequence_length)`.
        """
        distances = position_ids[:, None, :] - position_ids[:, :, None]
        return self.table(self.buckets(distances)).permute(0, 3, 1, 2).contiguous()


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    position_bias: torch.Tensor | None = None,
    **kwargs: Unpack[TransformersKwargs],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention as plain matrix products, the only implementation that also returns the probabilities."""
    # Scaled beforehand: in half precision the product itself could overflow.
    scores = torch.matmul(query * scaling, key.transpose(2, 3))
    if position_bias is not None:
        scores = scores + position_bias
    if attention_mask is not None:
        scores = scores + attention_mask
    probabilities = nn.functional.softmax(scores, dim=-1, dtype=torch.float32).to(query.dtype)
    probabilities = nn.functional.dropout(probabilities, p=dropout, training=module.training)
    return torch.matmul(probabilities, value).transpose(1, 2).contiguous(), probabilities


class BeatsAttention(nn.Module):
    """Bidirectional multi-head self-attention. Each query computes a gate for the relative bias of its row."""

    def __init__(self, config: BeatsConfig, num_layers: int):
        super().__init__()
        self.config = config
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_probs_dropout_prob
        self.is_causal = False
        size = config.hidden_size
        self.q_proj = deep_norm_linear(config, num_layers, size, size, is_smaller=False)
        self.k_proj = deep_norm_linear(config, num_layers, size, size, is_smaller=False)
        self.v_proj = deep_norm_linear(config, num_layers, size, size)
        self.o_proj = deep_norm_linear(config, num_layers, size, size)
        self.gate_proj = self.gate_scale = None
        if config.gated_relative_position_bias:
            self.gate_proj = nn.Linear(self.head_dim, 8)
            self.gate_scale = nn.Parameter(torch.empty(1, config.num_attention_heads, 1, 1))

    def gate(self, query: torch.Tensor) -> torch.Tensor:
        """
        Factor of the bias.

        Args:
            query (`torch.Tensor` of shape `(batch_size, num_attention_heads, sequence_length, head_dim)`):
                Projected queries, unscaled. (WavLM, whose names are similar, gates with the input of the layer.)

        Returns:
            `torch.Tensor` of shape `(batch_size, num_attention_heads, sequence_length, 1)`.
        """
        assert self.gate_proj is not None
        update, reset = self.gate_proj(query).unflatten(-1, (2, 4)).sum(-1).sigmoid().chunk(2, dim=-1)
        return update * (reset * self.gate_scale - 1.0) + 2.0

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_bias: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        input_shape = hidden_states.shape[:-1]
        head_shape = (*input_shape, -1, self.head_dim)
        query = self.q_proj(hidden_states).view(head_shape).transpose(1, 2)
        key = self.k_proj(hidden_states).view(head_shape).transpose(1, 2)
        value = self.v_proj(hidden_states).view(head_shape).transpose(1, 2)
        if position_bias is not None:
            if self.gate_proj is not None:
                position_bias = self.gate(query) * position_bias
            # Implementations index the batch, and want one dtype.
            position_bias = position_bias.expand(query.shape[0], -1, -1, -1).to(query.dtype)

        attention_interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
            self.config._attn_implementation, eager_attention_forward
        )
        attention_output, attention_weights = attention_interface(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            position_bias=position_bias,
            **kwargs,
        )
        attention_output = attention_output.reshape(*input_shape, -1).contiguous()
        return self.o_proj(attention_output), attention_weights


class BeatsMLP(nn.Module):
    """The feed-forward part of a layer."""

    def __init__(self, config: BeatsConfig, num_layers: int):
        super().__init__()
        self.up_proj = deep_norm_linear(config, num_layers, config.hidden_size, config.intermediate_size)
        self.act_fn = ACT2FN[config.hidden_act]
        self.dropout = nn.Dropout(config.activation_dropout)
        self.down_proj = deep_norm_linear(config, num_layers, config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.dropout(self.act_fn(self.up_proj(hidden_states))))


class BeatsLayer(GradientCheckpointingLayer):
    """One layer of a stack. Normalization follows each sum, in which the residual is scaled (DeepNorm)."""

    def __init__(self, config: BeatsConfig, num_layers: int):
        super().__init__()
        self.residual_scale = (2 * num_layers) ** 0.25 if config.deep_norm else 1.0
        self.attention = BeatsAttention(config, num_layers)
        self.attention_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = BeatsMLP(config, num_layers)
        self.mlp_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    # The bias is positional: checkpointing passes gradients to positional arguments.
    def forward(
        self,
        hidden_states: torch.Tensor,
        position_bias: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        attention_output, _ = self.attention(hidden_states, position_bias, attention_mask, **kwargs)
        hidden_states = self.attention_layer_norm(hidden_states * self.residual_scale + self.dropout(attention_output))
        return self.mlp_layer_norm(hidden_states * self.residual_scale + self.dropout(self.mlp(hidden_states)))


class _ScaleGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, values: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.factor = factor
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0] * ctx.factor, None


class BeatsEncoder(nn.Module):
    """
    The layers and the relative bias that they share, for hidden states at any positions of a grid of patches.

    Args:
        config ([`BeatsConfig`]):
            Sizes.
        num_layers (`int`, *optional*):
            Number of layers; by default `config.num_hidden_layers`.
    """

    def __init__(self, config: BeatsConfig, num_layers: int | None = None):
        super().__init__()
        num_layers = config.num_hidden_layers if num_layers is None else num_layers
        self.config = config
        self.relative_position_bias = BeatsRelativePositionBias(config) if config.relative_position_bias else None
        self.layers = nn.ModuleList([BeatsLayer(config, num_layers) for _ in range(num_layers)])

    # `position_ids` is a parameter of its own here, and `TransformersKwargs` lists it as well.
    def forward(  # type: ignore[misc]
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        """
        Run the layers.

        Args:
            hidden_states (`torch.Tensor` of shape `(batch_size, sequence_length, hidden_size)`):
                Embedded patches.
            attention_mask (`torch.Tensor` of shape `(batch_size, sequence_length)`, *optional*):
                Non-zero at the positions that are attended to.
            position_ids (`torch.LongTensor` of shape `(batch_size or 1, sequence_length)`, *optional*):
                Index of each patch in the grid of its clip; by default 0, 1, 2, ...

        Returns:
            `torch.Tensor` of shape `(batch_size, sequence_length, hidden_size)`.
        """
        mask = create_bidirectional_mask(
            config=self.config, inputs_embeds=hidden_states, attention_mask=attention_mask
        )
        position_bias = None
        if self.relative_position_bias is not None:
            if position_ids is None:
                position_ids = torch.arange(hidden_states.shape[1], device=hidden_states.device)[None]
            position_bias = self.relative_position_bias(position_ids)
        scale, layerdrop = self.config.layer_gradient_scale, self.config.layerdrop
        for layer in self.layers:
            if scale != 1.0 and torch.is_grad_enabled():
                hidden_states = _ScaleGradient.apply(hidden_states, scale)
            output = layer(hidden_states, position_bias, attention_mask=mask, **kwargs)
            if self.training and layerdrop:
                # Computed even if it is dropped: every parameter takes part in every step, as DDP expects.
                dropped = torch.rand((), device=output.device) < layerdrop
                output = torch.where(dropped, hidden_states, output)
            hidden_states = output
        return hidden_states


class BeatsPreTrainedModel(PreTrainedModel):
    """
    Base class of all BEATs models: loading, saving, initialization, and the supported features of transformers.

    Weights are initialized as in the authors' code: normal with `config.initializer_range`, with DeepNorm Xavier in
    the layers, and torch's own defaults in the embedding of patches and its projection.
    """

    config: BeatsConfig
    base_model_prefix = "beats"
    main_input_name = "input_features"
    input_modalities = "audio"
    supports_gradient_checkpointing = True
    _no_split_modules = ["BeatsEmbeddings", "BeatsLayer"]
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {
        "hidden_states": BeatsLayer,
        "attentions": BeatsAttention,
    }

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, BeatsPositionalConvolution):
            init.normal_(module.direction, mean=0.0, std=module.initial_std)
            init.constant_(module.magnitude, module.initial_norm)
            init.zeros_(module.bias)
        elif isinstance(module, BeatsLinear):
            module.reset_parameters()
        elif isinstance(module, BeatsAttention) and module.gate_scale is not None:
            init.ones_(module.gate_scale)

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of patches."""
        return self._embeddings.patch_embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        self._embeddings.patch_embedding = value

    @property
    def _embeddings(self) -> Any:
        return self.base_model.embeddings


@dataclass
class BeatsModelOutput(BaseModelOutputWithPooling):
    """
    Output of the encoder: the fields of [`~transformers.modeling_outputs.BaseModelOutputWithPooling`], and

    Args:
        patch_mask (`torch.BoolTensor` of shape `(batch_size, num_patches)`):
            Which of the hidden states belong to the clip; the others are padding.
    """

    patch_mask: torch.Tensor | None = None


class BeatsModel(BeatsPreTrainedModel):
    """
    The BEATs encoder without a head (arXiv 2212.09058, section 3.1).

    Args:
        config ([`BeatsConfig`]):
            Sizes.
    """

    def __init__(self, config: BeatsConfig):
        super().__init__(config)
        self.embeddings = BeatsEmbeddings(config)
        self.encoder = BeatsEncoder(config)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        kept_patches: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BeatsModelOutput:
        r"""
        Args:
            input_features (`torch.FloatTensor` of shape `(batch_size, num_frames, num_mel_bins)`):
                Normalized log-mel spectrograms, as [`BeatsFeatureExtractor`] makes them. Any length of at least one
                patch; frames that do not fill a patch are ignored.
            attention_mask (`torch.Tensor` of shape `(batch_size, num_patches)`, *optional*):
                1 for patches of the clip, 0 for padding, with `num_patches = config.num_patches(num_frames)`. By
                default nothing is padding.
            kept_patches (`torch.LongTensor` of shape `(batch_size, num_kept)`, *optional*):
                Indices of the patches that the encoder sees, in ascending order, as in masked pre-training; -1 fills
                up rows with fewer of them. Their relative positions are those in the whole grid.

        Returns:
            [`BeatsModelOutput`]: `last_hidden_state` of shape `(batch_size, num_patches, hidden_size)` (or
            `num_kept`), in which patch `t * config.num_bands + f` is band `f` of time step `t`; `pooler_output` of
            shape `(batch_size, hidden_size)`, the mean over the patches that are not padding, or zero if all are; and
            `patch_mask`. [`BeatsConfig.frame_times`] has the times of the patches.

        Raises:
            ValueError: If the inputs have another shape, or a clip is shorter than a patch.
        """
        num_patches = self._check_inputs(input_features, attention_mask)
        mask = None if attention_mask is None else attention_mask.to(input_features.device).bool()
        position_ids = None
        if kept_patches is not None:
            position_ids = kept_patches.clamp(min=0)
            kept = kept_patches >= 0
            mask = kept if mask is None else kept & mask.gather(1, position_ids)
        else:
            warn_of_long_clips(self.config, num_patches)
        hidden_states = self.embeddings(input_features, mask, kept_patches)
        hidden_states = self.encoder(hidden_states, mask, position_ids, **kwargs)
        pooled = mean_over_frames(hidden_states, mask)
        if mask is None:
            mask = torch.ones(hidden_states.shape[:2], dtype=torch.bool, device=hidden_states.device)
        return BeatsModelOutput(last_hidden_state=hidden_states, pooler_output=pooled, patch_mask=mask)

    def _check_inputs(self, input_features: torch.Tensor, attention_mask: torch.Tensor | None) -> int:
        """Number of patches of the inputs."""
        shape, config = tuple(input_features.shape), self.config
        if len(shape) != 3 or shape[2] != config.num_mel_bins or shape[0] == 0:
            raise ValueError(
                f"`input_features` must have the shape (batch_size, num_frames, {config.num_mel_bins}), got {shape}."
            )
        num_patches = config.num_patches(shape[1])
        if num_patches == 0:
            raise ValueError(
                f"`input_features` must have at least {config.patch_size} frames, one patch, got {shape[1]}: the "
                "feature extractor extends shorter clips by silence."
            )
        if attention_mask is not None and tuple(attention_mask.shape) != (shape[0], num_patches):
            raise ValueError(
                f"`attention_mask` must have one value per patch, the shape {(shape[0], num_patches)}, got "
                f"{tuple(attention_mask.shape)}."
            )
        return num_patches


def warn_of_long_clips(config: BeatsConfig, num_patches: int) -> None:
    """
    Warn, before time and memory are spent, of clips that windows would be much cheaper for.

    Args:
        config ([`BeatsConfig`]):
            Rates and sizes.
        num_patches (`int`):
            Number of patches of the clips.
    """
    # A compiler would trace the warning, and for it the length is a symbol.
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return
    seconds = num_patches // config.num_bands * config.patch_size * config.hop_length / config.sampling_rate
    if seconds > LONG_S:
        gigabytes = 4 * config.num_attention_heads * num_patches**2 / 1e9
        logger.warning_once(
            f"A clip of {seconds / 60:.1f} minutes ({num_patches} patches) is computed at once: the attention bias "
            f"alone takes {gigabytes:.1f} GB per clip and layer, and the model was probably trained on clips of 10 s. "
            "`audioformer.classify_file` classifies window by window."
        )


@dataclass
class BeatsClassifierOutput(SequenceClassifierOutput):
    """
    Output of the classifier: the fields of [`~transformers.modeling_outputs.SequenceClassifierOutput`], and

    Args:
        pooler_output (`torch.FloatTensor` of shape `(batch_size, hidden_size)`):
            Mean of the last hidden states, before dropout: the embedding of the clip.
    """

    pooler_output: torch.Tensor | None = None


class BeatsForAudioClassification(BeatsPreTrainedModel):
    """
    BEATs with dropout and one linear layer on the mean of the hidden states.

    The mean of the authors' logits per patch is the same as these logits of the mean. Logits are returned, never
    probabilities: for several labels per clip take the sigmoid, as the authors' code does for any task.

    Args:
        config ([`BeatsConfig`]):
            Sizes, `num_labels` or `id2label`, `problem_type`, `classification_loss`, and the calibration: with
            `calibration_temperature` and `calibration_bias` the returned logits are `raw / temperature + bias`. The
            loss is computed from the raw logits. A calibration for another number of labels is dropped with a warning.
    """

    # The loss is a mean over the batch, never a sum divided by a number of items, so the Trainer must divide it by the
    # number of accumulated batches.
    accepts_loss_kwargs = False

    def __init__(self, config: BeatsConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        drop_settings_of_other_labels(config)
        self.beats = BeatsModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        assert config.num_labels is not None  # The configuration has two labels unless told otherwise.
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.loss_function = audio_classification_loss
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BeatsClassifierOutput:
        r"""
        Args:
            input_features, attention_mask:
                As in [`BeatsModel.forward`].
            labels (`torch.Tensor` of shape `(batch_size,)` or `(batch_size, num_labels)`, *optional*):
                See [`audio_classification_loss`].

        Returns:
            [`BeatsClassifierOutput`]: `logits` of shape `(batch_size, num_labels)`, `pooler_output` of shape
            `(batch_size, hidden_size)`, with `labels` also `loss`.
        """
        outputs: BeatsModelOutput = self.beats(input_features=input_features, attention_mask=attention_mask, **kwargs)
        logits = self.classifier(self.dropout(outputs.pooler_output))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels, logits, self.config, **kwargs)
        return BeatsClassifierOutput(
            loss=loss,
            logits=calibrated(logits, self.config),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            pooler_output=outputs.pooler_output,
        )

    def freeze_feature_encoder(self) -> None:
        """
        Freeze the embedding of patches, which stands where others have a convolutional encoder.

        Scripts written for models that read waveforms, such as `run_audio_classification.py` of transformers, call
        this method.
        """
        self.beats.embeddings.patch_embedding.requires_grad_(False)


__all__ = ["BeatsForAudioClassification", "BeatsModel", "BeatsPreTrainedModel"]
