"""`audioformer probe`: what the frozen vectors of models tell about labelled audio."""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NoReturn

from audioformer.training.arguments import PROBE
from audioformer.training.families import Family, choose_family, families
from audioformer.training.outputs import quiet_loading
from audioformer.training.probing.arguments import ProbeArguments
from audioformer.training.probing.run import ProbeRun, create_probe_run, probe
from audioformer.training.recipes import similar_names
from audioformer.training.settings import groups_of, typed_fields

from ..failures import explain
from .arguments import SECTIONS, add_flag, with_dashes

DESCRIPTION = (
    "Compute one vector per clip with each model as it is, frozen, and fit small classifiers on the vectors. Base "
    "models, pre-trained models and classifiers of every family can be probed. The models of one call are rows of one "
    "table, with their differences to the first, paired by clip."
)
EXAMPLE = """example:
  audioformer probe --model runs/pretrained runs/finetuned --data sounds/ --output runs/probe
"""
STARTS = ("model", "family", "help")


class ProbeParser(argparse.ArgumentParser):
    """The flags of the command for the families of some models, all absent unless given.

    Args:
        chosen (sequence of `Family`): The families.
    """

    def __init__(self, chosen: Sequence[Family]) -> None:
        super().__init__(
            prog="audioformer probe",
            usage="audioformer probe --model FOLDER_OR_ID [MODEL ...] --data SOURCE --output FOLDER [options]",
            description=DESCRIPTION,
            epilog=EXAMPLE,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            argument_default=argparse.SUPPRESS,
            add_help=False,
            allow_abbrev=False,
        )
        add_start_flags(self.add_argument_group("start"))
        section = self.add_argument_group("probes")
        for entry, hint in typed_fields(ProbeArguments, PROBE):
            add_flag(section, entry, hint, True, PROBE)
        for title, entries in _settings_of(chosen).items():
            section = self.add_argument_group(title)
            for entry, hint in entries:
                add_flag(section, entry, hint, True, PROBE)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"audioformer probe: error: {message}\nTry `audioformer probe --help`.\n")


def add_start_flags(section: Any) -> None:
    """The flags that decide which others there are."""
    section.add_argument("--model", nargs="+", metavar="ID", help="folders or Hub ids of the models, of any families")
    section.add_argument("-h", "--help", action="store_true", help="this text; with --model, for its families")


def parse(argv: Sequence[str]) -> ProbeRun:
    """Settings of the command. Anything wrong ends the program with status 2 and one line that names it."""
    arguments = [with_dashes(argument) for argument in argv]
    start = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    add_start_flags(start)
    try:
        first, _ = start.parse_known_args(arguments)
        chosen = list({family.name: family for family in map(choose_family, first.model or [])}.values())
    except (ValueError, OSError, argparse.ArgumentError) as error:
        if not {"-h", "--help"} & set(arguments):
            ProbeParser(families()).error(explain(error) or str(error))
        first, chosen = argparse.Namespace(help=True), []
    parser = ProbeParser(chosen or families())
    if first.help:
        parser.print_help()
        parser.exit()
    namespace, unknown = parser.parse_known_args(arguments)
    given = vars(namespace)
    try:
        if unknown:
            flag = unknown[0].partition("=")[0]
            known = [option for action in parser._actions for option in action.option_strings]
            raise ValueError(f"{flag} is unknown to `audioformer probe` of these models{similar_names(flag, known)}.")
        own = {entry.name for entry in fields(ProbeArguments)}
        options = ProbeArguments(**{name: value for name, value in given.items() if name in own})
        models = given.pop("model", [])
        return create_probe_run(models, options, **{k: value for k, value in given.items() if k not in own})
    except (ValueError, TypeError, ImportError, OSError) as error:
        parser.error(explain(error) or str(error))


def run(settings: ProbeRun) -> int:
    """Probe the models."""
    quiet_loading()
    probe(settings)
    return 0


def output_of(settings: ProbeRun) -> tuple[Path, str]:
    """The folder that is written, and how to go on after the command was cut short."""
    return settings.output, "the same command goes on from there"


def _settings_of(chosen: Sequence[Family]) -> dict[str, list[tuple[Field, Any]]]:
    """The settings of all families by section, each once."""
    sections: dict[str, list[tuple[Field, Any]]] = {title: [] for title in SECTIONS}
    seen = set(STARTS)
    for title, entry, hint in _all_settings(chosen):
        if entry.name not in seen:
            seen.add(entry.name)
            sections[title].append((entry, hint))
    return {title: entries for title, entries in sections.items() if entries}


def _all_settings(chosen: Sequence[Family]) -> Iterator[tuple[str, Field, Any]]:
    for family in chosen:
        for title, group in zip(SECTIONS, groups_of(family), strict=True):
            for entry, hint in typed_fields(group, PROBE):
                yield title, entry, hint
