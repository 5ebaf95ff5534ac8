"""Masked autoencoding with MaskSpec: the decoder and the loss of pre-training."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_maskspec import MaskSpecConfig
from .masked_patches import choose_patches, masked_patches, standardized
from .modeling_maskspec import (
    MaskSpecLayer,
    MaskSpecLinear,
    MaskSpecModel,
    MaskSpecModelOutput,
    MaskSpecPreTrainedModel,
    by_time,
    sine_positions,
)


class MaskSpecDecoder(nn.Module):
    """
    From what the encoder made of the kept patches to all patches of a clip.

    Args:
        config ([`MaskSpecConfig`]):
            `decoder_hidden_size` and the other sizes of the decoder.
    """

    positions: torch.Tensor

    def __init__(self, config: MaskSpecConfig):
        super().__init__()
        self.config = config
        size = config.decoder_hidden_size
        self.input_proj = MaskSpecLinear(config.hidden_size, size)
        self.mask_token = nn.Parameter(torch.empty(size))
        self.register_buffer("positions", torch.empty(1 + config.max_patches, size), persistent=False)
        self.layers = nn.ModuleList(
            [
                MaskSpecLayer(config, size, config.decoder_num_attention_heads, config.decoder_intermediate_size)
                for _ in range(config.decoder_num_hidden_layers)
            ]
        )
        self.layer_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.output_proj = MaskSpecLinear(size, config.patch_size**2)

    def forward(
        self,
        cls_state: torch.Tensor,
        hidden_states: torch.Tensor,
        kept_patches: torch.Tensor,
        num_patches: int,
        patch_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        """
        Predict patches.

        Args:
            cls_state (`torch.Tensor` of shape `(batch_size, hidden_size)`):
                The last hidden state of the encoder's cls token.
            hidden_states (`torch.Tensor` of shape `(batch_size, num_kept, hidden_size)`):
                The last hidden states of the patches that it saw.
            kept_patches (`torch.LongTensor` of shape `(batch_size, num_kept)`):
                Which patches these are; -1 for none.
            num_patches (`int`):
                Number of patches of the clips, with padding.
            patch_mask (`torch.BoolTensor` of shape `(batch_size, num_patches)`, *optional*):
                Which patches are real.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_patches, patch_size**2)`.
        """
        known = self.input_proj(hidden_states)
        batch_size, _, size = known.shape
        # One position more than there are patches takes what belongs to none.
        index = torch.where(kept_patches < 0, num_patches, kept_patches)[:, :, None].expand(-1, -1, size)
        grid = self.mask_token.to(known.dtype).expand(batch_size, num_patches + 1, size)
        grid = grid.scatter(1, index, known)[:, :num_patches]
        states = torch.cat((self.input_proj(cls_state)[:, None], grid), dim=1)
        table = by_time(self.positions[1:], self.config.num_bands)[:num_patches]
        states = states + torch.cat((self.positions[:1], table))
        mask = None if patch_mask is None else nn.functional.pad(patch_mask, (1, 0), value=True)
        layer_mask = create_bidirectional_mask(config=self.config, inputs_embeds=states, attention_mask=mask)
        for layer in self.layers:
            states = layer(states, layer_mask, **kwargs)
        return self.output_proj(self.layer_norm(states))[:, 1:]


@dataclass
class MaskSpecForPreTrainingOutput(ModelOutput):
    """
    Output of pre-training.

    Args:
        loss (`torch.FloatTensor` of shape `()`):
            Mean squared error of the masked patches of the batch.
        logits (`torch.Tensor` of shape `(batch_size, num_patches, patch_size**2)`):
            Predictions for all patches; values are in the order of mel bins, then frames.
        mask (`torch.BoolTensor` of shape `(batch_size, num_patches)`):
            Which patches were masked and count in the loss.
        hidden_states (`tuple(torch.Tensor)`, *optional*):
            Of the encoder, for the cls token and the patches that it saw.
        attentions (`tuple(torch.Tensor)`, *optional*):
            Of the encoder.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class MaskSpecForPreTraining(MaskSpecPreTrainedModel):
    """
    MaskSpec as a masked autoencoder (arXiv 2204.12768, section 3).

    The encoder sees a quarter of the patches, chosen at random for each clip; the decoder predicts all of them.
    Positions are fixed.

    Args:
        config ([`MaskSpecConfig`]):
            Sizes of encoder and decoder, `mask_ratio` and `standardize_target`. The model has a copy, in which
            `final_layer_norm` is set.
    """

    # The loss is a mean over the masked patches, never a sum divided by a number of items.
    accepts_loss_kwargs = False

    def __init__(self, config: MaskSpecConfig):
        config = copy.deepcopy(config)
        config.final_layer_norm = True
        super().__init__(config)
        self.maskspec = MaskSpecModel(config)
        self.maskspec.embeddings.positions.requires_grad_(False)
        self.decoder = MaskSpecDecoder(config)
        self.post_init()

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Load a model as [`~transformers.PreTrainedModel.from_pretrained`] does, with fixed positions."""
        loaded = super().from_pretrained(*args, **kwargs)
        # Loading puts new parameters into the model, all of which are trained.
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.maskspec.embeddings.positions.requires_grad_(False)
        return loaded

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, MaskSpecDecoder):
            init.normal_(module.mask_token, mean=0.0, std=self.config.initializer_range)
            sizes = (self.config.num_time_positions, self.config.num_bands, self.config.decoder_hidden_size)
            init.copy_(module.positions, sine_positions(*sizes))

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MaskSpecForPreTrainingOutput:
        r"""
        Args:
            input_features, attention_mask:
                As in [`MaskSpecModel.forward`]; at most `config.num_time_positions` columns of patches.
            noise (`torch.FloatTensor` of shape `(batch_size, num_patches)`, *optional*):
                A number per patch; those with the smallest ones are seen. By default drawn anew in every call.

        Returns:
            [`MaskSpecForPreTrainingOutput`]: `loss`, `logits` and `mask`.

        Raises:
            ValueError: If a clip is longer, or the inputs have another shape.
        """
        config = self.config
        shape = (input_features.shape[0], config.num_patches(input_features.shape[1]))
        mask = None if attention_mask is None else attention_mask.to(input_features.device).bool()
        if noise is None:
            noise = torch.rand(shape, device=input_features.device)
        elif tuple(noise.shape) != shape:
            raise ValueError(f"`noise` must have the shape {shape}, got {tuple(noise.shape)}.")
        kept = choose_patches(noise, shape[1], 1, config.mask_ratio, mask)
        outputs: MaskSpecModelOutput = self.maskspec(
            input_features=input_features, attention_mask=attention_mask, kept_patches=kept, **kwargs
        )
        logits = self.decoder(outputs.cls_hidden_state, outputs.last_hidden_state, kept, shape[1], mask)
        masked = masked_patches(kept, shape[1], mask)
        errors = (logits.float() - self.targets(input_features)).square().mean(dim=-1)
        loss = (errors * masked).sum() / masked.sum().clamp(min=1)
        return MaskSpecForPreTrainingOutput(
            loss=loss,
            logits=logits,
            mask=masked,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def targets(self, input_features: torch.Tensor) -> torch.Tensor:
        """
        What the decoder is to predict.

        Args:
            input_features (`torch.FloatTensor` of shape `(batch_size, num_frames, num_mel_bins)`):
                Normalized log-mel spectrograms.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_patches, patch_size**2)`.
        """
        patches = self.maskspec.embeddings.patches(input_features).float()
        return standardized(patches) if self.config.standardize_target else patches


__all__ = ["MaskSpecForPreTraining"]
