"""Trainers of BEATs' pre-training: masked audio modelling, and the distillation of a tokenizer (arXiv 2212.09058)."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from accelerate.utils import send_to_device
from torch import nn
from transformers import PreTrainedModel

from audioformer.modeling_beats import BeatsForMaskedAudioModeling, BeatsForTokenizerDistillation

from ..arguments import AudioTrainingArguments
from .base import AudioTrainer
from .code_usage import CodeUsage, perplexity, used_share

FEW_LABELS = 1000
"""Of fewer labels, a low perplexity says nothing about the tokenizer."""


class CodesOfPatchesTrainer(AudioTrainer):
    """What both trainings share: the mean over the patches of a step, and the use of the codes in the log.

    Each log record of training has `codes_used`, the share of all codes that occurred since the last, and
    `code_perplexity`; records of evaluations have both with the prefix `eval_`.

    Args:
        model (`PreTrainedModel`): The model to train.
        args ([`AudioTrainingArguments`]): Settings.
        min_perplexity (`float`): A training stops where the perplexity of the codes in a log record is lower.
        kwargs: As in [`AudioTrainer`]. Batches have `input_features` and `attention_mask`.

    Raises:
        ValueError: When the codes have collapsed.
    """

    # `compute_loss` divides by the number of patches in all accumulated batches.
    loss_is_scaled_for_ga = True

    def __init__(
        self, model: PreTrainedModel, args: AudioTrainingArguments, *, min_perplexity: float = 0.0, **kwargs: Any
    ) -> None:
        self.usage = {prefix: CodeUsage(model.config.codebook_size) for prefix in ("", "eval_")}
        self.min_perplexity = min_perplexity
        super().__init__(model=model, args=args, **kwargs)

    def run_model(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, Any]:
        """Run a batch.

        Returns:
            `tuple`: The mean loss over the patches that count; their labels, -100 elsewhere; and the outputs.
        """
        raise NotImplementedError

    def count_patches(self, attention_mask: torch.Tensor) -> int:
        """Number of patches of a batch over which the loss is a mean."""
        raise NotImplementedError

    def get_batch_samples(
        self, epoch_iterator: Iterator, num_batches: int, device: torch.device
    ) -> tuple[list, torch.Tensor | int | None]:
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if not batches:
            return batches, None
        own = torch.tensor([sum(self.count_patches(batch["attention_mask"]) for batch in batches)], device=device)
        return batches, self.accelerator.gather(own).sum().clamp(min=1)

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Any]:
        count = self.count_patches(inputs["attention_mask"])
        loss, labels, outputs = self.run_model(model, inputs)
        self.usage["" if self.model.training else "eval_"].add(labels)
        if num_items_in_batch is not None:
            # The gradients of the processes are averaged, and these are the patches of all of them.
            loss = loss * (count * self.accelerator.num_processes / num_items_in_batch)
        return (loss, outputs) if return_outputs else loss

    def prediction_step(
        self, model: nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
        # The Trainer would look for labels in the batch, which are only computed now.
        inputs = send_to_device(inputs, self.args.device)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss = self.compute_loss(model, inputs)
        assert isinstance(loss, torch.Tensor)
        return loss.detach(), None, None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        for prefix, usage in self.usage.items():
            if f"{prefix}loss" not in logs:
                continue
            counts = self.accelerator.reduce(usage.take(self.args.device), "sum")
            if counts.any():
                logs[f"{prefix}codes_used"] = used_share(counts)
                logs[f"{prefix}code_perplexity"] = perplexity(counts)
                if not prefix:
                    self._check_codes(counts)
        super().log(logs, start_time)

    def _check_codes(self, counts: torch.Tensor) -> None:
        found = perplexity(counts)
        if counts.sum() >= FEW_LABELS and found < self.min_perplexity:
            occurring = f"{int((counts > 0).sum())} of {len(counts)} occur"
            raise ValueError(
                f"The codes have collapsed: at step {self.state.global_step}, {occurring}, with a perplexity of "
                f"{found:.2f}, below `min_perplexity` {self.min_perplexity:g}. Labels that are nearly all the same "
                "teach nothing. Where to look: sound that is mostly silence, the random projection "
                "(`random_projection_distance`, `random_projection_seed`), or the learning rate of the tokenizer."
            )


def _frozen(model: Any, device: torch.device) -> Any:
    return model.to(device).eval().requires_grad_(False)


class BeatsMaskedTrainer(CodesOfPatchesTrainer):
    """Pre-trains [`BeatsForMaskedAudioModeling`] on the labels of a frozen tokenizer.

    The log has `masked_accuracy`, the share of the hidden patches whose label was predicted.

    Args:
        model ([`BeatsForMaskedAudioModeling`]): The model to train.
        args ([`AudioTrainingArguments`]): Settings.
        tokenizer (`PreTrainedModel`): Its outputs have `labels`.
        kwargs: As in [`CodesOfPatchesTrainer`]. Batches have `noise` as well, see [`DataCollatorForMaskedPatches`].
    """

    model: BeatsForMaskedAudioModeling

    def __init__(
        self,
        model: BeatsForMaskedAudioModeling,
        args: AudioTrainingArguments,
        *,
        tokenizer: PreTrainedModel,
        **kwargs: Any,
    ) -> None:
        super().__init__(model, args, **kwargs)
        self.tokenizer = _frozen(tokenizer, self.args.device)

    def count_patches(self, attention_mask: torch.Tensor) -> int:
        return sum(real - self.model.config.num_kept(real) for real in attention_mask.sum(1).tolist())

    def run_model(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, Any]:
        with torch.no_grad():
            labels = self.tokenizer(inputs["input_features"], inputs["attention_mask"]).labels
        outputs = model(**inputs, labels=labels)
        hidden = outputs.hidden_patches
        right = (outputs.logits.detach().argmax(-1) == labels) & hidden
        self.log_component("masked_accuracy", right.sum() / hidden.sum().clamp(min=1))
        return outputs.loss, labels, outputs


class BeatsTokenizerTrainer(CodesOfPatchesTrainer):
    """Trains [`BeatsForTokenizerDistillation`] to put what a frozen teacher makes of patches into codes.

    The log has the components of the loss, `estimation_loss` and `codebook_loss`.

    Args:
        model ([`BeatsForTokenizerDistillation`]): The tokenizer with its estimator.
        args ([`AudioTrainingArguments`]): Settings.
        teacher (`PreTrainedModel`): The model that `targets_of` runs.
        targets_of (function): Targets of shape `(batch_size, num_patches, target_size)`, from the teacher, features
            and mask.
        kwargs: As in [`CodesOfPatchesTrainer`].
    """

    model: BeatsForTokenizerDistillation

    def __init__(
        self,
        model: BeatsForTokenizerDistillation,
        args: AudioTrainingArguments,
        *,
        teacher: PreTrainedModel,
        targets_of: Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor],
        **kwargs: Any,
    ) -> None:
        super().__init__(model, args, **kwargs)
        self.teacher = _frozen(teacher, self.args.device)
        self.targets_of = targets_of

    def count_patches(self, attention_mask: torch.Tensor) -> int:
        return int(attention_mask.sum())

    def run_model(self, model: nn.Module, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, Any]:
        features, mask = inputs["input_features"], inputs["attention_mask"]
        with torch.no_grad():
            targets = self.targets_of(self.teacher, features, mask)
        outputs = model(features, mask, targets=targets)
        for name in ("estimation_loss", "codebook_loss"):
            self.log_component(name, outputs[name])
        return outputs.loss, outputs.labels, outputs
