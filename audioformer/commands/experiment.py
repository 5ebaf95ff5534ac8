"""`audioformer experiment`: compares recipes and baselines by cross-validation, and writes the table."""

import argparse
from collections.abc import Sequence
from pathlib import Path

DESCRIPTION = (
    "Run the rows of an experiment that have no result yet: baselines, and recipes with several seeds, each tested on "
    "every fold with what was trained on the others. Results are added to OUTPUT/NAME.jsonl, one line per row, seed "
    "and fold, and the table with paired differences and 95 % intervals is written to NAME.md and drawn in NAME.png. "
    "What is finished is kept: the same command goes on where a killed one stopped."
)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `audioformer experiment`."""
    parser = argparse.ArgumentParser(prog="audioformer experiment", description=DESCRIPTION)
    parser.add_argument("experiment", metavar="NAME", help="an experiment of the package, or a YAML file like theirs")
    parser.add_argument("--data", metavar="PATH", help="the clips; without them, the table of what is known is made")
    parser.add_argument("--rows", nargs="+", metavar="ROW", help="rows to run (default: all)")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="seeds (default: those of the experiment)")
    parser.add_argument("--work", type=Path, metavar="DIR", help="folder for models and codes (default: runs/NAME)")
    parser.add_argument(
        "--output", type=Path, default=Path("docs/results"), metavar="DIR", help="(default: docs/results)"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="models to train side by side (default: 1)")
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the flags of the command."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.jobs < 1:
        parser.error(f"--jobs must be at least 1, got {arguments.jobs}")
    return arguments


def output_of(arguments: argparse.Namespace) -> tuple[Path, str]:
    """The folder of the results, and how to go on after the command was cut short."""
    return arguments.output, "the same command goes on from there"


def run(arguments: argparse.Namespace) -> int:
    """Run what is missing, and write the table."""
    from dataclasses import replace

    from audioformer.experiments.definition import load_experiment
    from audioformer.experiments.records import effects, read_records, save_picture, summarize, table
    from audioformer.experiments.runner import run_experiment

    experiment = load_experiment(arguments.experiment)
    if arguments.seeds is not None:
        experiment = replace(experiment, seeds=tuple(arguments.seeds))
    records_file = arguments.output / f"{experiment.name}.jsonl"
    if arguments.data is None:
        records = read_records(records_file, experiment)
        if not records:
            raise ValueError(f"{records_file} holds no results of the experiment {experiment.name}: give --data.")
    else:
        work = arguments.work or Path("runs") / experiment.name
        records = run_experiment(
            experiment, arguments.data, work, records_file, rows=arguments.rows, jobs=arguments.jobs
        )
    results = summarize(experiment, records)
    text = table(experiment, results, effects(experiment, records))
    (arguments.output / f"{experiment.name}.md").write_text(text, encoding="utf-8")
    if results:
        save_picture(experiment, results, arguments.output / f"{experiment.name}.png")
    print(text)
    return 0
