"""
The loader of pre-training alone: from codes on the disk to masked batches, on one core.

Codes of 10 s clips lie in the format of `audioformer encode`, four codebooks each; the sampler shuffles by shard and
buffer, the collator masks a quarter, 22 clips a batch. Beside it stands what a model of the paper's size could consume
on an H200 at 45 % of its 989 dense bfloat16 TFLOP/s: that figure is computed, not measured.

The memory is that of a process of its own, which opens codes that were unpacked before: what it shares with nobody
(unique set size), and what of that is no page of a mapped file (anonymous), before the codes are opened and after the
batches. Clips have few frames there, because only their number should matter.

    python benchmarks/loader.py --json loader.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from encoding import peak_memory_gb
from timing import add_common_arguments, apply_common_arguments, machine, median, print_table, write_json
from torch.utils.data import DataLoader

from audioformer.data.codes import EncodingSettings
from audioformer.data.codes.encoded import EncodedClips, load_codes
from audioformer.data.codes.finish import finish_folder
from audioformer.data.codes.parquet_parts import PartMetadata, part_path, write_part
from audioformer.data.codes.run import describe_codec
from audioformer.data.shards import ClipShards
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_CODEC
from audioformer.modeling_audioformer import AudioFormerConfig
from audioformer.training import CodeExamples, DataCollatorForCodecMaskedLM
from audioformer.training.samplers import LengthGroupedSampler

TARGET_CLIPS_S = 2000
TARGET_TIMES_MODEL = 20
BATCH, FRAMES, NUM_CODEBOOKS = 22, 750, 4
CLIPS_PER_SHARD = 1000
PEAK_TFLOPS, UTILISATION = 989, 0.45
CORES_BESIDE_A_GPU = 16
MEMORY_FRAMES = 10


def random_row(generator: np.random.Generator, index: int, num_frames: int) -> dict[str, Any]:
    """A clip without labels and with random codes."""
    return {
        "id": f"{index}",
        "codes": generator.integers(0, 1024, (NUM_CODEBOOKS, num_frames), dtype=np.uint16),
        "n_frames": num_frames,
        "labels": [],
        "split": None,
        "fold": None,
        "group": None,
        "duration_s": 10.0,
        "sampling_rate": 24000,
    }


def write_codes(folder: Path, num_clips: int) -> EncodedClips:
    """Random codes in the real format."""
    generator = np.random.default_rng(0)
    codec = describe_codec(AudioFormerFeatureExtractor(codec=str(TINY_CODEC)), NUM_CODEBOOKS)
    for shard, first in enumerate(range(0, num_clips, CLIPS_PER_SHARD)):
        rows = [
            random_row(generator, index, FRAMES) for index in range(first, min(first + CLIPS_PER_SHARD, num_clips))
        ]
        write_part(part_path(folder, shard, 0), rows, PartMetadata(len(rows), True, codec))
    shards = ClipShards("random", "random", shard + 1, lambda number: iter(()), "", labels=[])
    finish_folder(shards, folder, EncodingSettings(clips_per_shard=CLIPS_PER_SHARD))
    return load_codes(folder)


def write_repeated_codes(folder: Path, num_clips: int) -> None:
    """One file of random codes under the names of as many as `num_clips` need, unpacked."""
    generator = np.random.default_rng(0)
    codec = describe_codec(AudioFormerFeatureExtractor(codec=str(TINY_CODEC)), NUM_CODEBOOKS)
    rows = [random_row(generator, index, MEMORY_FRAMES) for index in range(CLIPS_PER_SHARD)]
    write_part(part_path(folder, 0, 0), rows, PartMetadata(len(rows), True, codec))
    num_shards = max(1, num_clips // CLIPS_PER_SHARD)
    for shard in range(1, num_shards):
        part_path(folder, shard, 0).hardlink_to(part_path(folder, 0, 0))
    shards = ClipShards("random", "random", num_shards, lambda number: iter(()), "", labels=[])
    finish_folder(shards, folder, EncodingSettings(clips_per_shard=CLIPS_PER_SHARD))
    load_codes(folder)


def private_memory_mb() -> dict[str, float]:
    """Memory of this process in MB: its unique set size, and the anonymous part of it."""
    fields = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    kilobytes = {name: int(value.split()[0]) for name, value in fields.items()}
    unique = kilobytes["Private_Clean"] + kilobytes["Private_Dirty"]
    return {"unique MB": unique / 1e3, "anonymous MB": kilobytes["Anonymous"] / 1e3}


def measure_memory(folder: Path, num_batches: int) -> dict[str, float]:
    """What opening codes and reading batches adds to the memory of this process."""
    before = private_memory_mb()
    clips_a_second(load_codes(folder), num_batches)
    after = private_memory_mb()
    return {f"{name} before": value for name, value in before.items()} | after


def memory_row(num_clips: int, num_batches: int) -> dict[str, object]:
    """[`measure_memory`] in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        # Writing and unpacking take memory of their own, so they are done in another process.
        for flag in ("--write-into", "--measure"):
            command = [
                sys.executable,
                __file__,
                flag,
                folder,
                "--clips",
                str(num_clips),
                "--batches",
                str(num_batches),
            ]
            printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {"clips": f"{num_clips:,}", **json.loads(printed.splitlines()[-1])}


def clips_a_second(data: EncodedClips, num_batches: int) -> float:
    examples = CodeExamples(data.codes, codebook=0)
    sampler = LengthGroupedSampler(examples.lengths, BATCH, buffer_size=16 * CLIPS_PER_SHARD)
    loader = DataLoader(examples, BATCH, sampler=sampler, collate_fn=DataCollatorForCodecMaskedLM())
    batches = iter(loader)
    next(batches)
    start = time.perf_counter()
    for _ in range(num_batches):
        next(batches)
    return num_batches * BATCH / (time.perf_counter() - start)


def model_clips_a_second() -> tuple[float, float]:
    """What the 87 M model consumes in training, and the TFLOP of a clip."""
    config, length = AudioFormerConfig(), FRAMES + 2
    width, inner = config.hidden_size, config.intermediate_size
    layer = 2 * length * (4 * width * width + 2 * width * inner) + 4 * length * length * width
    head = 2 * length / 4 * (width * width + width * config.vocab_size)
    flops = 3 * (config.num_hidden_layers * layer + head)
    return PEAK_TFLOPS * 1e12 * UTILISATION / flops, flops / 1e12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, nargs="+", default=[2_000, 20_000], help="sizes of the data set")
    parser.add_argument("--batches", type=int, default=80, help="batches of a timed round (default: 80)")
    parser.add_argument(
        "--memory-clips",
        type=int,
        nargs="*",
        default=[10_000, 100_000, 1_000_000],
        help="sizes of the data set for the memory; none leaves it out",
    )
    parser.add_argument("--write-into", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    add_common_arguments(parser)
    arguments = parser.parse_args()
    apply_common_arguments(arguments)
    torch.set_num_threads(1)
    if arguments.write_into is not None:
        write_repeated_codes(arguments.write_into, arguments.clips[0])
        return
    if arguments.measure is not None:
        print(json.dumps(measure_memory(arguments.measure, arguments.batches)))
        return
    consumed, tflop = model_clips_a_second()
    rows = []
    for num_clips in arguments.clips:
        with tempfile.TemporaryDirectory() as folder:
            data = write_codes(Path(folder), num_clips)
            rates = [clips_a_second(data, arguments.batches) for _ in range(arguments.repeats)]
        rows.append(
            {
                "clips": f"{num_clips:,}",
                "clips/s on one core": median(rates),
                "target": f">= {TARGET_CLIPS_S:,}",
                f"{CORES_BESIDE_A_GPU} cores, times the model": CORES_BESIDE_A_GPU * median(rates) / consumed,
                "target ": f">= {TARGET_TIMES_MODEL}",
                "peak GB": peak_memory_gb(),
            }
        )
    print(f"{BATCH} clips of {FRAMES} frames a batch; {machine()['processor']}")
    print_table(rows)
    print(
        f"computed: {tflop:.3f} TFLOP a clip in training, so {consumed:,.0f} clips/s for 87 M parameters on an H200 "
        f"at {UTILISATION:.0%} of {PEAK_TFLOPS} TFLOP/s"
    )
    memory = [memory_row(num_clips, arguments.batches) for num_clips in arguments.memory_clips]
    if memory:
        print_table(memory)
    write_json(arguments.json, rows, model_clips_s=consumed, memory=memory)


if __name__ == "__main__":
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    main()
