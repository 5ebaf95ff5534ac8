"""The acoustic tokenizers of BEATs, random and self-distilled: spectrograms to one discrete label per patch."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed
from torch import nn
from transformers import initialization as init
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_beats import BeatsConfig
from .modeling_beats import BeatsModel, BeatsModelOutput, BeatsPreTrainedModel, cut_into_patches


def nearest_codes(vectors: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """
    Find the code with the smallest Euclidean distance to each vector, in float32.

    Args:
        vectors (`torch.Tensor` of shape `(..., size)`):
            Vectors.
        codes (`torch.Tensor` of shape `(num_codes, size)`):
            Codes.

    Returns:
        `torch.LongTensor` of shape `(...)`: Index of the nearest code.
    """
    # Mixed precision would round away what tells codes apart.
    with torch.autocast(vectors.device.type, enabled=False):
        vectors, codes = vectors.float(), codes.float()
        # The squared distance without the part that is the same for all codes.
        return (codes.square().sum(-1) - 2 * vectors @ codes.T).argmin(-1)


def cosine_kmeans(directions: torch.Tensor, centres: torch.Tensor, rounds: int) -> torch.Tensor:
    """
    Spherical k-means: centres have length 1, and one without vectors stays where it is.

    Args:
        directions (`torch.Tensor` of shape `(num_vectors, size)`):
            Vectors of length 1.
        centres (`torch.Tensor` of shape `(num_codes, size)`):
            Where the centres start, of length 1.
        rounds (`int`):
            Number of rounds.

    Returns:
        `torch.Tensor` of shape `(num_codes, size)`.
    """
    for _ in range(rounds):
        sums = torch.zeros_like(centres).index_add_(0, (directions @ centres.T).argmax(-1), directions)
        # Only centres without vectors have a sum of zero.
        means = nn.functional.normalize(sums, dim=-1)
        centres = torch.where(sums.any(-1, keepdim=True), means, centres)
    return centres


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
        return nearest_codes(nn.functional.normalize(vectors.float(), dim=-1), self.codes)

    @torch.no_grad()
    def start(self, directions: torch.Tensor, rounds: int) -> None:
        """
        Start at the centres of k-means over some vectors; in training on several processes, over those of the first.

        Args:
            directions (`torch.Tensor` of shape `(num_vectors, size)`):
                Vectors of length 1. If there are fewer than codes, some codes start at the same vector.
            rounds (`int`):
                Rounds of k-means, which begins at vectors drawn from torch's global generator.
        """
        num_vectors, num_codes = len(directions), len(self.codes)
        chosen = (
            torch.randperm(num_vectors)[:num_codes]
            if num_vectors >= num_codes
            else torch.randint(num_vectors, (num_codes,))
        )
        self.codes.copy_(cosine_kmeans(directions, directions[chosen.to(directions.device)], rounds))
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.broadcast(self.codes, 0)

    @torch.no_grad()
    def follow(self, directions: torch.Tensor, labels: torch.Tensor, decay: float) -> None:
        """
        Move each code towards the vectors that it was assigned, those of all processes; others stay.

        Args:
            directions (`torch.Tensor` of shape `(num_vectors, size)`):
                Vectors of length 1.
            labels (`torch.LongTensor` of shape `(num_vectors,)`):
                Code of each of them.
            decay (`float`):
                Share of itself that a code keeps.
        """
        num_codes = len(self.codes)
        counts = torch.bincount(labels, minlength=num_codes)
        sums = directions.new_zeros(self.codes.shape).index_add_(0, labels, directions)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            for value in (counts, sums):
                torch.distributed.all_reduce(value)
        means = torch.where(counts[:, None] > 0, nn.functional.normalize(sums, dim=-1), self.codes)
        self.codes.copy_(nn.functional.normalize(decay * self.codes + (1 - decay) * means, dim=-1))


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


class BeatsRandomProjectionTokenizer(BeatsPreTrainedModel):
    """
    The tokenizer of the first iteration: patches are multiplied by a matrix of random numbers that is never trained,
    and get the nearest of random codes (arXiv 2212.09058, section 3.2.1).

    Args:
        config ([`BeatsConfig`]):
            `codebook_size`, `codebook_dim`, `random_projection_seed`, `random_projection_init` and
            `random_projection_distance`. The same values give the same labels.
    """

    def __init__(self, config: BeatsConfig):
        super().__init__(config)
        # Parameters, though never trained: transformers asks those for the dtype of a model that it saves.
        self.projection, self.codes = (nn.Parameter(drawn, requires_grad=False) for drawn in self._draw())
        self.post_init()

    def _draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The projection, `(patch_size**2, codebook_dim)`, and the codes, `(codebook_size, codebook_dim)`."""
        config = self.config
        generator = torch.Generator().manual_seed(config.random_projection_seed)
        rows, columns = config.patch_size**2, config.codebook_dim
        # On the CPU wherever the model is made, so that the numbers are the same.
        draws: dict[str, Any] = {"generator": generator, "device": "cpu"}
        if config.random_projection_init == "xavier_uniform":
            projection = (2 * torch.rand(rows, columns, **draws) - 1) * math.sqrt(6 / (rows + columns))
        else:
            projection = torch.randn(rows, columns, **draws) * math.sqrt(2 / (rows + columns))
        return projection, torch.randn(config.codebook_size, columns, **draws)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self:
            for parameter, drawn in zip((self.projection, self.codes), self._draw(), strict=True):
                init.copy_(parameter, drawn)

    def get_input_embeddings(self) -> nn.Module:
        """There is none, of parameters."""
        raise NotImplementedError("A random projection has no embedding.")

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
        patches = cut_into_patches(input_features, self.config.patch_size).float()
        with torch.autocast(patches.device.type, enabled=False):
            vectors = patches @ self.projection.float()
        if self.config.random_projection_distance == "cosine":
            vectors, codes = (nn.functional.normalize(values, dim=-1) for values in (vectors, self.codes.float()))
        else:
            codes = self.codes
        mask = patches.new_ones(patches.shape[:2]) if attention_mask is None else attention_mask
        mask = mask.to(patches.device).bool()
        labels = nearest_codes(vectors, codes).masked_fill(~mask, -100)
        return BeatsTokenizerOutput(labels=labels, vectors=vectors, patch_mask=mask)


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


__all__ = ["BeatsRandomProjectionTokenizer", "BeatsTokenizer"]
