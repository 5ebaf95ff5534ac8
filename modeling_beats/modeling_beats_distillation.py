"""Training of the self-distilled tokenizer of BEATs: what a teacher knows of a patch must fit into one code."""

from dataclasses import dataclass

import torch
from torch import nn
from transformers.processing_utils import Unpack
from transformers.utils import ModelOutput, TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_beats import BeatsConfig
from .modeling_beats import BeatsEncoder, BeatsModelOutput
from .modeling_beats_tokenizer import BeatsTokenizer


@dataclass
class BeatsDistillationOutput(ModelOutput):
    """
    Output of the training of a tokenizer.

    Args:
        loss (`torch.FloatTensor`, *optional*):
            `estimation_loss + codebook_loss`, with `targets`.
        estimation_loss (`torch.FloatTensor`, *optional*):
            One minus the cosine of estimate and target, the mean over the patches, with `targets`.
        codebook_loss (`torch.FloatTensor`):
            Squared distance of the directions of the vectors to their codes, the mean over the patches.
        estimates (`torch.FloatTensor` of shape `(batch_size, num_patches, target_size)`):
            What the estimator makes of the codes.
        labels (`torch.LongTensor` of shape `(batch_size, num_patches)`):
            Code of each patch; -100 at padding.
        patch_mask (`torch.BoolTensor` of shape `(batch_size, num_patches)`):
            Which patches belong to the clip.
    """

    loss: torch.Tensor | None = None
    estimation_loss: torch.Tensor | None = None
    codebook_loss: torch.Tensor | None = None
    estimates: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    patch_mask: torch.Tensor | None = None


class BeatsForTokenizerDistillation(BeatsTokenizer):
    """
    A tokenizer with the estimator that it is trained with (arXiv 2212.09058, section 3.2.2).

    From the code of each patch the estimator, Transformer layers, predicts what a teacher makes of it: its last hidden
    state, or the logits of a classifier for the patch. Gradients pass from the code to the vector as if they were the
    same. The codes follow the vectors by a moving average, in every forward of the training mode; before the first of
    these they start at the centres of its vectors.

    Args:
        config ([`BeatsConfig`]):
            Sizes, and the settings of codebook and estimator.
    """

    # The loss is a mean, never a sum divided by a number of items.
    accepts_loss_kwargs = False
    has_started: torch.Tensor

    def __init__(self, config: BeatsConfig):
        super().__init__(config)
        self.estimator_projection = nn.Linear(config.codebook_dim, config.hidden_size)
        self.estimator = BeatsEncoder(config, config.estimator_layers)
        self.estimator_head = nn.Linear(config.hidden_size, config.estimator_target_size or config.hidden_size)
        self.register_buffer("has_started", torch.zeros((), dtype=torch.bool))
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, BeatsForTokenizerDistillation):
            module.has_started.fill_(False)

    @can_return_tuple
    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        targets: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BeatsDistillationOutput:
        r"""
        Args:
            input_features, attention_mask:
                As in [`BeatsModel.forward`].
            targets (`torch.Tensor` of shape `(batch_size, num_patches, target_size)`, *optional*):
                What the teacher makes of each patch.

        Returns:
            [`BeatsDistillationOutput`]: Losses, estimates and labels.

        Raises:
            ValueError: If `targets` have another shape than the estimates.
        """
        encoded: BeatsModelOutput = self.beats(input_features=input_features, attention_mask=attention_mask, **kwargs)
        patch_mask = encoded.patch_mask
        assert patch_mask is not None  # The encoder always returns it.
        passed, labels, codebook_loss = self.quantize(self.code_projection(encoded.last_hidden_state), patch_mask)
        states = self.estimator_projection(passed.to(self.estimator_projection.weight.dtype))
        states = self.estimator(states, None if attention_mask is None else patch_mask)
        estimates = self.estimator_head(states)
        loss = estimation_loss = None
        if targets is not None:
            if targets.shape != estimates.shape:
                raise ValueError(
                    f"`targets` must have the shape of the estimates, {tuple(estimates.shape)}, got "
                    f"{tuple(targets.shape)}: `estimator_target_size` says how many values a patch has."
                )
            cosines = nn.functional.cosine_similarity(estimates.float(), targets.to(estimates.device).float(), dim=-1)
            estimation_loss = ((1 - cosines) * patch_mask).sum() / patch_mask.sum().clamp(min=1)
            loss = estimation_loss + codebook_loss
        return BeatsDistillationOutput(
            loss=loss,
            estimation_loss=estimation_loss,
            codebook_loss=codebook_loss,
            estimates=estimates,
            labels=labels.masked_fill(~patch_mask, -100),
            patch_mask=patch_mask,
        )

    def quantize(
        self, vectors: torch.Tensor, patch_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """
        Replace vectors by codes, whose gradient passes to the vectors. In training the codes follow.

        Args:
            vectors (`torch.Tensor` of shape `(batch_size, num_patches, codebook_dim)`):
                Vectors of any length.
            patch_mask (`torch.BoolTensor` of shape `(batch_size, num_patches)`):
                Which of them count.

        Returns:
            `tuple`: Codes of the shape of the vectors, in float32; labels of shape `(batch_size, num_patches)`; and
            the loss of the codebook, a scalar.
        """
        directions = nn.functional.normalize(vectors.float(), dim=-1)
        real = directions[patch_mask].detach()
        if self.training and not self.has_started:
            self.codebook.start(real, self.config.codebook_rounds)
            self.has_started.fill_(True)
        labels = self.codebook(directions)
        # A copy: the codes that the loss compares with are those from before this step.
        codes = self.codebook.codes[labels]
        if self.training:
            self.codebook.follow(real, labels[patch_mask], self.config.codebook_decay)
        squares = (codes - directions).square()
        distances = squares.mean(-1) if self.config.codebook_loss_reduction == "mean" else squares.sum(-1)
        loss = (distances * patch_mask).sum() / patch_mask.sum().clamp(min=1)
        return directions + (codes - directions).detach(), labels, loss

    def tokenizer(self) -> BeatsTokenizer:
        """
        The tokenizer alone, without the estimator, which is dropped after the training.

        Returns:
            [`BeatsTokenizer`]: With copies of the weights, in evaluation mode.
        """
        alone = BeatsTokenizer._from_config(self.config)
        own = alone.state_dict()
        alone.load_state_dict({name: value for name, value in self.state_dict().items() if name in own})
        return alone.eval()


__all__ = ["BeatsForTokenizerDistillation"]
