"""`audioformer statistics`: mean and standard deviation of the log energies of data, for the front end of a model."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from audioformer.data.audio import ReadingSettings
from audioformer.data.audio.clips import list_audio_clips
from audioformer.data.readers import read_listing
from audioformer.training.families import choose_family
from audioformer.training.outputs import quiet_loading
from audioformer.training.statistics import measure_statistics, require_energies

DESCRIPTION = (
    "Measure the mean and the standard deviation of the log energies of audio, of every mel bin and over all of them, "
    "as the front end of a model computes them before it normalizes with such numbers."
)
EPILOG = """example:
  audioformer statistics --model runs/pretrained --data sounds/ --splits train --output statistics.json
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `audioformer statistics`."""
    parser = argparse.ArgumentParser(
        prog="audioformer statistics",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", required=True, metavar="SOURCE", help="audio, as for finetune")
    parser.add_argument("--output", required=True, metavar="FILE", type=Path, help="JSON file to write")
    parser.add_argument("--model", metavar="ID", help="folder or Hub id whose front end is used")
    parser.add_argument("--model-revision", metavar="REV", help="revision of a model on the Hub")
    parser.add_argument("--family", metavar="NAME", help="model family whose front end is used, without a model")
    parser.add_argument("--layout", default="auto", help="layout of the data; detected from its content by default")
    parser.add_argument("--audio-column", default="audio", help="column of a `datasets` data set that holds the audio")
    parser.add_argument("--label-column", default="label", help="column that holds the labels")
    parser.add_argument("--splits", nargs="+", metavar="NAME", help="splits to measure (default: all clips)")
    parser.add_argument("--max-length-s", type=float, default=10.0, metavar="S", help="longest clip (default: 10)")
    parser.add_argument(
        "--max-clips", type=int, default=10_000, metavar="N", help="clips, chosen at random (default: 10000)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice (default: 0)")
    return parser


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the flags of the command."""
    parser = build_parser()
    arguments = parser.parse_args(argv)
    if arguments.max_clips < 1:
        parser.error(f"--max-clips must be at least 1, got {arguments.max_clips}")
    return arguments


def run(arguments: argparse.Namespace) -> int:
    """Measure, and write the file.

    Raises:
        ValueError: If the data cannot be used, no clip is in the splits, or the family has no such front end.
    """
    quiet_loading()
    family = choose_family(arguments.model, arguments.model_revision, name=arguments.family)
    require_energies(family)
    if not arguments.output.parent.is_dir():
        raise ValueError(f"`--output` {str(arguments.output)!r} is in a folder that does not exist.")
    extractor: Any = family.extractor()
    if arguments.model is not None:
        extractor = family.extractor.from_pretrained(arguments.model, revision=arguments.model_revision or "main")
    listing = read_listing(
        arguments.data,
        arguments.layout,
        audio_column=arguments.audio_column,
        label_column=arguments.label_column,
    )
    if arguments.splits is not None:
        kept = [clip for clip in listing.clips if clip.split in arguments.splits]
        if not kept:
            known = ", ".join(sorted({str(clip.split) for clip in listing.clips}))
            raise ValueError(f"No clip is in the splits {', '.join(arguments.splits)}; the data have {known}.")
        listing = replace(listing, clips=kept)
    clips = list_audio_clips(listing, ReadingSettings(max_length_s=arguments.max_length_s))
    measured = measure_statistics(family, extractor, clips, arguments.max_clips, arguments.seed)
    measured.save(arguments.output, family=family.name, sampling_rate=extractor.sampling_rate)
    print(f"{arguments.output}: {measured.to_text()}")
    return 0
