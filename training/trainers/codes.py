"""What the trainers of AudioFormer add to those of every model family: batches of packed clips."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedModel

from ..audioformer_arguments import AudioFormerTrainingArguments
from ..examples.collators import DataCollatorForCodecMaskedLM
from .base import AudioTrainer


class CodesTrainer(AudioTrainer):
    """[`AudioTrainer`] for sequences of codes, such as the items of [`CodeExamples`].

    Other data sets whose items have `input_ids` (and `labels`) work as well; see [`DataCollatorForCodecMaskedLM`] for
    how the masks of their items are drawn. Evaluations mask the same codes every time.

    Args:
        model (`PreTrainedModel`): The model to train.
        args ([`AudioFormerTrainingArguments`]): Settings.
        kwargs: As in [`AudioTrainer`].

    Raises:
        ValueError: If `args` are not [`AudioFormerTrainingArguments`], or `packed` is set for a model that does not
            use flash attention.
    """

    args: AudioFormerTrainingArguments
    arguments_class = AudioFormerTrainingArguments

    def __init__(self, model: PreTrainedModel, args: AudioFormerTrainingArguments, **kwargs: Any) -> None:
        self.check_arguments(args)
        if args.packed and "flash" not in model.config._attn_implementation:
            raise ValueError(
                '`packed` needs the attention "flash_attention_2", which keeps the clips of a packed row apart; '
                f"the model has {model.config._attn_implementation!r}. Use `group_by_length` with other attentions."
            )
        super().__init__(model=model, args=args, **kwargs)

    def get_eval_dataloader(self, eval_dataset: str | Dataset | None = None) -> DataLoader:
        with self._evaluation_batches():
            return super().get_eval_dataloader(eval_dataset)

    def get_test_dataloader(self, test_dataset: Dataset) -> DataLoader:
        with self._evaluation_batches():
            return super().get_test_dataloader(test_dataset)

    @contextmanager
    def _evaluation_batches(self) -> Iterator[None]:
        """Data loaders made in this context pad, and mask as in epoch 0.

        Evaluations take the first dimension of a batch for the number of clips.
        """
        collator: Any = self.data_collator
        if isinstance(collator, DataCollatorForCodecMaskedLM):
            seed = self.args.seed if collator.seed is None else collator.seed
            self.data_collator = replace(collator, packed=False, seed=seed)
            self.data_collator.set_epoch(0)
        elif getattr(collator, "packed", False):
            self.data_collator = replace(collator, packed=False)
        try:
            yield
        finally:
            self.data_collator = collator
