"""`audioformer evaluate`: the metric of a saved classifier on labelled audio, with its interval and its data."""

from collections.abc import Sequence
from pathlib import Path

from audioformer.training.families import Settings
from audioformer.training.outputs import leave_process_group, quiet_loading
from audioformer.training.testing import evaluate

from .arguments import parse_settings

DESCRIPTION = "Measure a fine-tuned classifier on labelled audio."


def parse(argv: Sequence[str]) -> Settings:
    """Settings of the command."""
    return parse_settings(argv, "evaluate", DESCRIPTION)


def run(settings: Settings) -> int:
    """Measure a classifier."""
    quiet_loading()
    evaluate(settings)
    leave_process_group()
    return 0


def output_of(settings: Settings) -> tuple[Path, str]:
    """The folder that is written, and how to go on after the command was cut short."""
    return Path(settings.training.output_dir), "the same command writes it anew"
