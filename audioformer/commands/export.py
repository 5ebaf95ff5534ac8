"""`audioformer export`: a classifier and the encoder of its codec as ONNX files that need no PyTorch."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from audioformer.export.onnx_export import (
    OnnxReport,
    export_classifier,
    export_codec_encoder,
    require_onnx,
)
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.files import ONNX_CLASSIFIER, ONNX_CODEC_ENCODER
from audioformer.model_cards import TINY_ESC10
from audioformer.modeling_audioformer import AudioFormerForAudioClassification
from audioformer.training.classifiers import is_classifier, read_config
from audioformer.training.outputs import quiet_loading

DESCRIPTION = (
    "Write a classifier and the encoder of its codec as ONNX files, for any batch size and length. Both are compared "
    "with PyTorch in onnxruntime: a file that computes something else is not kept."
)
EPILOG = """examples:
  audioformer export --onnx --model runs/ft1 --output runs/ft1/onnx
  audioformer export --onnx --model runs/ft1 --output runs/ft1/onnx --parts classifier     (a codec other than EnCodec)
"""
PARTS = {"classifier": ONNX_CLASSIFIER, "codec": ONNX_CODEC_ENCODER}


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
        "--parts",
        nargs="+",
        choices=list(PARTS),
        default=list(PARTS),
        help=f"what to write: the classifier ({ONNX_CLASSIFIER}), the encoder of the codec ({ONNX_CODEC_ENCODER}) "
        "(default: both)",
    )
    return parser


def export(model: str, output: Path, parts: Sequence[str] = tuple(PARTS), revision: str | None = None) -> None:
    """Write the parts of a model into `output` and print what was found.

    Args:
        model (`str`): Folder or Hub id of a classifier with its extractor.
        output (`Path`): Folder of the files; made if missing. Files of the same names are replaced.
        parts (sequence of `str`, defaults to both): `"classifier"`, `"codec"`.
        revision (`str`, *optional*): Revision of a model on the Hub.

    Raises:
        ValueError: If a package is missing, the model is no classifier or has no extractor, its codec is no EnCodec,
            or a file does not compute what PyTorch does.
    """
    require_onnx()
    config = read_config(model, revision)
    if not is_classifier(config):
        raise ValueError(f"`--model` {model!r} must be a classifier, it is {config.architectures}.")
    output.mkdir(parents=True, exist_ok=True)
    write = {"classifier": _export_classifier, "codec": _export_codec}
    for part in parts:
        print(write[part](model, revision, output / PARTS[part]).to_text())


def _export_classifier(model: str, revision: str | None, file: Path) -> OnnxReport:
    return export_classifier(AudioFormerForAudioClassification.from_pretrained(model, revision=revision), file)


def _export_codec(model: str, revision: str | None, file: Path) -> OnnxReport:
    try:
        extractor = AudioFormerFeatureExtractor.from_pretrained(model, revision=revision)
    except OSError as error:
        raise ValueError(f"`--model` {model!r} has no feature extractor, so no codec: {error}") from error
    return export_codec_encoder(extractor, file)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of `audioformer export`."""
    arguments = build_parser().parse_args(argv)
    quiet_loading()
    export(arguments.model, Path(arguments.output), arguments.parts, arguments.model_revision)
    return 0
