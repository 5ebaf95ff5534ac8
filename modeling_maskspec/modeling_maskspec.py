"""The MaskSpec model: a pre-norm Transformer on patches of log-mel spectrograms with positions in two dimensions."""

import copy
from dataclasses import dataclass
from typing import Any

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
from .configuration_maskspec import MaskSpecConfig
from .pieces import JoinedPieces, cut_pieces, needed_pieces
from .pooling import mean_over_frames
from .self_attention import FeedForward, SelfAttention

PIECES_PER_PASS = 16
"""Pieces of long clips that the layers read at once: 2.6 minutes of audio. It bounds the memory that an hour takes."""


def sine_positions(num_columns: int, num_bands: int, size: int) -> torch.Tensor:
    """
    The table of positions that training starts from.

    Args:
        num_columns (`int`):
            Number of patches in time.
        num_bands (`int`):
            Number of patches in frequency.
        size (`int`):
            Size of a position, a multiple of 4.

    Returns:
        `torch.FloatTensor` of shape `(1 + num_bands * num_columns, size)`: Zeros for the cls token, then the patches
        in the order of the authors' code, row `1 + f * num_columns + t` for band `f` of column `t`. The first half of
        a row encodes time, the second frequency; each is a block of sines and one of cosines.
    """
    quarter = size // 4
    rates = 10_000.0 ** (-torch.arange(quarter, dtype=torch.float64) / quarter)
    columns = torch.arange(num_columns, dtype=torch.float64).repeat(num_bands)
    bands = torch.arange(num_bands, dtype=torch.float64).repeat_interleave(num_columns)
    angles = [axis[:, None] * rates for axis in (columns, bands)]
    table = torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1)
    return torch.cat((table.new_zeros(1, size), table)).float()


class MaskSpecLinear(nn.Linear):
    """
    A linear layer that says itself how its weights start.

    transformers would not ask the module around it: of remote code, modules without parameters of their own are passed
    over.

    Args:
        in_features (`int`):
            Size of the input.
        out_features (`int`):
            Size of the output.
        std (`float`, *optional*):
            Standard deviation of a truncated normal distribution; by default Xavier's uniform one.
    """

    def __init__(self, in_features: int, out_features: int, std: float | None = None):
        self.std = std
        super().__init__(in_features, out_features)

    def reset_parameters(self) -> None:
        if self.std is None:
            init.xavier_uniform_(self.weight)
        else:
            init.trunc_normal_(self.weight, std=self.std)
        init.zeros_(self.bias)


class MaskSpecEmbeddings(nn.Module):
    """From the spectrogram to the hidden states that enter the layers: the cls token, patches, and positions."""

    def __init__(self, config: MaskSpecConfig):
        super().__init__()
        self.patch_size, self.num_bands = config.patch_size, config.num_bands
        self.num_time_positions = config.num_time_positions
        self.cls_token = nn.Parameter(torch.empty(config.hidden_size))
        self.positions = nn.Parameter(torch.empty(1 + config.max_patches, config.hidden_size))
        # A convolution whose stride is its kernel is a product with each patch.
        self.patch_embedding = MaskSpecLinear(config.patch_size**2, config.hidden_size)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def patches(self, input_features: torch.Tensor) -> torch.Tensor:
        """
        Cut spectrograms into patches; frames that do not fill one are dropped.

        Args:
            input_features (`torch.Tensor` of shape `(batch_size, num_frames, num_mel_bins)`):
                Spectrograms.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_patches, patch_size**2)`: Patch `t * num_bands + f` is band `f`
            of column `t`; its values are in the order of mel bins, then frames.
        """
        size, bands = self.patch_size, self.num_bands
        batch_size, num_frames = input_features.shape[:2]
        columns = num_frames // size
        grid = input_features[:, : columns * size].reshape(batch_size, columns, size, bands, size)
        return grid.permute(0, 1, 3, 4, 2).reshape(batch_size, columns * bands, size * size)

    def patch_positions(self) -> torch.Tensor:
        """The positions of patches in the order of patches here, `(max_patches, hidden_size)`."""
        return by_time(self.positions[1:], self.num_bands)

    def forward(self, patches: torch.Tensor, position_ids: torch.Tensor | None = None) -> torch.Tensor:
        """
        Embed patches.

        Args:
            patches (`torch.Tensor` of shape `(batch_size, sequence_length, patch_size**2)`):
                Values of patches.
            position_ids (`torch.LongTensor` of shape `(batch_size, sequence_length)`, *optional*):
                Index of each; by default 0, 1, 2, ...

        Returns:
            `torch.Tensor` of shape `(batch_size, 1 + sequence_length, hidden_size)`, the cls token first.
        """
        hidden_states = self.patch_embedding(patches.to(self.patch_embedding.weight.dtype))
        positions = self.patch_positions()
        hidden_states = hidden_states + (
            positions[: patches.shape[1]] if position_ids is None else positions[position_ids]
        )
        cls_token = (self.cls_token + self.positions[0]).expand(patches.shape[0], 1, -1)
        return self.dropout(torch.cat((cls_token.to(hidden_states.dtype), hidden_states), dim=1))


def by_time(table: torch.Tensor, num_bands: int) -> torch.Tensor:
    """Rows in the authors' order, band by band, to the order of patches here, column by column."""
    return table.unflatten(0, (num_bands, -1)).transpose(0, 1).flatten(0, 1)


def drop_path(added: torch.Tensor, rate: float) -> torch.Tensor:
    """
    Leave out what a sublayer adds, clip by clip, and scale the rest so that the mean stays the same.

    Args:
        added (`torch.Tensor` of shape `(batch_size, sequence_length, hidden_size)`):
            Output of the sublayer.
        rate (`float`):
            Probability in `[0, 1)`.

    Returns:
        `torch.Tensor` of the same shape.
    """
    if rate == 0.0:
        return added
    kept = torch.rand(added.shape[0], 1, 1, device=added.device) >= rate
    return added * (kept / (1.0 - rate)).to(added.dtype)


class MaskSpecLayer(GradientCheckpointingLayer):
    """
    A pre-norm layer of the encoder or the decoder.

    Args:
        config ([`MaskSpecConfig`]):
            What both have in common.
        size (`int`):
            Size of the hidden states.
        num_heads (`int`):
            Number of attention heads.
        inner_size (`int`):
            Size of the feed-forward part.
        drop_path_rate (`float`, *optional*, defaults to 0.0):
            Probability that a sublayer is left out in training.
    """

    def __init__(
        self, config: MaskSpecConfig, size: int, num_heads: int, inner_size: int, drop_path_rate: float = 0.0
    ):
        super().__init__()
        self.attention_layer_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.attention = SelfAttention(config, size, num_heads, MaskSpecLinear)
        self.mlp_layer_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.mlp = FeedForward(config, size, inner_size, MaskSpecLinear)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.drop_path_rate = drop_path_rate

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        attention_output, _ = self.attention(self.attention_layer_norm(hidden_states), attention_mask, **kwargs)
        rate = self.drop_path_rate if self.training else 0.0
        hidden_states = hidden_states + drop_path(self.dropout(attention_output), rate)
        return hidden_states + drop_path(self.dropout(self.mlp(self.mlp_layer_norm(hidden_states))), rate)


class MaskSpecPreTrainedModel(PreTrainedModel):
    """
    Base class of all MaskSpec models: loading, saving, initialization, and the supported features of transformers.

    Weights are initialized as in the authors' code: Xavier's uniform distribution in linear layers and the embedding
    of patches, sines and cosines as positions, and a classifier that starts close to zero.
    """

    config: MaskSpecConfig
    base_model_prefix = "maskspec"
    main_input_name = "input_features"
    input_modalities = "audio"
    supports_gradient_checkpointing = True
    _no_split_modules = ["MaskSpecEmbeddings", "MaskSpecLayer"]
    _supports_sdpa = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {
        "hidden_states": MaskSpecLayer,
        "attentions": SelfAttention,
    }

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MaskSpecLinear):
            module.reset_parameters()
        elif isinstance(module, MaskSpecEmbeddings):
            init.normal_(module.cls_token, mean=0.0, std=self.config.initializer_range)
            table = sine_positions(module.num_time_positions, module.num_bands, self.config.hidden_size)
            init.copy_(module.positions, table)

    def get_input_embeddings(self) -> nn.Module:
        """The embedding of patches."""
        return self._embeddings.patch_embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        self._embeddings.patch_embedding = value

    @property
    def _embeddings(self) -> Any:
        return self.base_model.embeddings


@dataclass
class MaskSpecModelOutput(BaseModelOutputWithPooling):
    """
    Output of the encoder: the fields of [`~transformers.modeling_outputs.BaseModelOutputWithPooling`], and

    Args:
        cls_hidden_state (`torch.FloatTensor` of shape `(batch_size, hidden_size)`):
            The last hidden state of the cls token; in clips that were read in pieces, the mean over the pieces.
        patch_mask (`torch.BoolTensor` of shape `(batch_size, num_patches)`):
            Which of the last hidden states belong to the clip; the others are padding.
    """

    cls_hidden_state: torch.Tensor | None = None
    patch_mask: torch.Tensor | None = None


class MaskSpecModel(MaskSpecPreTrainedModel):
    """
    The MaskSpec encoder without a head (arXiv 2204.12768, section 3).

    Args:
        config ([`MaskSpecConfig`]):
            Sizes, `pooling`, `final_layer_norm`, and `window_hop`, which decides how long clips are read.
    """

    def __init__(self, config: MaskSpecConfig):
        super().__init__(config)
        self.embeddings = MaskSpecEmbeddings(config)
        sizes = (config.hidden_size, config.num_attention_heads, config.intermediate_size)
        rates = torch.linspace(0, config.drop_path_rate, config.num_hidden_layers, device="cpu").tolist()
        self.layers = nn.ModuleList([MaskSpecLayer(config, *sizes, rate) for rate in rates])
        self.layer_norm = None
        if config.final_layer_norm:
            self.layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.register_load_state_dict_pre_hook(_leave_out_layer_norm)
        self.gradient_checkpointing = False
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        kept_patches: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MaskSpecModelOutput:
        r"""
        Args:
            input_features (`torch.FloatTensor` of shape `(batch_size, num_frames, num_mel_bins)`):
                Normalized log-mel spectrograms, as [`MaskSpecFeatureExtractor`] makes them. Any length of at least one
                patch; frames that do not fill a patch are ignored.
            attention_mask (`torch.Tensor` of shape `(batch_size, num_patches)`, *optional*):
                1 for patches of the clip, 0 for padding, with `num_patches = config.num_patches(num_frames)`. By
                default nothing is padding.
            kept_patches (`torch.LongTensor` of shape `(batch_size, num_kept)`, *optional*):
                Indices of the patches that the encoder sees, in any order, as in masked pre-training; -1 fills up rows
                with fewer of them. Clips must have no more than `config.num_time_positions` columns.

        Returns:
            [`MaskSpecModelOutput`]: `last_hidden_state` of shape `(batch_size, num_patches, hidden_size)` (or
            `num_kept`), in which patch `t * config.num_bands + f` is band `f` of column `t`, without the cls token;
            `cls_hidden_state`; `pooler_output` of shape `(batch_size, hidden_size)`, the mean over the patches that
            are not padding, or the cls token with `config.pooling` `"cls"`; and `patch_mask`.
            [`MaskSpecConfig.frame_times`] has the times of the patches. In recorded hidden states and attentions the
            cls token comes first; recorded attentions of clips that were read in pieces have one row per piece.

        Raises:
            ValueError: If the inputs have another shape, a clip is shorter than a patch, or patches are chosen from a
                clip that is too long.
        """
        num_patches = self._check_inputs(input_features, attention_mask, kept_patches)
        mask = None if attention_mask is None else attention_mask.to(input_features.device).bool()
        patches = self.embeddings.patches(input_features)
        if kept_patches is not None:
            position_ids = kept_patches.clamp(min=0)
            kept = kept_patches >= 0
            mask = kept if mask is None else kept & mask.gather(1, position_ids)
            patches = patches.gather(1, position_ids[:, :, None].expand(-1, -1, patches.shape[2]))
            outputs = self._run(patches, mask, position_ids, return_dict=True, **kwargs)
        elif num_patches <= self.config.max_patches:
            outputs = self._run(patches, mask, return_dict=True, **kwargs)
        else:
            outputs = self._run_pieces(patches, mask, **kwargs)
        cls_state, hidden_states = outputs.last_hidden_state[:, 0], outputs.last_hidden_state[:, 1:]
        pooled = cls_state if self.config.pooling == "cls" else mean_over_frames(hidden_states, mask)
        if mask is None:
            mask = torch.ones(hidden_states.shape[:2], dtype=torch.bool, device=hidden_states.device)
        return MaskSpecModelOutput(
            last_hidden_state=hidden_states,
            pooler_output=pooled,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            cls_hidden_state=cls_state,
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
        """Embed patches, no more than there are positions, and run the layers; the cls token comes first."""
        hidden_states = self.embeddings(patches, position_ids)
        mask = None if mask is None else nn.functional.pad(mask, (1, 0), value=True)
        layer_mask = create_bidirectional_mask(config=self.config, inputs_embeds=hidden_states, attention_mask=mask)
        for layer in self.layers:
            hidden_states = layer(hidden_states, layer_mask, **kwargs)
        return BaseModelOutput(
            last_hidden_state=hidden_states if self.layer_norm is None else self.layer_norm(hidden_states)
        )

    def _run_pieces(
        self, patches: torch.Tensor, mask: torch.Tensor | None, **kwargs: Unpack[TransformersKwargs]
    ) -> BaseModelOutput:
        """Run the layers on the pieces of long clips, a limited number of them at once, and join what they return."""
        (batch_size, num_patches), bands = patches.shape[:2], self.config.num_bands
        length, hop = self.config.num_time_positions, self.config.window_hop or self.config.num_time_positions
        if mask is None:
            mask = torch.ones(batch_size, num_patches, dtype=torch.bool, device=patches.device)
        # Every piece has the full length, so that they can be read together; a mask hides what is not there.
        columns, column_masks = patches.unflatten(1, (-1, bands)), mask.unflatten(1, (-1, bands))
        pieces = cut_pieces(columns, length, hop)
        num_pieces = pieces.shape[1]
        flat = pieces.flatten(0, 1).flatten(1, 2)
        flat_masks = cut_pieces(column_masks, length, hop).flatten(0, 1).flatten(1, 2)
        is_real = column_masks.any(-1)
        joined = JoinedPieces(is_real, num_pieces, length, hop)
        cls_states, attentions = [], []
        for some, some_mask in zip(flat.split(PIECES_PER_PASS), flat_masks.split(PIECES_PER_PASS), strict=True):
            outputs = self._run(some, some_mask, return_dict=True, **kwargs)
            # Not all layers need be recorded, as `output_hidden_states` can choose some.
            layers = (outputs.last_hidden_state, *(outputs.hidden_states or ()))
            joined.add(
                [None if layer is None else layer[:, 1:].unflatten(1, (length, bands)).flatten(2) for layer in layers]
            )
            cls_states.append([None if layer is None else layer[:, 0] for layer in layers])
            if outputs.attentions is not None:
                attentions.append(outputs.attentions)
        shares = needed_pieces(is_real, num_pieces, length, hop).float()
        shares = (shares / shares.sum(dim=1, keepdim=True))[:, :, None]
        states: list[Any] = []
        for grid, parts in zip(joined.states(), zip(*cls_states, strict=True), strict=True):
            if grid is None:
                states.append(None)
                continue
            cls_state = torch.cat(parts).unflatten(0, (batch_size, num_pieces)).float() * shares
            cls_state = cls_state.sum(dim=1, keepdim=True).to(grid.dtype)
            states.append(torch.cat((cls_state, grid.reshape(batch_size, num_patches, -1)), dim=1))
        last, *recorded = states
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
                f"`input_features` must have at least {config.patch_size} frames, one patch, got {shape[1]}: the "
                "feature extractor extends shorter clips by silence."
            )
        if attention_mask is not None and tuple(attention_mask.shape) != (shape[0], num_patches):
            raise ValueError(
                f"`attention_mask` must have one value per patch, the shape {(shape[0], num_patches)}, got "
                f"{tuple(attention_mask.shape)}."
            )
        if kept_patches is not None and num_patches > config.max_patches:
            raise ValueError(
                f"Patches can be chosen from clips of at most {config.max_patches} patches "
                f"({config.num_time_positions * config.patch_size} frames), got {num_patches}: cut them."
            )
        return num_patches


def _leave_out_layer_norm(module: Any, state_dict: dict[str, Any], prefix: str, *_: Any) -> None:
    """A classifier of the mean starts from a pre-trained encoder without its last normalization, as the authors'."""
    if module.layer_norm is None:
        for name in ("weight", "bias"):
            state_dict.pop(f"{prefix}layer_norm.{name}", None)


@dataclass
class MaskSpecClassifierOutput(SequenceClassifierOutput):
    """
    Output of the classifier: the fields of [`~transformers.modeling_outputs.SequenceClassifierOutput`], and

    Args:
        pooler_output (`torch.FloatTensor` of shape `(batch_size, hidden_size)`):
            What the linear layer reads, before dropout: the embedding of the clip.
    """

    pooler_output: torch.Tensor | None = None


class MaskSpecForAudioClassification(MaskSpecPreTrainedModel):
    """
    MaskSpec with layer normalization, dropout and one linear layer on the mean of the patches, or on the cls token.

    Logits are returned, never probabilities: for several labels per clip take the sigmoid. Positions are trained, and
    in training `config.patchout` patches are left out.

    Args:
        config ([`MaskSpecConfig`]):
            Sizes, `pooling`, `num_labels` or `id2label`, `problem_type`, `classification_loss`, and the calibration:
            with `calibration_temperature` and `calibration_bias` the returned logits are `raw / temperature + bias`.
            The loss is computed from the raw logits. A calibration for another number of labels is dropped with a
            warning. The model has a copy, in which `final_layer_norm` is what `pooling` needs.
    """

    # The loss is a mean over the batch, never a sum divided by a number of items, so the Trainer must divide it by the
    # number of accumulated batches.
    accepts_loss_kwargs = False
    _keys_to_ignore_on_load_unexpected = [r"^decoder\.", r"^maskspec\.layer_norm\."]

    def __init__(self, config: MaskSpecConfig):
        config = copy.deepcopy(config)
        config.final_layer_norm = config.pooling == "cls"
        super().__init__(config)
        self.num_labels = config.num_labels
        drop_settings_of_other_labels(config)
        self.maskspec = MaskSpecModel(config)
        self.pooled_layer_norm = None
        if config.pooling == "mean":
            self.pooled_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.classifier_dropout)
        assert config.num_labels is not None  # The configuration has two labels unless told otherwise.
        self.classifier = MaskSpecLinear(
            config.hidden_size, config.num_labels, std=config.classifier_initializer_range
        )
        self.loss_function = audio_classification_loss
        self.post_init()

    def freeze_feature_encoder(self) -> None:
        """
        Freeze the embedding of patches, which stands where others have a convolutional encoder.

        Scripts written for models that read waveforms, such as `run_audio_classification.py` of transformers, call
        this method.
        """
        self.maskspec.embeddings.patch_embedding.requires_grad_(False)

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MaskSpecClassifierOutput:
        r"""
        Args:
            input_features, attention_mask:
                As in [`MaskSpecModel.forward`].
            labels (`torch.Tensor` of shape `(batch_size,)` or `(batch_size, num_labels)`, *optional*):
                See [`audio_classification_loss`].

        Returns:
            [`MaskSpecClassifierOutput`]: `logits` of shape `(batch_size, num_labels)`, `pooler_output` of shape
            `(batch_size, hidden_size)`, with `labels` also `loss`.
        """
        outputs: MaskSpecModelOutput = self.maskspec(
            input_features=input_features,
            attention_mask=attention_mask,
            kept_patches=self._draw_patches(input_features),
            **kwargs,
        )
        pooled = outputs.pooler_output
        if self.pooled_layer_norm is not None:
            pooled = self.pooled_layer_norm(pooled)
        logits = self.classifier(self.dropout(pooled))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels, logits, self.config, **kwargs)
        return MaskSpecClassifierOutput(
            loss=loss,
            logits=calibrated(logits, self.config),
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            pooler_output=pooled,
        )

    def _draw_patches(self, input_features: torch.Tensor) -> torch.Tensor | None:
        """The patches that are read in training with patch-out, the same ones in all clips of the batch."""
        num_patches = self.config.num_patches(input_features.shape[1])
        left_out = min(self.config.patchout, num_patches // 2)
        if not self.training or left_out == 0 or num_patches > self.config.max_patches:
            return None
        kept = torch.randperm(num_patches, device=input_features.device)[: num_patches - left_out]
        return kept.sort().values.expand(input_features.shape[0], -1)


__all__ = ["MaskSpecForAudioClassification", "MaskSpecModel", "MaskSpecPreTrainedModel"]
