"""Masked autoencoding with Dasheng: the decoder, the masks and the loss of pre-training."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from transformers import initialization as init
from transformers.masking_utils import create_bidirectional_mask
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_dasheng import DashengConfig
from .masked_patches import choose_patches, masked_patches, standardized
from .modeling_dasheng import DashengLayer, DashengLinear, DashengModel, DashengModelOutput, DashengPreTrainedModel


class DashengDecoder(nn.Module):
    """
    From what the encoder made of the kept patches to all patches of a clip.

    Args:
        config ([`DashengConfig`]):
            `decoder_hidden_size` and the other sizes of the decoder.
    """

    def __init__(self, config: DashengConfig):
        super().__init__()
        self.config = config
        size, std = config.decoder_hidden_size, config.initializer_range
        linear = partial(DashengLinear, start="normal", std=std)
        self.input_proj = linear(config.hidden_size, size)
        self.mask_token = nn.Parameter(torch.empty(size))
        self.positions = nn.Parameter(torch.empty(config.num_time_positions, size))
        self.layers = nn.ModuleList(
            [
                DashengLayer(
                    config, size, config.decoder_num_attention_heads, config.decoder_intermediate_size, linear
                )
                for _ in range(config.decoder_num_hidden_layers)
            ]
        )
        self.layer_norm = nn.LayerNorm(size, eps=config.layer_norm_eps)
        self.output_proj = linear(size, config.patch_values)
        self.dropout = nn.Dropout(config.hidden_dropout_prob)

    def forward(
        self,
        hidden_states: torch.Tensor,
        kept_patches: torch.Tensor,
        num_patches: int,
        patch_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> torch.Tensor:
        """
        Predict patches.

        Args:
            hidden_states (`torch.Tensor` of shape `(batch_size, num_kept, hidden_size)`):
                The last hidden states of the encoder.
            kept_patches (`torch.LongTensor` of shape `(batch_size, num_kept)`):
                Which patches they belong to; -1 for none.
            num_patches (`int`):
                Number of patches of the clips, with padding.
            patch_mask (`torch.BoolTensor` of shape `(batch_size, num_patches)`, *optional*):
                Which patches are real.

        Returns:
            `torch.Tensor` of shape `(batch_size, num_patches, num_mel_bins * frames_per_patch)`.
        """
        known = self.input_proj(hidden_states)
        batch_size, _, size = known.shape
        # One position more than there are patches takes what belongs to none.
        index = torch.where(kept_patches < 0, num_patches, kept_patches)[:, :, None].expand(-1, -1, size)
        grid = self.mask_token.to(known.dtype).expand(batch_size, num_patches + 1, size)
        states = self.dropout(grid.scatter(1, index, known)[:, :num_patches] + self.positions[:num_patches])
        mask = create_bidirectional_mask(config=self.config, inputs_embeds=states, attention_mask=patch_mask)
        for layer in self.layers:
            states = layer(states, mask, **kwargs)
        return self.output_proj(self.layer_norm(states))


@dataclass
class DashengForPreTrainingOutput(ModelOutput):
    """
    Output of pre-training.

    Args:
        loss (`torch.FloatTensor` of shape `()`):
            Mean squared error of the masked patches of the batch.
        logits (`torch.Tensor` of shape `(batch_size, num_patches, num_mel_bins * frames_per_patch)`):
            Predictions for all patches, standardized; values are in the order of mel bins, then frames.
        mask (`torch.BoolTensor` of shape `(batch_size, num_patches)`):
            Which patches were masked and count in the loss.
        hidden_states (`tuple(torch.Tensor)`, *optional*):
            Of the encoder, for the patches that it saw.
        attentions (`tuple(torch.Tensor)`, *optional*):
            Of the encoder.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class DashengForPreTraining(DashengPreTrainedModel):
    """
    Dasheng as a masked autoencoder (arXiv 2406.06992, section 2).

    The encoder sees a quarter of the patches; the decoder predicts all of them. The target is the spectrogram in dB
    before batch normalization, each patch standardized by itself.

    Args:
        config ([`DashengConfig`]):
            Sizes of encoder and decoder, `mask_ratio` and `mask_group_size`.
    """

    # The loss is a mean over the masked patches, never a sum divided by a number of items.
    accepts_loss_kwargs = False

    def __init__(self, config: DashengConfig):
        super().__init__(config)
        self.dasheng = DashengModel(config)
        self.decoder = DashengDecoder(config)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, DashengDecoder):
            init.normal_(module.mask_token, mean=0.0, std=self.config.initializer_range)
            init.zeros_(module.positions)

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> DashengForPreTrainingOutput:
        r"""
        Args:
            input_features, attention_mask:
                As in [`DashengModel.forward`]; at most `config.num_time_positions` patches.
            noise (`torch.FloatTensor` of shape `(batch_size, num_groups)`, *optional*):
                A number per group of `config.mask_group_size` patches; those with the smallest ones are seen. By
                default drawn anew in every call.

        Returns:
            [`DashengForPreTrainingOutput`]: `loss`, `logits` and `mask`.

        Raises:
            ValueError: If a clip is longer, or the inputs have another shape.
        """
        config = self.config
        num_patches = config.num_patches(input_features.shape[1])
        mask = None if attention_mask is None else attention_mask.to(input_features.device).bool()
        groups = (input_features.shape[0], -(-num_patches // config.mask_group_size))
        if noise is None:
            noise = torch.rand(groups, device=input_features.device)
        elif tuple(noise.shape) != groups:
            raise ValueError(f"`noise` must have the shape {groups}, got {tuple(noise.shape)}.")
        kept = choose_patches(noise, num_patches, config.mask_group_size, config.mask_ratio, mask)
        outputs: DashengModelOutput = self.dasheng(
            input_features=input_features, attention_mask=attention_mask, kept_patches=kept, **kwargs
        )
        logits = self.decoder(outputs.last_hidden_state, kept, num_patches, mask)
        masked = masked_patches(kept, num_patches, mask)
        errors = (logits.float() - self.targets(input_features)).square().mean(dim=-1)
        loss = (errors * masked).sum() / masked.sum().clamp(min=1)
        return DashengForPreTrainingOutput(
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
                Spectrograms in dB.

        Returns:
            `torch.FloatTensor` of shape `(batch_size, num_patches, num_mel_bins * frames_per_patch)`.
        """
        return standardized(self.dasheng.embeddings.patches(input_features))


__all__ = ["DashengForPreTraining"]
