"""The command line: `audioformer COMMAND`. Each command is a module of its own, imported when it is asked for."""

import argparse
import difflib
import importlib
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

from . import __version__
from .failures import INTERRUPTED, USER_ERROR, broken_output, explain

COMMANDS = {
    "classify": "label audio files",
    "encode": "turn audio into codes, once, as a data set of Parquet files",
    "verify": "check that the files of a folder of codes are those that were written",
    "pretrain": "pre-train a model on your audio",
    "finetune": "fine-tune a classifier or tagger on your labelled audio",
    "evaluate": "measure a classifier on labelled audio",
    "probe": "compare what frozen models know of labelled audio, by k-NN and small classifiers",
    "compare": "measure several classifiers on the same labelled audio, side by side",
    "experiment": "compare recipes and baselines by cross-validation",
    "app": "open a page in the browser that shows what a classifier hears",
    "export": "write a classifier as ONNX files",
    "statistics": "measure the mean and deviation of your audio, for the front end of a model",
    "convert": "turn a checkpoint of other code into a folder of this package",
    "push": "check a finished folder and upload it to the Hub",
}
"""Commands and what they do. Module `commands.NAME` has `parse(argv)` and `run(arguments) -> int`; one that writes a
folder also has `output_of(arguments)`, the folder and how to go on after it was cut short."""

TRAINER_DEBUG = ("underflow_overflow", "tpu_metrics_debug")
"""Values with which `--debug` is a setting of transformers' Trainer."""


def build_parser() -> argparse.ArgumentParser:
    """The parser of everything before the command's own flags."""
    listing = "\n".join(f"  {name:<12}{text}" for name, text in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="audioformer",
        usage="audioformer [-h] [--version] [--debug] COMMAND ...",
        description="Classify sound, and train models that do.",
        epilog=f"commands:\n{listing}\n\n`audioformer COMMAND --help` describes a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"audioformer {__version__}")
    # Taken out of the command line before, wherever it stands.
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error; also after COMMAND")
    parser.add_argument("command", metavar="COMMAND", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the `audioformer` command.

    What the user or the machine must change is reported in one line; an error of the program itself is raised.

    Args:
        argv (sequence of `str`, *optional*): The command line, by default that of the process. `--debug` in it raises
            every error, for its traceback.

    Returns:
        `int`: The exit status: 0; 1 for what the user or the machine must change; 130 after Ctrl-C. Wrong usage exits
        with 2.
    """
    argv, debug = _without_debug(sys.argv[1:] if argv is None else list(argv))
    run = Run(argv)
    try:
        try:
            return run()
        finally:
            # Whether somebody reads the output shows here, not while Python shuts down.
            for stream in filter(None, (sys.stdout, sys.stderr)):
                stream.flush()
    except KeyboardInterrupt:
        if debug:
            raise
        return _report(run, "stopped by Ctrl-C", INTERRUPTED)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and broken_output():
            return _nobody_reads()
        message = explain(error)
        if message is None or debug:
            raise
        return _report(run, f"error: {message}", USER_ERROR, finished=isinstance(error, ValueError))


class Run:
    """One call of a command.

    Args:
        argv (sequence of `str`): The command line, without the name of the program.

    Attributes:
        name (`str`): What the messages begin with.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self.argv = argv
        self.name = "audioformer"
        self.started_s = time.time()
        self._command: Any = None
        self._arguments: Any = None

    def __call__(self) -> int:
        parser = build_parser()
        name = parser.parse_args(self.argv[:1]).command
        if name not in COMMANDS:
            close = difflib.get_close_matches(name, COMMANDS, n=1)
            guess = f" (did you mean {close[0]}?)" if close else ""
            parser.error(f"unknown command {name!r}{guess}; commands are {', '.join(COMMANDS)}")
        self.name = f"audioformer {name}"
        self._command = importlib.import_module(f"audioformer.commands.{name}")
        self._arguments = self._command.parse(self.argv[1:])
        # Imported here because it takes seconds: wrong flags are reported at once.
        from .commands.threads import share_cores
        from .registration import register_auto_classes

        register_auto_classes()
        advice = share_cores()
        if advice is not None:
            print(f"{self.name}: advice: {advice}", file=sys.stderr)
        return self._command.run(self._arguments)

    def left_behind(self) -> str | None:
        """What a command that was cut short has written, and how to go on; `None` if it has written nothing."""
        if self._arguments is None or not hasattr(self._command, "output_of"):
            return None
        output, advice = self._command.output_of(self._arguments)
        try:
            # A second is the resolution of some file systems.
            written = any(file.stat().st_mtime > self.started_s - 1 for file in output.rglob("*") if file.is_file())
        except OSError:
            return None
        return f"what it has written is in {output}: {advice}" if written else None


def _without_debug(argv: list[str]) -> tuple[list[str], bool]:
    """The command line without `--debug`, and whether it was there. With one of their values it is the Trainer's."""
    before = argv[: argv.index("--")] if "--" in argv else argv
    ours = [
        index
        for index, argument in enumerate(before)
        if argument == "--debug" and argv[index + 1 : index + 2] not in ([value] for value in TRAINER_DEBUG)
    ]
    return [argument for index, argument in enumerate(argv) if index not in ours], bool(ours)


def _report(run: Run, message: str, status: int, finished: bool = False) -> int:
    """Print why a command ends, and what it leaves behind unless it has `finished` with it."""
    try:
        print(f"{run.name}: {message}", file=sys.stderr)
        left = None if finished else run.left_behind()
        if left is not None:
            print(f"{run.name}: {left}", file=sys.stderr)
    except BrokenPipeError:
        _nobody_reads()
    return status


def _nobody_reads() -> int:
    """Keep Python from writing, and failing once more, when it shuts down."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in filter(None, (sys.stdout, sys.stderr)):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(nowhere, stream.fileno())
    return USER_ERROR


if __name__ == "__main__":
    sys.exit(main())
