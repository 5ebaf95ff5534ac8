"""Trainer of fine-tuning method 2, with the multi-positive contrastive loss (FT2, paper section 3.3.2)."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import nn

from audioformer.modeling_audioformer import AudioFormerForAudioClassification, AudioFormerModel

from ..audioformer_arguments import AudioFormerTrainingArguments
from ..losses import MultiPositiveContrastiveLoss
from .audioformer_classification import AudioFormerClassificationTrainer
from .mixup import draw_mixup, draw_token_mixup, mix_tokens, mixed_embeddings
from .teachers import pooled_vectors


class AudioFormerMPCTrainer(AudioFormerClassificationTrainer):
    r"""
    Fine-tunes a classifier of codebook C1 with two losses (AudioFormer, arXiv 2308.07221, Eq. 9):

        loss = classification_weight * classification + (1 - classification_weight) * mpc

    The anchors of the second are the model's own mean-pooled vectors, before dropout, from the forward pass that
    computes the logits. The positives are the vectors that frozen models of the codebooks C2 to CN compute for the
    same clips. They come with the batch as `positives`, of shape `(batch_size, num_codebooks - 1, hidden_size)`, read
    from the file of [`build_positives`]. With `args.online_teachers` the teachers compute them in every step from its
    `positive_input_ids`, of shape `(batch_size, num_codebooks - 1, sequence_length)`. The file is valid for whole,
    unchanged clips only: crops, mixup and augmented copies need online teachers.

    Both components are logged, as `classification_loss` and `mpc_loss`. Evaluations use the classification loss alone
    and need no positives. The teachers are not part of the model: they are neither trained nor saved, and the saved
    model is an ordinary [`AudioFormerForAudioClassification`]. An anchor that reads several codebooks has the same
    positives: one per frozen model of one codebook, which may be among those that the anchor reads.

    Args:
        model ([`AudioFormerForAudioClassification`]): The anchor.
        args ([`AudioFormerTrainingArguments`]): `classification_weight` (0.95 in the paper), `mpc_temperature` (0.05),
            `gather_across_devices` and `online_teachers` belong to this trainer.
        teachers (sequence of [`AudioFormerModel`], *optional*): From [`load_teachers`], in the order of the codebooks
            in `positive_input_ids`; moved to the device of the run. Required with `args.online_teachers`, and refused
            without.
        kwargs: As in [`AudioFormerClassificationTrainer`]. `train_dataset` is a [`CodeExamples`] with `positives`, or
            with `positive_codebooks`.

    Raises:
        ValueError: If only one of `online_teachers` and `teachers` is given, if clips change (`crop_frames`,
            `mixup_alpha`, `token_mixup_alpha`) without `online_teachers`, or, in a step, if the batch lacks the
            positives or their ids.
    """

    def __init__(
        self,
        model: AudioFormerForAudioClassification,
        args: AudioFormerTrainingArguments,
        teachers: Sequence[AudioFormerModel] | None = None,
        **kwargs: Any,
    ) -> None:
        self.check_arguments(args)
        check_source_of_positives(args)
        if args.online_teachers != bool(teachers):
            raise ValueError(
                "`teachers` must be given with `online_teachers`, and only then, got "
                f"{len(teachers or ())} teachers and `online_teachers` {args.online_teachers}."
            )
        super().__init__(model=model, args=args, **kwargs)
        # A list rather than a submodule of the model, so that optimizers, checkpoints and wrappers do not see it.
        # mypy does not see that `to` is a method: transformers decorates it with `functools.wraps`.
        self.teachers = [teacher.to(args.device) for teacher in teachers or ()]  # type: ignore[arg-type]
        self.contrastive_loss = MultiPositiveContrastiveLoss(args.mpc_temperature, args.gather_across_devices)

    def batch_loss(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, Any]:
        positives, positive_input_ids = inputs.pop("positives", None), inputs.pop("positive_input_ids", None)
        if not model.training:
            return super().batch_loss(model, inputs)
        needed, given = ("positive_input_ids", positive_input_ids) if self.teachers else ("positives", positives)
        if given is None:
            raise ValueError(
                f"With `online_teachers` {self.args.online_teachers} a training batch must have `{needed}`, got "
                f"{sorted(inputs)}. Give `CodeExamples` its "
                f"{'`positive_codebooks`' if self.teachers else '`positives`, from `build_positives`'}."
            )
        if self.teachers:
            positives = self._run_teachers(positive_input_ids, inputs)
        # One forward pass gives logits and anchors, so that whatever wraps the model (DDP, FSDP, torch.compile,
        # autocast, activation checkpointing) sees an ordinary call.
        loss, outputs = super().batch_loss(model, inputs)
        contrastive_loss = self.contrastive_loss(outputs.pooler_output, positives)
        self.log_component("classification_loss", loss)
        self.log_component("mpc_loss", contrastive_loss)
        weight = self.args.classification_weight
        return weight * loss + (1 - weight) * contrastive_loss, outputs

    def _run_teachers(self, input_ids: torch.Tensor, inputs: dict[str, Any]) -> torch.Tensor:
        """Positives of shape `(batch_size, num_codebooks - 1, hidden_size)` of the clips as the anchor sees them."""
        mask = None
        with ExitStack() as stack:
            stack.enter_context(self.accelerator.autocast())
            if self.args.mixup_alpha:
                # The same draw that the anchor's forward makes next, from the same state of the generator.
                with torch.random.fork_rng(devices=[]):
                    partners, shares = draw_mixup(len(input_ids), self.args.mixup_alpha, input_ids.device)
                # All codebooks of a clip have the same length, so the anchor's mask is valid for all.
                mask = torch.maximum(inputs["attention_mask"], inputs["attention_mask"][partners])
                for teacher in self.teachers:
                    stack.enter_context(mixed_embeddings(teacher.get_input_embeddings(), partners, shares))
            elif self.args.token_mixup_alpha:
                with torch.random.fork_rng(devices=[]):
                    partners, taken, _ = draw_token_mixup(inputs["attention_mask"], self.args.token_mixup_alpha)
                input_ids = mix_tokens(input_ids, partners, taken, sequence_dim=2)
            return pooled_vectors(self.teachers, input_ids, mask)


def check_source_of_positives(args: AudioFormerTrainingArguments) -> None:
    """Refuse vectors from a file for clips that change. Call it before making the file.

    Raises:
        ValueError: If `crop_frames`, `mixup_alpha` or `token_mixup_alpha` is set without `online_teachers`.
    """
    for name in ("crop_frames", "mixup_alpha", "token_mixup_alpha"):
        if getattr(args, name) and not args.online_teachers:
            raise ValueError(
                f"`{name}` {getattr(args, name)} changes clips from epoch to epoch, but vectors computed once belong "
                f"to whole, unchanged clips: set `online_teachers`, or leave out `{name}`."
            )
