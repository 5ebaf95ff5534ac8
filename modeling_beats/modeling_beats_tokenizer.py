"""The self-distilled acoustic tokenizer of BEATs: spectrograms to one discrete label per patch."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import initialization as init
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_beats import BeatsConfig
from .modeling_beats import BeatsModel, BeatsModelOutput, BeatsPreTrainedModel


class BeatsCodebook(nn.Module):
    """
    Codes of length 1; a vector gets the code with the smallest angle to it (arXiv 2212.09058, section 3.2.2).

    Args:
        num_codes (`int`):
            Number of codes.
        size (`int`):
            Size of a code.
    """

    codes: torch.Tensor

    def __init__(self, num_codes: int, size: int):
        super().__init__()
        # No parameter: codes have no gradient, but follow the vectors that are assigned to them.
        self.register_buffer("codes", torch.empty(num_codes, size))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """
        Find the nearest codes.

        Args:
            vectors (`torch.Tensor` of shape `(..., size)`):
                Vectors of any length.

        Returns:
            `torch.LongTensor` of shape `(...)`: Index of the nearest code.
        """
        directions = nn.functional.normalize(vectors.float(), dim=-1)
        codes = self.codes.float()
        # The squared distance without the part that is the same for all codes.
        return (codes.square().sum(-1) - 2 * directions @ codes.T).argmin(-1)


@dataclass
class BeatsTokenizerOutput(ModelOutput):
    """
    Output of the tokenizer.

    Args:
        labels (`torch.LongTensor` of shape `(batch_size, num_patches)`):
            Label of each patch, from 0 to `codebook_size` - 1; -100 at padding.
        vectors (`torch.FloatTensor` of shape `(batch_size, num_patches, codebook_dim)`):
            What was compared with the codes, before it is scaled to length 1.
        patch_mask (`torch.BoolTensor` of shape `(batch_size, num_patches)`):
            Which patches belong to the clip.
        hidden_states (`tuple(torch.FloatTensor)`, *optional*):
            Input of the first layer and output of each layer of the encoder.
        attentions (`tuple(torch.FloatTensor)`, *optional*):
            Attention probabilities of each layer.
    """

    labels: torch.Tensor | None = None
    vectors: torch.Tensor | None = None
    patch_mask: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class BeatsTokenizer(BeatsPreTrainedModel):
    """
    A tokenizer of BEATs: an encoder, a projection to the size of the codes, and the codebook.

    Args:
        config ([`BeatsConfig`]):
            Sizes, `codebook_size` and `codebook_dim`.
    """

    def __init__(self, config: BeatsConfig):
        super().__init__(config)
        self.beats = BeatsModel(config)
        self.code_projection = nn.Sequential(
            nn.Linear(config.hidden_size, config.hidden_size),
            nn.Tanh(),
            nn.Linear(config.hidden_size, config.codebook_dim),
        )
        self.codebook = BeatsCodebook(config.codebook_size, config.codebook_dim)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, BeatsCodebook):
            # Training replaces them by the centres of its first batch. Until then they are directions at random.
            codes = nn.functional.normalize(torch.randn_like(module.codes), dim=-1)
            init.copy_(module.codes, codes)

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BeatsTokenizerOutput:
        r"""
        Args:
            input_features, attention_mask:
                As in [`BeatsModel.forward`].

        Returns:
            [`BeatsTokenizerOutput`]: `labels` of shape `(batch_size, num_patches)`, `vectors` and `patch_mask`.
        """
        outputs: BeatsModelOutput = self.beats(input_features=input_features, attention_mask=attention_mask, **kwargs)
        patch_mask = outputs.patch_mask
        assert patch_mask is not None  # The encoder always returns it.
        vectors = self.code_projection(outputs.last_hidden_state)
        labels = self.codebook(vectors).masked_fill(~patch_mask, -100)
        return BeatsTokenizerOutput(
            labels=labels,
            vectors=vectors,
            patch_mask=patch_mask,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )


__all__ = ["BeatsTokenizer"]
