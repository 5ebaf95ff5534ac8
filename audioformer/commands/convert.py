"""`audioformer convert`: a checkpoint of other code as a folder of this package."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from audioformer.data.readers.tables import read_table
from audioformer.training.conversion import sha256_of, weight_files
from audioformer.training.families import Converter, families
from audioformer.training.outputs import quiet_loading

DESCRIPTION = (
    "Turn a checkpoint that was published for other code into a folder that every command, the Auto classes and "
    "`pipeline` load. Only tensors and plain values are read from the file: anything else it holds is named, and the "
    "file refused. The SHA-256 of the file is printed, to be compared with what its publisher states."
)


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `audioformer convert`."""
    kinds = converters()
    example = next(reversed(kinds))
    parser = argparse.ArgumentParser(
        prog="audioformer convert",
        description=DESCRIPTION,
        epilog=f"example:\n  audioformer convert {example} FILE.pt --output {example}/\n",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("kind", choices=list(kinds), help=f"kind of the checkpoint: {', '.join(kinds)}")
    parser.add_argument("file", metavar="FILE", type=Path, help="the checkpoint, or a folder with it")
    parser.add_argument("--output", required=True, metavar="DIR", type=Path, help="folder to write: new or empty")
    parser.add_argument(
        "--labels",
        metavar="CSV",
        type=Path,
        help="table with the columns mid and display_name, such as AudioSet's class_labels_indices.csv: names for the "
        "labels of a classifier whose file has only their ids, or, in the order of the rows, not even these",
    )
    return parser


def converters() -> dict[str, Converter]:
    """The converters of all model families, by the kind of checkpoint."""
    return {kind: converter for family in families() for kind, converter in family.converters.items()}


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the flags of the command."""
    return build_parser().parse_args(argv)


def run(arguments: argparse.Namespace) -> int:
    """Convert the file, and say what was written.

    Raises:
        ValueError: If the file does not exist or is no such checkpoint, or the folder is not empty.
    """
    quiet_loading()
    file, output = arguments.file, arguments.output
    if not weight_files(file):
        raise ValueError(f"The checkpoint {str(file)!r} {'has no weights' if file.is_dir() else 'does not exist'}.")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise ValueError(f"`--output` {str(output)!r} must be a new or empty folder.")
    sha256 = sha256_of(file)
    print(f"SHA-256 of {file.resolve().name}: {sha256}", flush=True)
    names = None if arguments.labels is None else read_label_names(arguments.labels)
    print(converters()[arguments.kind](file, output, names, sha256))
    return 0


def read_label_names(path: Path) -> Mapping[str, str]:
    """Names of labels by their ids.

    Args:
        path (`Path`): Table with the columns `mid` and `display_name`.

    Raises:
        ValueError: If the table cannot be read, or lacks a column.
    """
    return {row["mid"]: row["display_name"] for row in read_table(path, ("mid", "display_name"))}


def output_of(arguments: argparse.Namespace) -> tuple[Path, str]:
    """The folder that is written, and how to go on after the command was cut short."""
    return arguments.output, "delete it, and the same command writes it anew"
