"""The command line: `audioformer COMMAND`. Each command is a module of its own, imported when it is asked for."""

import argparse
import difflib
import importlib
import sys
from collections.abc import Sequence

from . import __version__

COMMANDS = {
    "classify": "label audio files",
    "encode": "turn audio into codes, once, as a data set of Parquet files",
    "verify": "check that the files of a folder of codes are those that were written",
    "pretrain": "pre-train a model on your audio",
    "finetune": "fine-tune a classifier or tagger on your labelled audio",
    "evaluate": "measure a classifier on labelled audio",
    "app": "open a page in the browser that shows what a classifier hears",
    "export": "write a classifier as ONNX files",
    "push": "check a finished folder and upload it to the Hub",
}
"""Commands and what they do. Module `commands.NAME` has `parse(argv)` and `run(arguments) -> int`."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of everything before the command's own flags."""
    listing = "\n".join(f"  {name:<10}{text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="audioformer",
        usage="audioformer [-h] [--version] COMMAND ...",
        description="Classify sound, and train models that do.",
        epilog=f"commands:\n{listing}\n\n`audioformer COMMAND --help` describes a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"audioformer {__version__}")
    parser.add_argument("command", metavar="COMMAND", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the `audioformer` command.

    Args:
        argv (sequence of `str`, *optional*): The command line, by default that of the process.

    Returns:
        `int`: The exit status: 0, or 1 for what the user can fix. Wrong usage exits with 2.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    parser = build_parser()
    name = parser.parse_args(argv[:1]).command
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, n=1)
        guess = f" (did you mean {close[0]}?)" if close else ""
        parser.error(f"unknown command {name!r}{guess}; commands are {', '.join(COMMANDS)}")
    return run_command(name, argv[1:])


def run_command(name: str, argv: Sequence[str]) -> int:
    """Run one of `COMMANDS`; what the user can fix is reported in one message, without a traceback."""
    command = importlib.import_module(f"audioformer.commands.{name}")
    try:
        arguments = command.parse(argv)
        # Imported here because it takes seconds: wrong flags are reported at once.
        from .registration import register_auto_classes

        register_auto_classes()
        return command.run(arguments)
    except ValueError as error:
        print(f"audioformer {name}: error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
