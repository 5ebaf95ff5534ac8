"""Trainer of masked-LM pre-training (paper section 3.2)."""

from audioformer.modeling_audioformer import AudioFormerForMaskedLM

from ..audioformer_arguments import AudioFormerTrainingArguments
from ..examples.collators import DataCollatorForCodecMaskedLM
from .codes import CodesTrainer


class AudioFormerMLMTrainer(CodesTrainer):
    """Pre-trains a model of one codebook or several: a quarter of the codes is hidden, and the model predicts them.

    The loss is the mean over all hidden codes of a step, however they are spread over accumulated batches and
    processes. Evaluations hide the same codes every time.

    Args:
        model ([`AudioFormerForMaskedLM`]): The model to train.
        args ([`AudioFormerTrainingArguments`]): `mask_probability`, `replace_probability`, `random_probability`,
            `mask_span_length` and `mask_whole_frames` say what is hidden and how.
        data_collator (*optional*): [`DataCollatorForCodecMaskedLM`] with these settings by default.
        kwargs: As in [`AudioTrainer`].
    """

    def default_data_collator(
        self, model: AudioFormerForMaskedLM, args: AudioFormerTrainingArguments
    ) -> DataCollatorForCodecMaskedLM:
        return DataCollatorForCodecMaskedLM(
            mask_probability=args.mask_probability,
            replace_probability=args.replace_probability,
            random_probability=args.random_probability,
            mask_span_length=args.mask_span_length,
            mask_whole_frames=args.mask_whole_frames,
            codebook_size=model.config.codebook_size,
            mask_token_id=model.config.mask_token_id,
            pad_token_id=model.config.pad_token_id,
            packed=args.packed,
            seed=args.seed if args.data_seed is None else args.data_seed,
        )
