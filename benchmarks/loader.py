"""
The loader of pre-training alone: from codes on the disk to masked batches, on one core.

Codes of 10 s clips lie in the format of `audioformer encode`, four codebooks each; the sampler shuffles by shard and
buffer, the collator masks a quarter, 22 clips a batch. Beside it stands what a model of the paper's size could consume
on an H200 at 45 % of its 989 dense bfloat16 TFLOP/s: that figure is computed, not measured.

    python benchmarks/loader.py --json loader.json
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

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


def write_codes(folder: Path, num_clips: int) -> EncodedClips:
    """Random codes in the real format."""
    generator = np.random.default_rng(0)
    codec = describe_codec(AudioFormerFeatureExtractor(codec=str(TINY_CODEC)), NUM_CODEBOOKS)
    for shard, first in enumerate(range(0, num_clips, CLIPS_PER_SHARD)):
        rows = [
            {
                "id": f"{index}",
                "codes": generator.integers(0, 1024, (NUM_CODEBOOKS, FRAMES), dtype=np.uint16),
                "n_frames": FRAMES,
                "labels": [],
                "split": None,
                "fold": None,
                "group": None,
                "duration_s": 10.0,
                "sampling_rate": 24000,
            }
            for index in range(first, min(first + CLIPS_PER_SHARD, num_clips))
        ]
        write_part(part_path(folder, shard, 0), rows, PartMetadata(len(rows), True, codec))
    shards = ClipShards("random", "random", shard + 1, lambda number: iter(()), "", labels=[])
    finish_folder(shards, folder, EncodingSettings(clips_per_shard=CLIPS_PER_SHARD))
    return load_codes(folder)


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
    add_common_arguments(parser)
    arguments = parser.parse_args()
    apply_common_arguments(arguments)
    torch.set_num_threads(1)
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
    write_json(arguments.json, rows, model_clips_s=consumed)


if __name__ == "__main__":
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    main()
