"""`audioformer pretrain`: pre-training, as the model family does it."""

from collections.abc import Sequence
from pathlib import Path

from audioformer.training.families import Settings
from audioformer.training.outputs import leave_process_group, quiet_loading

from .arguments import parse_settings

DESCRIPTION = "Pre-train a model on your audio."


def parse(argv: Sequence[str]) -> Settings:
    """Settings of the command."""
    return parse_settings(argv, "pretrain", DESCRIPTION)


def run(settings: Settings) -> int:
    """Pre-train the models of the settings."""
    if settings.family.pretrain is None:
        raise ValueError(f"{settings.family.title} cannot be pre-trained here: it can be fine-tuned.")
    quiet_loading()
    settings.family.pretrain(settings)
    leave_process_group()
    return 0


def output_of(settings: Settings) -> tuple[Path, str]:
    """The folder that is written, and how to go on after the command was cut short."""
    return Path(settings.training.output_dir), "the same command with --resume-from-checkpoint goes on from there"
