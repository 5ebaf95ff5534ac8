"""The Dasheng model: a pre-norm Transformer on pieces of 40 ms of a mel spectrogram in dB."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPooling, SequenceClassifierOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from .classification_loss import audio_classification_loss
from .classification_settings import calibrated, drop_settings_of_other_labels
from .configuration_dasheng import DashengConfig
from .pieces import JoinedPieces, cut_pieces
from .pooling import mean_over_frames
from .self_attention import FeedForward, SelfAttention

PIECES_PER_PASS = 32
"""Pieces of long clips that the layers read at once, five minutes of audio: a bound for the memory of an hour."""


class DashengLinear(nn.Linear):
    """
    A linear layer that says itself how its weights start.

    transformers would not ask the module around it: of remote code, modules without parameters of their own are passed
    over.

    Args:
        in_features (`int`):
            Size of the input.
        out_features (`int`):
            Size of the output.
        start (`str`, *optional*, defaults to `"xavier"`):
            `"xavier"` for Xavier's uniform distribution, `"default"` for the uniform one of torch, whose bias is
            uniform as well, or `"normal"` for a normal distribution cut off at two in absolute value, with the
            standard deviation `std`.
        std (`float`, *optional*, defaults to 0.02):
            For `"normal"`.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        start: Literal["xavier", "default", "normal"] = "xavier",
        std: float = 0.02,
    ):
        self.start, self.std = start, std
        super().__init__(in_features, out_features)

    def reset_parameters(self) -> None:
        if self.start == "xavier":
            init.xavier_uniform_(self.weight)
        elif self.start == "normal":
            init.trunc_normal_(self.weight, std=self.std)
        else:
            bound = self.in_features**-0.5
            init.uniform_(self.weight, -bound, bound)
            init.uniform_(self.bias, -bound, bound)
            return
        init.zeros_(self.bias)


class DashengBatchNorm(nn.BatchNorm1d):
    """
    Batch normalization of mel bins, in float32.

    Where its weights are frozen, it keeps its running statistics even in training: a frozen encoder must not drift.
    Padding has no part in the statistics of a batch.

    Args:
        config ([`DashengConfig`]):
            `num_mel_bins`, `batch_norm_eps` and `batch_norm_momentum`.
    """

    def __init__(self, config: DashengConfig):
        super().__init__(config.num_mel_bins, eps=config.batch_norm_eps, momentum=config.batch_norm_momentum)

    def forward(self, features: torch.Tensor, frame_mask: torch.Tensor | None = None) -> torch.Tensor:
        """
        Normalize spectrograms.

        Args:
            features (`torch.Tensor` of shape `(batch_size, num_frames, num_mel_bins)`):
                Spectrograms.
            frame_mask (`torch.BoolTensor` of shape `(batch_size, num_frames)`, *optional*):
                Which of the frames are real.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_frames, num_mel_bins)`.
        """
        features = features.float()
        if self.training and self.weight.requires_grad:
            mean, variance = self._batch_statistics(features, frame_mask)
        else:
            mean, variance = self.running_mean.float(), self.running_var.float()  # type: ignore[union-attr]
        scale = self.weight.float() * torch.rsqrt(variance + self.eps)
        return torch.addcmul(self.bias.float() - mean * scale, features, scale)

    def _batch_statistics(
        self, features: torch.Tensor, frame_mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and variance of each mel bin in the batch, which also go into the running ones."""
        if frame_mask is None:
            variance, mean = torch.var_mean(features, dim=(0, 1), correction=0)
            count = features.shape[0] * features.shape[1]
            bessel: float | torch.Tensor = count / max(count - 1, 1)
        else:
            weights = frame_mask[:, :, None].float()
            total = weights.sum().clamp(min=1.0)
            mean = (features * weights).sum(dim=(0, 1)) / total
            variance = ((features - mean).square() * weights).sum(dim=(0, 1)) / total
            bessel = total / (total - 1).clamp(min=1.0)
        with torch.no_grad():
            unbiased = variance * bessel
            for running, value in ((self.running_mean, mean), (self.running_var, unbiased)):
                running.lerp_(value.to(running.dtype), self.momentum)  # type: ignore[union-attr,arg-type]
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
        return mean, variance


class DashengEmbeddings(nn.Module):
    """From the spectrogram to the hidden states that enter the layers: normalization, patches and positions."""

    def __init__(self, config: DashengConfig):
        super().__init__()
        self.frames_per_patch = config.frames_per_patch
        self.batch_norm = DashengBatchNorm(config)
        # A convolution whose stride is its kernel is a product with each patch.
        self.patch_embedding = DashengLinear(config.patch_values, config.hidden_size, start="default")
        self.time_positions = nn.Parameter(torch.empty(config.num_time_positions, config.hidden_size))
        self.frequency_position = nn.Parameter(torch.empty(config.hidden_size))
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def patches(self, features: torch.Tensor) -> torch.Tensor:
        """
        Cut spectrograms into patches; frames that do not fill one are dropped.

        Args:
            features (`torch.Tensor` of shape `(batch_size, num_frames, num_mel_bins)`):
                Spectrograms.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_patches, num_mel_bins * frames_per_patch)`: The values of a patch
            are in the order of mel bins, then frames.
        """
        batch_size, num_frames, bins = features.shape
        num_patches = num_frames // self.frames_per_patch
        used = features[:, : num_patches * self.frames_per_patch]
        return used.reshape(batch_size, num_patches, self.frames_per_patch, bins).transpose(2, 3).flatten(2)

    def normalized_patches(self, features: torch.Tensor, patch_mask: torch.Tensor | None) -> torch.Tensor:
        """The patches of spectrograms that went through the batch normalization; see [`DashengEmbeddings.patches`]."""
        frame_mask = None
        if patch_mask is not None and self.training:
            frame_mask = patch_mask.repeat_interleave(self.frames_per_patch, dim=1)
            # Those that fill no patch belong to clips that reach the end.
            rest = frame_mask[:, -1:].expand(-1, features.shape[1] - frame_mask.shape[1])
            frame_mask = torch.cat((frame_mask, rest), dim=1)
        return self.patches(self.batch_norm(features, frame_mask))

    def forward(self, patches: torch.Tensor, position_ids: torch.Tensor | None = None) -> torch.Tensor:
        """
        Embed patches.

        Args:
            patches (`torch.Tensor` of shape `(batch_size, sequence_length, num_mel_bins * frames_per_patch)`):
                Normalized patches.
            position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Position of each in its piece; by default 0, 1, 2, ...

        Returns:
            `torch.Tensor` of shape `(batch_size, sequence_length, hidden_size)`.
        """
        hidden_states = self.patch_embedding(patches.to(self.patch_embedding.weight.dtype))
        positions = (
            self.time_positions[: patches.shape[1]] if position_ids is None else self.time_positions[position_ids]
        )
        return self.dropout(hidden_states + positions + self.frequency_position)


class DashengLayer(GradientCheckpointingLayer):
    """
    A pre-norm layer of the encoder or the decoder.

    Args:
        config ([`DashengConfig`]):
            What both have in common.
        size (`int`):
            Size of the hidden states.
        num_heads (`int`):
            Number of attention heads.
        inner_size (`int`):
            Size of the feed-forward part.
        linear (function, *optional*):
            Makes a linear layer from the sizes of input and output; by default as the encoder has it.
    """

    def __init__(
        self,
        config: DashengConfig,
        size: int,
        num_heads: int,
        inner_size: int,
        linear: Callable[[int, int], nn.Linear] = DashengLinear,
    ):
        super().__init__()
        self.attention_layer_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.attention = SelfAttention(config, size, num_heads, linear)
        self.mlp_layer_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.mlp = FeedForward(config, size, inner_size, linear)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        attention_output, _ = self.attention(self.attention_layer_norm(hidden_states), attention_mask, **kwargs)
        hidden_states = hidden_states + self.dropout(attention_output)
        return hidden_states + self.dropout(self.mlp(self.mlp_layer_norm(hidden_states)))


class DashengPreTrainedModel(PreTrainedModel):
    """
    Base class of all Dasheng models: loading, saving, initialization, and the supported features of transformers.

    Weights are initialized as in the authors' code: Xavier's uniform distribution in the encoder layers, a truncated
    normal one in the decoder, torch's own default in the embedding of patches, and normal positions.
    """

    config: DashengConfig
    base_model_prefix = "dasheng"
    main_input_name = "input_features"
    input_modalities = "audio"
    supports_gradient_checkpointing = True
    _no_split_modules = ["DashengEmbeddings", "DashengLayer"]
    # The running statistics are updated in steps that half precision would round away.
    _keep_in_fp32_modules_strict = ["batch_norm"]
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {
        "hidden_states": DashengLayer,
        "attentions": SelfAttention,
    }

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, DashengLinear):
            module.reset_parameters()
        elif isinstance(module, DashengEmbeddings):
            init.normal_(module.time_positions, mean=0.0, std=self.config.initializer_range)
            init.normal_(module.frequency_position, mean=0.0, std=self.config.initializer_range)

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of patches."""
        return self._embeddings.patch_embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        self._embeddings.patch_embedding = value

    @property
    def _embeddings(self) -> Any:
        return self.base_model.embeddings


@dataclass
class DashengModelOutput(BaseModelOutputWithPooling):
    """
    Output of the encoder: the fields of [`~transformers.modeling_outputs.BaseModelOutputWithPooling`], and

    Args:
        patch_mask (`torch.BoolTensor` of shape `(batch_size, num_patches)`):
            Which of the hidden states belong to the clip; the others are padding.
    """

    patch_mask: torch.Tensor | None = None


class DashengModel(DashengPreTrainedModel):
    """
    The Dasheng encoder without a head (arXiv 2406.06992, section 2).

    Args:
        config ([`DashengConfig`]):
            Sizes, and `window_hop`, which decides how clips of more than `num_time_positions` are read.
    """

    def __init__(self, config: DashengConfig):
        super().__init__(config)
        self.embeddings = DashengEmbeddings(config)
        sizes = (config.hidden_size, config.num_attention_heads, config.intermediate_size)
        self.layers = nn.ModuleList([DashengLayer(config, *sizes) for _ in range(config.num_hidden_layers)])
        self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        kept_patches: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> DashengModelOutput:
        r"""
        Args:
            input_features (`torch.FloatTensor` of shape `(batch_size, num_frames, num_mel_bins)`):
                Mel spectrograms in dB, as [`DashengFeatureExtractor`] makes them. Any length of at least one patch;
                frames that do not fill a patch are ignored.
            attention_mask (`torch.Tensor` of shape `(batch_size, num_patches)`, *optional*):
                1 for patches of the clip, 0 for padding, with `num_patches = config.num_patches(num_frames)`. By
                default nothing is padding.
            kept_patches (`torch.LongTensor` of shape `(batch_size, num_kept)`, *optional*):
                Indices of the patches that the encoder sees, in any order, as in masked pre-training; -1 fills up rows
                with fewer of them. Clips must be no longer than `config.num_time_positions`.

        Returns:
            [`DashengModelOutput`]: `last_hidden_state` of shape `(batch_size, num_patches, hidden_size)` (or
            `num_kept`), one every 40 ms, with the times of [`DashengConfig.frame_times`]; `pooler_output` of shape
            `(batch_size, hidden_size)`, the mean over the patches that are not padding, or zero if all are; and
            `patch_mask`. Recorded attentions of longer clips have the shape `(batch_size * num_pieces,
            num_attention_heads, num_time_positions, num_time_positions)`.

        Raises:
            ValueError: If the inputs have another shape, a clip is shorter than a patch, or patches are chosen from a
                clip that is too long.
        """
        num_patches = self._check_inputs(input_features, attention_mask, kept_patches)
        mask = None if attention_mask is None else attention_mask.to(input_features.device).bool()
        patches = self.embeddings.normalized_patches(input_features, mask)
        if kept_patches is not None:
            position_ids = kept_patches.clamp(min=0)
            kept = kept_patches >= 0
            mask = kept if mask is None else kept & mask.gather(1, position_ids)
            patches = patches.gather(1, position_ids[:, :, None].expand(-1, -1, patches.shape[2]))
            outputs = self._run(patches, mask, position_ids, return_dict=True, **kwargs)
        elif num_patches <= self.config.num_time_positions:
            outputs = self._run(patches, mask, return_dict=True, **kwargs)
        else:
            outputs = self._run_pieces(patches, mask, **kwargs)
        hidden_states = outputs.last_hidden_state
        pooled = mean_over_frames(hidden_states, mask)
        if mask is None:
            mask = torch.ones(hidden_states.shape[:2], dtype=torch.bool, device=hidden_states.device)
        return DashengModelOutput(
            last_hidden_state=hidden_states,
            pooler_output=pooled,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            patch_mask=mask,
        )

    # `position_ids` is a parameter of its own here, and `TransformersKwargs` lists it as well.
    @merge_with_config_defaults
    @capture_outputs
    def _run(  # type: ignore[misc]
        self,
        patches: torch.Tensor,
        mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutput:
        """Embed normalized patches, no more than there are positions, and run the layers."""
        hidden_states = self.embeddings(patches, position_ids)
        keys = create_bidirectional_mask(config=self.config, inputs_embeds=hidden_states, attention_mask=mask)
        for layer in self.layers:
            hidden_states = layer(hidden_states, keys, **kwargs)
        return BaseModelOutput(last_hidden_state=self.layer_norm(hidden_states))

    def _run_pieces(
        self, patches: torch.Tensor, mask: torch.Tensor | None, **kwargs: Unpack[TransformersKwargs]
    ) -> BaseModelOutput:
        """Run the layers on the pieces of long clips, a limited number of them at once, and join what they return."""
        length, hop = self.config.num_time_positions, self.config.window_hop or self.config.num_time_positions
        if mask is None:
            mask = torch.ones(patches.shape[:2], dtype=torch.bool, device=patches.device)
        # Every piece has the full length, so that they can be read together; a mask hides what is not there.
        pieces, masks = cut_pieces(patches, length, hop), cut_pieces(mask, length, hop).flatten(0, 1)
        joined = JoinedPieces(mask, pieces.shape[1], length, hop)
        attentions = []
        for some, some_mask in zip(
            pieces.flatten(0, 1).split(PIECES_PER_PASS), masks.split(PIECES_PER_PASS), strict=True
        ):
            outputs = self._run(some, some_mask, return_dict=True, **kwargs)
            joined.add((outputs.last_hidden_state, *(outputs.hidden_states or ())))
            if outputs.attentions is not None:
                attentions.append(outputs.attentions)
        last, *recorded = joined.states()
        return BaseModelOutput(
            last_hidden_state=last,
            hidden_states=tuple(recorded) or None,
            attentions=tuple(torch.cat(layer) for layer in zip(*attentions, strict=True)) or None,
        )

    def _check_inputs(
        self, input_features: torch.Tensor, attention_mask: torch.Tensor | None, kept_patches: torch.Tensor | None
    ) -> int:
        """Number of patches of the inputs."""
        shape, config = tuple(input_features.shape), self.config
        if len(shape) != 3 or shape[2] != config.num_mel_bins or shape[0] == 0:
            raise ValueError(
                f"`input_features` must have the shape (batch_size, num_frames, {config.num_mel_bins}), got {shape}."
            )
        num_patches = config.num_patches(shape[1])
        if num_patches == 0:
            raise ValueError(
                f"`input_features` must have at least {config.frames_per_patch} frames, one patch, got {shape[1]}: "
                "the feature extractor extends shorter clips by silence."
            )
        if attention_mask is not None and tuple(attention_mask.shape) != (shape[0], num_patches):
            raise ValueError(
                f"`attention_mask` must have one value per patch, the shape {(shape[0], num_patches)}, got "
                f"{tuple(attention_mask.shape)}."
            )
        if kept_patches is not None and num_patches > config.num_time_positions:
            raise ValueError(
                f"Patches can be chosen from clips of at most {config.num_time_positions} patches "
                f"({config.num_time_positions / config.frame_rate:g} s), got {num_patches}: cut them."
            )
        return num_patches


@dataclass
class DashengClassifierOutput(SequenceClassifierOutput):
    """
    Output of the classifier: the fields of [`~transformers.modeling_outputs.SequenceClassifierOutput`], and

    Args:
        pooler_output (`torch.FloatTensor` of shape `(batch_size, hidden_size)`):
            Mean of the last hidden states, before the head: the embedding of the clip.
    """

    pooler_output: torch.Tensor | None = None


class DashengForAudioClassification(DashengPreTrainedModel):
    """
    Dasheng with layer normalization, dropout and one linear layer on the mean of the hidden states.

    Logits are returned, never probabilities: for several labels per clip take the sigmoid.

    Args:
        config ([`DashengConfig`]):
            Sizes, `num_labels` or `id2label`, `problem_type`, `classification_loss`, and the calibration: with
            `calibration_temperature` and `calibration_bias` the returned logits are `raw / temperature + bias`. The
            loss is computed from the raw logits. A calibration for another number of labels is dropped with a warning.
    """

    # The loss is a mean over the batch, never a sum divided by a number of items, so the Trainer must divide it by the
    # number of accumulated batches.
    accepts_loss_kwargs = False

    def __init__(self, config: DashengConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        drop_settings_of_other_labels(config)
        self.dasheng = DashengModel(config)
        self.pooler_layer_norm = nn.LayerNorm(config.hidden_size)
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
    ) -> DashengClassifierOutput:
        r"""
        Args:
            input_features, attention_mask:
                As in [`DashengModel.forward`].
            labels (`torch.Tensor` of shape `(batch_size,)` or `(batch_size, num_labels)`, *optional*):
                See [`audio_classification_loss`].

        Returns:
            [`DashengClassifierOutput`]: `logits` of shape `(batch_size, num_labels)`, `pooler_output` of shape
            `(batch_size, hidden_size)`, with `labels` also `loss`.
        """
        outputs: DashengModelOutput = self.dasheng(
            input_features=input_features, attention_mask=attention_mask, **kwargs
        )
        logits = self.classifier(self.dropout(self.pooler_layer_norm(outputs.pooler_output)))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels, logits, self.config, **kwargs)
        return DashengClassifierOutput(
            loss=loss,
            logits=calibrated(logits, self.config),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            pooler_output=outputs.pooler_output,
        )

    def freeze_feature_encoder(self) -> None:
        """
        Freeze the embedding of patches and the normalization of mel bins, which stand where others have convolutions.

        Scripts written for models that read waveforms, such as `run_audio_classification.py` of transformers, call
        this method.
        """
        self.dasheng.embeddings.patch_embedding.requires_grad_(False)
        self.dasheng.embeddings.batch_norm.requires_grad_(False)


__all__ = ["DashengForAudioClassification", "DashengModel", "DashengPreTrainedModel"]
