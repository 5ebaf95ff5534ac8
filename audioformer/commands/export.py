"""`audioformer export`: the parts of a model as ONNX files that need no PyTorch."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from audioformer.export.onnx_export import require_onnx
from audioformer.model_cards import TINY_ESC10
from audioformer.training.classifiers import read_classifier_config
from audioformer.training.families import find_family, read_model_type
from audioformer.training.outputs import quiet_loading

DESCRIPTION = (
    "Write a classifier, and the front end that can be exported with it, as ONNX files for any batch size and length. "
    "Every file is compared with PyTorch in onnxruntime, and kept only if it computes the same."
)
EPILOG = """examples:
  audioformer export --onnx --model runs/ft1 --output runs/ft1/onnx
  audioformer export --onnx --model runs/ft1 --output runs/ft1/onnx --parts classifier
"""


def build_parser() -> argparse.ArgumentParser:
    """The flags of `audioformer export`."""
    parser = argparse.ArgumentParser(
        prog="audioformer export",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--onnx", action="store_true", required=True, help="the format: ONNX is the only one")
    parser.add_argument(
        "--model",
        default=str(TINY_ESC10),
        metavar="ID",
        help="folder or Hub id of a classifier with its feature extractor (default: the small one of the package)",
    )
    parser.add_argument("--model-revision", metavar="REV", help="revision of a model on the Hub")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the files; made if missing")
    parser.add_argument(
        "--parts", nargs="+", metavar="PART", help="parts to write, such as classifier (default: all of the model)"
    )
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Arguments of the command."""
    return build_parser().parse_args(argv)


def run(arguments: argparse.Namespace) -> int:
    """Export the parts of a model."""
    quiet_loading()
    export(arguments.model, Path(arguments.output), arguments.parts, arguments.model_revision)
    return 0


def export(model: str, output: Path, parts: Sequence[str] | None = None, revision: str | None = None) -> None:
    """Write the parts of a model into `output` and print what was found.

    Args:
        model (`str`): Folder or Hub id of a classifier with its extractor.
        output (`Path`): Folder of the files; made if missing. Files of the same names are replaced.
        parts (sequence of `str`, *optional*): Parts by name; by default all that the model family can export.
        revision (`str`, *optional*): Revision of a model on the Hub.

    Raises:
        ValueError: If a package is missing, the model is not a classifier, its family cannot export a part, or a file
            does not compute what PyTorch does.
    """
    require_onnx()
    family = find_family(read_model_type(model, revision), f"`--model` {model!r}")
    read_classifier_config(family, model, revision)
    chosen = list(family.exporters) if parts is None else list(parts)
    unknown = [part for part in chosen if part not in family.exporters]
    if unknown or not chosen:
        known = ", ".join(family.exporters) or "none"
        raise ValueError(f"`--parts` {' '.join(unknown) or 'is empty'}: parts of {family.title} are {known}.")
    output.mkdir(parents=True, exist_ok=True)
    for part in chosen:
        print(family.exporters[part](model, revision, output / family.export_files[part]).to_text())


def output_of(arguments: argparse.Namespace) -> tuple[Path, str]:
    """The folder that is written, and how to go on after the command was cut short."""
    return Path(arguments.output), "the same command writes it anew"
