"""Arguments through `HfArgumentParser`, and values outside their ranges."""

import dataclasses

import pytest
from transformers import HfArgumentParser, TrainingArguments

from audioformer.training.arguments import DataArguments, ModelArguments
from audioformer.training.audioformer_arguments import AudioFormerArguments, AudioFormerTrainingArguments

OURS = {field.name for field in dataclasses.fields(AudioFormerTrainingArguments)} - {
    field.name for field in dataclasses.fields(TrainingArguments)
}


def parse(*flags: str):
    parser = HfArgumentParser((DataArguments, ModelArguments, AudioFormerArguments, AudioFormerTrainingArguments))
    return parser.parse_args_into_dataclasses([*flags, "--output_dir", "out"])


def test_defaults_are_the_papers():
    data, _, options, arguments = parse()
    assert (arguments.mask_probability, arguments.replace_probability, arguments.random_probability) == (
        0.25,
        0.8,
        0.1,
    )
    assert (arguments.classification_weight, arguments.mpc_temperature, arguments.mask_span_length) == (0.95, 0.05, 1)
    assert (options.hidden_size, options.num_hidden_layers, options.intermediate_size) == (768, 12, 3072)
    assert (options.num_codebooks, data.max_length_s, data.max_rejected_share) == (4, 10.0, 0.01)
    assert not data.select_on_eval and arguments.remove_unused_columns is False


def test_every_addition_has_a_flag_and_a_help_text():
    values = {int: "3", float: "0.5", bool: "true", str: "x"}
    kinds = {
        "crop_frames": int,
        "teacher_cache_dir": str,
        "layer_wise_lr_decay": float,
        "early_stopping_patience": int,
        "shuffle_buffer_size": int,
    }
    for field in dataclasses.fields(AudioFormerTrainingArguments):
        if field.name not in OURS:
            continue
        kind = kinds.get(field.name, type(field.default))
        value = "0.1" if field.name == "random_probability" else values[kind]
        flags = ["--crop_frames", "9"] if field.name == "eval_crops" else []
        parsed = parse(f"--{field.name}", value, *flags)[3]
        assert getattr(parsed, field.name) == (True if kind is bool else kind(value))
        assert field.metadata["help"]
    for group in (DataArguments, ModelArguments, AudioFormerArguments):
        assert all(field.metadata["help"] for field in dataclasses.fields(group))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--mask_probability", "0"], r"`mask_probability` must be in \(0, 1\], got 0.0"),
        (["--replace_probability", "1.2"], r"`replace_probability` must be in \[0, 1\], got 1.2"),
        (["--random_probability", "0.3"], "must not sum to more than 1, got 0.8 and 0.3"),
        (["--mask_span_length", "0"], "`mask_span_length` must be at least 1, got 0"),
        (["--push_to_hub", "true"], "`push_to_hub` would upload during training"),
        (["--shuffle_buffer_size", "0"], "`shuffle_buffer_size` must be at least 1, got 0"),
        (["--crop_frames", "0"], "`crop_frames` must be at least 1, got 0"),
        (["--classification_weight", "1.5"], r"`classification_weight` must be in \[0, 1\], got 1.5"),
        (["--mpc_temperature", "0"], "`mpc_temperature` must be more than 0, got 0.0"),
        (["--layer_wise_lr_decay", "0"], r"`layer_wise_lr_decay` must be in \(0, 1\], got 0.0"),
        (["--mixup_alpha", "-1"], "`mixup_alpha` must be at least 0.*got -1"),
        (["--eval_crops", "3"], "`eval_crops` 3 needs `crop_frames`"),
        (["--packed", "--mixup_alpha", "0.5"], "`packed` and `mixup_alpha` exclude each other"),
        (["--packed", "--token_mixup_alpha", "0.5"], "`packed` and `token_mixup_alpha` exclude each other"),
        (["--mixup_alpha", "0.5", "--token_mixup_alpha", "0.5"], "`mixup_alpha` and `token_mixup_alpha` exclude"),
        (["--early_stopping_patience", "0"], "`early_stopping_patience` must be at least 1, got 0"),
        (["--held_out_share", "1"], r"`held_out_share` must be in \(0, 1\), got 1"),
        (["--max_rejected_share", "2"], r"`max_rejected_share` must be in \[0, 1\], got 2"),
        (["--max_length_s", "0"], "`max_length_s` must be more than 0 seconds, got 0"),
        (["--num_codebooks", "0"], "`num_codebooks` must be at least 1, got 0"),
        (["--max_train_clips", "0"], "`max_train_clips` must be at least 1, got 0"),
        (["--dropout", "1"], r"`dropout` must be in \[0, 1\), got 1"),
        (["--attention_dropout", "-1"], r"`attention_dropout` must be in \[0, 1\), got -1"),
        (["--method", "ft2"], "needs `teachers`"),
        (["--codebooks", "-1"], r"`codebooks` must be at least 0 and below `num_codebooks` \(4\), got -1"),
    ],
)
def test_values_out_of_range_are_named(flags, message):
    with pytest.raises(ValueError, match=message):
        parse(*flags)
