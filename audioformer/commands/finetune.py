"""`audioformer finetune`: fine-tune a classifier and test it once."""

from collections.abc import Sequence
from pathlib import Path

from audioformer.training.families import Settings
from audioformer.training.finetuning import finetune
from audioformer.training.outputs import leave_process_group, quiet_loading

from .arguments import parse_settings

DESCRIPTION = "Fine-tune a classifier on your labelled audio, from pre-trained, fine-tuned or fresh weights."


def parse(argv: Sequence[str]) -> Settings:
    """Settings of the command."""
    return parse_settings(argv, "finetune", DESCRIPTION)


def run(settings: Settings) -> int:
    """Fine-tune and test a classifier."""
    quiet_loading()
    finetune(settings)
    leave_process_group()
    return 0


def output_of(settings: Settings) -> tuple[Path, str]:
    """The folder that is written, and how to go on after the command was cut short."""
    return Path(settings.training.output_dir), "the same command with --resume-from-checkpoint goes on from there"
