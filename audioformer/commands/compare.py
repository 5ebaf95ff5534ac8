"""`audioformer compare`: several classifiers, of any families, on the same labelled audio."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from audioformer.training.families import Settings

from ..failures import explain
from .arguments import SECTIONS, add_setting_flags, shared_fields, with_dashes

DESCRIPTION = (
    "Measure several classifiers, of any model families, on the same labelled audio, each once. OUTPUT gets one table "
    "(compare.md, compare.json): the metric with its interval, the paired difference to the first model with its "
    "interval, parameters, speed and memory; one picture (compare.png); and a folder for each model as `audioformer "
    "evaluate` writes it. Finished models are kept: the same command goes on where a killed one stopped, and one with "
    "more models measures only these."
)
EXAMPLE = "audioformer compare --models runs/a runs/b --data sounds/ --output runs/comparison"


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `audioformer compare`."""
    from audioformer.training.comparison import NOT_SETTINGS

    parser = argparse.ArgumentParser(
        prog="audioformer compare",
        usage="audioformer compare --models ID [ID ...] --data SOURCE --output FOLDER [--ensemble] [options]",
        description=DESCRIPTION,
        epilog=f"Example: {EXAMPLE}",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--models",
        nargs="+",
        required=True,
        metavar="ID",
        help="folders or Hub ids of classifiers with the same labels, in any order; the others are compared with the "
        "first",
    )
    parser.add_argument("--data", required=True, metavar="SOURCE", help="audio with labels, as for `evaluate`")
    parser.add_argument("--output", required=True, metavar="FOLDER", type=Path, help="folder to write")
    parser.add_argument(
        "--ensemble",
        action="store_true",
        default=False,
        help="add the average of all models: the mean of their probabilities, which are the softmax or the sigmoids "
        "of their scores, as the loss of each has it",
    )
    fields = shared_fields("evaluate")
    for title in SECTIONS:
        entries = [(entry, hint) for entry, hint in fields[title] if entry.name not in NOT_SETTINGS]
        text = "for those models whose family has them" if title == SECTIONS[2] else None
        add_setting_flags(parser.add_argument_group(title, text), entries, "evaluate")
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Flags of the command, with the settings of each model as `settings`."""
    from audioformer.training.comparison import comparison_settings

    parser = build_parser()
    given: dict[str, Any] = vars(parser.parse_args([with_dashes(argument) for argument in argv]))
    models, output, ensemble = (given.pop(name) for name in ("models", "output", "ensemble"))
    try:
        settings: dict[str, Settings] = comparison_settings(models, output, **given)
    except (ValueError, TypeError, ImportError, OSError) as error:
        parser.error(explain(error) or str(error))
    return argparse.Namespace(settings=settings, output=output, ensemble=ensemble)


def run(arguments: argparse.Namespace) -> int:
    """Measure the models that are not finished, and write the table."""
    from audioformer.training.comparison import compare
    from audioformer.training.outputs import leave_process_group, quiet_loading

    quiet_loading()
    compare(arguments.settings, arguments.output, arguments.ensemble)
    leave_process_group()
    return 0


def output_of(arguments: argparse.Namespace) -> tuple[Path, str]:
    """The folder that is written, and how to go on after the command was cut short."""
    return arguments.output, "finished models are kept, and the same command goes on with the others"
