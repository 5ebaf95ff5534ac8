"""Masked audio modelling with BEATs: the labels of hidden patches are predicted from the encoded others."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import initialization as init
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_beats import ROUNDING, BeatsConfig
from .modeling_beats import BeatsEncoder, BeatsModel, BeatsModelOutput, BeatsPreTrainedModel


def choose_kept_patches(config: BeatsConfig, patch_mask: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """
    Choose the patches that the encoder sees: those with the least noise of each clip.

    Args:
        config ([`BeatsConfig`]):
            `mask_ratio` and `keep_rounding`.
        patch_mask (`torch.BoolTensor` of shape `(batch_size, num_patches)`):
            Which patches belong to the clip. The share that is kept is one of these.
        noise (`torch.Tensor` of shape `(batch_size, num_patches)`):
            Random numbers.

    Returns:
        `torch.LongTensor` of shape `(batch_size, num_kept)`: Indices of the patches in ascending order; -1 fills up
        the rows of shorter clips.
    """
    num_patches = patch_mask.shape[1]
    share = (1 - config.mask_ratio) * patch_mask.sum(1).float()
    counts = ((share + ROUNDING).floor() if config.keep_rounding == "floor" else share.round()).clamp(min=1)
    ranks = noise.masked_fill(~patch_mask, torch.inf).argsort(1).argsort(1)
    is_kept = (ranks < counts[:, None]) & patch_mask
    indices = torch.arange(num_patches, device=patch_mask.device)
    kept = torch.where(is_kept, indices, num_patches).sort(1).values[:, : config.num_kept(num_patches)]
    return kept.masked_fill(kept == num_patches, -1)


@dataclass
class BeatsMaskedAudioModelingOutput(ModelOutput):
    """
    Output of masked audio modelling.

    Args:
        loss (`torch.FloatTensor`, *optional*):
            Mean cross-entropy over the hidden patches, with `labels`.
        logits (`torch.FloatTensor` of shape `(batch_size, num_patches, codebook_size)`):
            Scores of the labels of every patch, hidden or not.
        hidden_patches (`torch.BoolTensor` of shape `(batch_size, num_patches)`):
            Which patches of the clips the encoder did not see.
        last_hidden_state (`torch.FloatTensor` of shape `(batch_size, num_kept, hidden_size)`):
            Output of the encoder.
        hidden_states (`tuple(torch.FloatTensor)`, *optional*):
            Input of the first layer and output of each layer of the encoder.
        attentions (`tuple(torch.FloatTensor)`, *optional*):
            Attention probabilities of each layer of the encoder.
    """

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    hidden_patches: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class BeatsForMaskedAudioModeling(BeatsPreTrainedModel):
    """
    BEATs for pre-training (arXiv 2212.09058, section 3.3): the encoder sees a quarter of the patches, and the label
    predictor, Transformer layers on the whole grid, predicts which label a tokenizer gives to each of the others.

    Args:
        config ([`BeatsConfig`]):
            Sizes; `codebook_size`, the number of labels; and the settings of masking and of the predictor.
    """

    # The loss is a mean, never a sum divided by a number of items.
    accepts_loss_kwargs = False

    def __init__(self, config: BeatsConfig):
        super().__init__(config)
        self.beats = BeatsModel(config)
        self.filler = nn.Parameter(torch.empty(config.hidden_size)) if config.mask_filler == "learned" else None
        self.predictor = BeatsEncoder(config, config.predictor_layers)
        self.label_head = nn.Linear(config.hidden_size, config.codebook_size)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, BeatsForMaskedAudioModeling) and module.filler is not None:
            init.normal_(module.filler, std=self.config.initializer_range)

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
        kept_patches: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BeatsMaskedAudioModelingOutput:
        r"""
        Args:
            input_features, attention_mask:
                As in [`BeatsModel.forward`].
            labels (`torch.LongTensor` of shape `(batch_size, num_patches)`, *optional*):
                Label of each patch, from 0 to `codebook_size` - 1, as a tokenizer returns them. Those of patches that
                are not hidden are ignored, and so is -100.
            noise (`torch.Tensor` of shape `(batch_size, num_patches)`, *optional*):
                Random numbers; the patches of a clip with the lowest are kept. By default they are drawn.
            kept_patches (`torch.LongTensor` of shape `(batch_size, num_kept)`, *optional*):
                The patches to keep, in ascending order, in place of random ones; -1 fills up rows.

        Returns:
            [`BeatsMaskedAudioModelingOutput`]: `logits` of shape `(batch_size, num_patches, codebook_size)`,
            `hidden_patches`, and with `labels` also `loss`.

        Raises:
            ValueError: If `labels` or `noise` do not have one value per patch.
        """
        shape = (input_features.shape[0], self.config.num_patches(input_features.shape[1]))
        for name, given in (("labels", labels), ("noise", noise)):
            if given is not None and tuple(given.shape) != shape:
                raise ValueError(
                    f"`{name}` must have one value per patch, the shape {shape}, got {tuple(given.shape)}."
                )
        device = input_features.device
        mask = torch.ones(shape, dtype=torch.bool, device=device)
        if attention_mask is not None and tuple(attention_mask.shape) == shape:
            mask = attention_mask.to(device).bool()
        if kept_patches is None:
            noise = torch.rand(shape, device=device) if noise is None else noise.to(device)
            kept_patches = choose_kept_patches(self.config, mask, noise)
        # The encoder refuses wrong shapes of the mask.
        encoded: BeatsModelOutput = self.beats(
            input_features=input_features, attention_mask=attention_mask, kept_patches=kept_patches, **kwargs
        )
        states, is_kept = encoded.last_hidden_state, encoded.patch_mask
        assert states is not None and is_kept is not None  # The encoder always returns them.
        index = kept_patches.clamp(min=0)
        # Added, not assigned: entries that fill up a row must not erase patch 0.
        index_of_values = index[:, :, None].expand(-1, -1, states.shape[2])
        values = states * is_kept[:, :, None].to(states.dtype)
        grid = values.new_zeros(*shape, states.shape[2]).scatter_add(1, index_of_values, values)
        seen = torch.zeros(shape, dtype=torch.long, device=device).scatter_add(1, index, is_kept.long()) > 0
        hidden = mask & ~seen
        if self.filler is not None:
            grid = grid + hidden[:, :, None].to(grid.dtype) * self.filler.to(grid.dtype)
        predicted = self.predictor(grid, None if attention_mask is None else mask)
        logits = self.label_head(predicted)
        loss = None
        if labels is not None:
            wanted = labels.to(device).masked_fill(~hidden, -100)
            losses = nn.functional.cross_entropy(
                logits.float().flatten(0, 1),
                wanted.flatten(),
                reduction="sum",
                label_smoothing=self.config.predictor_label_smoothing,
            )
            loss = losses / (wanted != -100).sum().clamp(min=1)
        return BeatsMaskedAudioModelingOutput(
            loss=loss,
            logits=logits,
            hidden_patches=hidden,
            last_hidden_state=states,
            hidden_states=encoded.hidden_states,
            attentions=encoded.attentions,
        )


__all__ = ["BeatsForMaskedAudioModeling"]
