"""
The whole way of `audioformer encode`, from files to Parquet, against the codec alone on clips that are ready.

Files are FLAC at 44.1 kHz, which have to be decoded and resampled; the codec has the sizes of `facebook/encodec_24khz`
with seeded random weights. Limits: the codec alone, and decoding alone. Memory is that of fresh processes that encode
1,000 and 10,000 short clips.

    python benchmarks/encode_command.py [--data FOLDER] [--device cuda]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import soundfile
from encoding import RATE, build_codec, make_clips, peak_memory_gb
from timing import (
    add_common_arguments,
    apply_common_arguments,
    interleaved,
    machine,
    median,
    print_table,
    ratio,
    write_json,
)

from audioformer.data.audio import load_audio
from audioformer.data.codes import EncodingSettings, encode_shards, shards_of_listing
from audioformer.data.readers import read_listing
from audioformer.feature_extraction import AudioFormerFeatureExtractor

TARGET_SHARE = 0.85
MEMORY_CLIPS = (1_000, 10_000)
MEMORY_CLIP_S = 0.5


def write_files(folder: Path, count: int, seconds: float) -> None:
    """FLAC files at 44.1 kHz."""
    folder.mkdir(parents=True)
    clips = make_clips(min(count, 16), seconds * 44100 / RATE)
    for index in range(count):
        soundfile.write(folder / f"{index:05d}.flac", clips[index % len(clips)], 44100)


def encode_folder(source: Path, output: Path, extractor: AudioFormerFeatureExtractor) -> None:
    settings = EncodingSettings(clips_per_shard=1000, long_files="windows")
    shards = shards_of_listing(read_listing(source, "audio_files"), settings.clips_per_shard)
    encode_shards(shards, extractor, output, settings, progress=False)


def run_child(source: Path) -> None:
    """Encodes a folder and prints the peak memory of this process."""
    extractor = AudioFormerFeatureExtractor(codec=build_codec())
    with tempfile.TemporaryDirectory() as output:
        encode_folder(source, Path(output) / "codes", extractor)
    print(peak_memory_gb())


def measure_memory(root: Path) -> list[dict[str, object]]:
    rows = []
    for count in MEMORY_CLIPS:
        source = root / f"memory-{count}"
        write_files(source, count, MEMORY_CLIP_S)
        command = [sys.executable, __file__, "--child", str(source)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        rows.append({"clips": f"{count:,} of {MEMORY_CLIP_S:g} s", "peak GB": float(output[-1])})
    rows[1]["times the first"] = rows[1]["peak GB"] / rows[0]["peak GB"]
    return rows


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=32, help="files (default: 32)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a file in seconds (default: 10)")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="audio files instead of noise")
    parser.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    parser.add_argument("--skip-memory", action="store_true", help="leave out the measurement of memory")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    add_common_arguments(parser)
    arguments = parser.parse_args()
    apply_common_arguments(arguments)
    return arguments


def main() -> None:
    arguments = parse_arguments()
    if arguments.child is not None:
        run_child(arguments.child)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        source = arguments.data or root / "files"
        if arguments.data is None:
            write_files(source, arguments.clips, arguments.seconds)
        files = [clip.audio for clip in read_listing(source, "audio_files").clips]
        # What the codec alone is given: decoded, resampled, in memory.
        ready = [load_audio(file, RATE)[0] for file in files]
        extractor = AudioFormerFeatureExtractor(codec=build_codec(), codebooks=[0, 1, 2, 3]).to(arguments.device)
        codec = extractor._load_codec()
        rounds = iter(range(1_000_000))
        seconds = interleaved(
            {
                "codec alone, one ready clip at a time": lambda: [codec.encode([clip]) for clip in ready],
                "audioformer encode, from files to Parquet": lambda: encode_folder(
                    source, root / f"codes-{next(rounds)}", extractor
                ),
                "decoding and resampling alone": lambda: [load_audio(file, RATE) for file in files],
            },
            arguments.repeats,
        )
        audio_s = sum(len(clip) for clip in ready) / RATE
        rows = [
            {
                "what": name,
                "s": median(values),
                "times real time": audio_s / median(values),
                "share of the codec's speed": ratio(seconds["codec alone, one ready clip at a time"], values),
            }
            for name, values in seconds.items()
        ]
        rows[1]["target"] = f">= {TARGET_SHARE}"
        print(f"{len(files)} files, {audio_s:.0f} s, 4 codebooks, {arguments.device}; {machine()['processor']}")
        print_table(rows)
        memory = [] if arguments.skip_memory else measure_memory(root)
        if memory:
            print_table(memory)
    write_json(arguments.json, rows, memory=memory, seconds=seconds)


if __name__ == "__main__":
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    main()
