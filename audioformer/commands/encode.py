"""`audioformer encode`: turn audio into codes, once, as a data set of Parquet files."""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from audioformer.data.audio import ReadingSettings
from audioformer.data.codes import ClipShards, EncodingSettings, encode_shards, shards_of_listing
from audioformer.data.codes.encoded import read_codes_info
from audioformer.data.codes.run import process_of_job
from audioformer.data.listing import check_judged
from audioformer.data.readers import LAYOUTS, read_listing
from audioformer.data.readers.streams import is_tar_source, read_stream
from audioformer.data.report import DataReport
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.audio_tokenizers import CODEC_CLASSES
from audioformer.feature_extraction.level import NORMALIZATIONS
from audioformer.model_cards import TINY_CODEC
from audioformer.model_cards.codes_card import write_codes_card
from audioformer.training.outputs import quiet_loading
from audioformer.training.peak_memory import peak_memory_gb

from ..files import CODES_MANIFEST, CODES_PATTERN, check_location
from .devices import choose_device

DESCRIPTION = (
    "Turn audio into the codes that AudioFormer reads, once: Parquet files with a dataset card, for --codes of the "
    "other commands and for the Hub. A run that was stopped continues where it was when it is started again; files "
    "that are missing or damaged by then are encoded again."
)
EPILOG = """examples:
  audioformer encode recordings/ --output codes/
  audioformer encode shards/ --output codes/ --codec facebook/encodec_24khz     (a folder of .tar files)
  accelerate launch --multi_gpu --num_processes 8 -m audioformer.cli encode audioset/ --output codes/
"""


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of `audioformer encode`."""
    parser = argparse.ArgumentParser(
        prog="audioformer encode",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="a folder (AudioSet, FSD50K, ESC-50, Speech Commands, one folder per class, or any audio files), a CSV "
        "or JSON manifest, .tar files in the WebDataset layout, or a `datasets` data set on disk or on the Hub",
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the codes; created if missing")
    reading = ReadingSettings()
    source = parser.add_argument_group("the audio")
    source.add_argument("--layout", default="auto", choices=["auto", *LAYOUTS], help="layout of a folder")
    source.add_argument("--streaming", action="store_true", help="read a `datasets` data set without downloading it")
    source.add_argument("--audio-column", default="audio", metavar="NAME", help="column with the audio")
    source.add_argument("--label-column", default="label", metavar="NAME", help="column with the label or labels")
    source.add_argument(
        "--label-delimiter", default=";", metavar="TEXT", help="what separates several labels in a manifest"
    )
    source.add_argument(
        "--long-files",
        choices=["windows", "cut"],
        default=reading.long_files,
        help="what happens to files longer than a window: divide them into windows named id#start, or keep only their "
        "beginning (default: %(default)s)",
    )
    source.add_argument(
        "--window-s",
        type=float,
        default=reading.max_length_s,
        metavar="S",
        help="length of the longest clip or window in seconds (default: %(default)g)",
    )
    source.add_argument(
        "--hop-s",
        type=float,
        default=reading.hop_s,
        metavar="S",
        help="seconds from one window to the next, at most --window-s: if less, windows overlap (default: --window-s)",
    )
    source.add_argument(
        "--max-file-s",
        type=float,
        default=reading.max_duration_s,
        metavar="S",
        help="leave out files longer than this many seconds, and list them (default: no limit)",
    )
    source.add_argument(
        "--keep-silent",
        action="store_true",
        default=reading.keep_silent,
        help="encode silent clips as well, instead of leaving them out",
    )
    source.add_argument(
        "--max-rejected-share",
        type=float,
        default=0.01,
        metavar="SHARE",
        help="share of the files that may be unreadable before the run stops and lists them (default: 0.01)",
    )
    source.add_argument(
        "--max-missing-share",
        type=float,
        metavar="SHARE",
        help="share of the listed clips that may have no file (default: 0.01, and no class may lose all of its clips; "
        "any number in AudioSet)",
    )
    codec = parser.add_argument_group("the codec")
    codec.add_argument(
        "--codec", metavar="ID", help="folder or Hub id (default: the small codec that comes with the package)"
    )
    codec.add_argument("--codec-revision", metavar="REV", help="revision of a codec on the Hub")
    codec.add_argument(
        "--codec-type", choices=list(CODEC_CLASSES), help="type of a codec on the Hub (default: encodec)"
    )
    codec.add_argument(
        "--codec-backend",
        choices=["transformers", "encodec"],
        default="transformers",
        help="encodec: --codec is an original checkpoint (.th), run by the encodec package",
    )
    codec.add_argument(
        "--normalize",
        choices=NORMALIZATIONS,
        help="rms: encode every clip or window at one level, so that codes do not depend on loudness; for models that "
        "are trained with the same setting (default: as it is)",
    )
    codec.add_argument(
        "--num-codebooks", type=int, default=4, metavar="N", help="number of codebooks to keep (default: %(default)s)"
    )
    run = parser.add_argument_group("the run")
    run.add_argument("--shard-size", type=int, default=1000, metavar="N", help="clips per file (default: 1000)")
    run.add_argument("--device", help='"cpu", "cuda", ... (default: one GPU per process if there are any)')
    run.add_argument("--workers", type=int, metavar="N", help="threads that decode (default: one per core, 8 at most)")
    run.add_argument(
        "--batch-size", type=int, metavar="N", help="clips per call of the codec (default: 16 on a CPU, 256 on a GPU)"
    )
    return parser


def open_source(arguments: argparse.Namespace) -> ClipShards:
    """Open what is to be encoded.

    Raises:
        ValueError: If the source does not exist, or contains nothing that can be read.
    """
    source, columns = arguments.source, (arguments.audio_column, arguments.label_column)
    if arguments.streaming or is_tar_source(source):
        return read_stream(source, *columns)
    layout = arguments.layout
    if layout == "auto" and Path(source, CODES_MANIFEST).is_file():
        raise ValueError(f"{source} is a folder of codes already: pass it to `--codes` of the other commands.")
    options = {
        "audio_column": arguments.audio_column,
        "label_column": arguments.label_column,
        "label_delimiter": arguments.label_delimiter,
        "max_missing_share": arguments.max_missing_share,
    }
    try:
        listing = read_listing(source, layout, **options)
    except ValueError as error:
        if layout != "auto" or not Path(source).is_dir():
            raise
        # Codes need no labels: audio that is not sorted into one folder per class is a tree of files.
        try:
            listing = read_listing(source, "audio_files")
        except ValueError:
            raise error from None
    check_judged(listing)
    return shards_of_listing(listing, arguments.shard_size)


def encode(arguments: argparse.Namespace) -> int:
    """Encode the shards of this process, and complete the folder if they were the last.

    Returns:
        `int`: Number of shards that other processes have not finished yet.

    Raises:
        ValueError: If the source, the codec, the settings or the output folder cannot be used.
    """
    for name in ("window_s", "hop_s", "max_file_s", "num_codebooks", "shard_size", "workers", "batch_size"):
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            raise ValueError(f"`--{name.replace('_', '-')}` must be more than 0, got {value}.")
    settings = EncodingSettings(
        num_codebooks=arguments.num_codebooks,
        max_length_s=arguments.window_s,
        long_files=arguments.long_files,
        hop_s=arguments.hop_s,
        max_duration_s=arguments.max_file_s,
        keep_silent=arguments.keep_silent,
        max_rejected_share=arguments.max_rejected_share,
        clips_per_shard=arguments.shard_size,
    )
    if arguments.codec is not None:
        check_location(arguments.codec, "`--codec`")
    default = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
    extractor = AudioFormerFeatureExtractor(
        codec=arguments.codec or str(TINY_CODEC),
        codec_revision=arguments.codec_revision,
        codec_type=arguments.codec_type,
        codec_backend=arguments.codec_backend,
        normalize=arguments.normalize,
    ).to(choose_device(arguments.device, default=default))
    return encode_shards(
        open_source(arguments),
        extractor,
        Path(arguments.output),
        settings,
        num_workers=arguments.workers,
        batch_size=arguments.batch_size,
        checksums=True,
    )


def summary(output: Path, seconds: float) -> str:
    """Describe the content of a folder of codes for the terminal."""
    info = read_codes_info(output)
    report = DataReport(**info["report"])
    encoded_s = sum(info["statistics"]["counts"][0]) / info["frame_rate"]
    files = sorted(output.glob(CODES_PATTERN))
    size = sum(file.stat().st_size for file in files)
    used = ", ".join(f"C{codebook + 1} {used:,}" for codebook, used in enumerate(info["statistics"]["entries_used"]))
    return "\n".join(
        [
            report.to_text(),
            f"Codes: {output}",
            f"  files       {len(files):,}, {size / 1e6:,.1f} MB, {size / max(encoded_s, 1e-9) / 100:.2f} kB per 10 s",
            f"  used        {used} of {info['codebook_size']:,} entries",
            f"  time        {seconds:.1f} s, peak memory {peak_memory_gb():.2f} GB",
        ]
    )


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the flags of the command."""
    return build_parser().parse_args(argv)


def run(arguments: argparse.Namespace) -> int:
    """Encode, and describe the folder once it is complete."""
    quiet_loading()
    started = time.perf_counter()
    missing = encode(arguments)
    if missing:
        rank, _ = process_of_job()
        print(f"Process {rank} is done; other processes still have {missing} shards to encode.")
        return 0
    write_codes_card(arguments.output)
    print(summary(Path(arguments.output), time.perf_counter() - started))
    return 0


def output_of(arguments: argparse.Namespace) -> tuple[Path, str]:
    """The folder that is written, and how to go on after the command was cut short."""
    return Path(arguments.output), "the same command goes on from there"
