"""Encoding with the feature extractor next to `EncodecModel.encode`, on the batch and clip by clip.

Both take the same clips and the same random codec of full size (24 kHz, 32 filters, filled codebooks). The limit
beside them is the rate at which this machine multiplies matrices: an encoder that reaches it does nothing else.
A child process encodes one hour, as one clip and as clips of `--seconds`, for the peak memory of the whole process.

    python benchmarks/encoding.py --repeats 3 --json encoding.json
    python benchmarks/encoding.py --data FOLDER --skip-memory
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
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
from transformers import EncodecConfig, EncodecModel

from audioformer.data.audio import load_audio
from audioformer.feature_extraction import AudioFormerFeatureExtractor

BANDWIDTH = 3.0
TARGET_RATIO = 2.2
MEMORY_LIMIT_GB = 2.0
RATE = 24000


def build_codec(num_filters: int = 32) -> EncodecModel:
    """A seeded random codec whose codebooks cover what its encoder gives, so that codes vary."""
    torch.manual_seed(0)
    model = EncodecModel(EncodecConfig(num_filters=num_filters)).eval()
    with torch.no_grad():
        for name, parameter in model.encoder.named_parameters():
            if "bias" in name:
                parameter *= 0.1
        residual = (
            model.encoder(torch.from_numpy(np.stack(make_clips(2, 16.0)))[:, None]).transpose(1, 2).flatten(0, 1)
        )
        model.encoder.layers[-1].conv.bias -= residual.mean(0)
        residual = residual - residual.mean(0)
        for layer in model.quantizer.layers[:4]:
            chosen = residual[torch.randint(len(residual), (model.config.codebook_size,))]
            layer.codebook.embed.copy_(chosen + 0.3 * residual.std(0) * torch.randn_like(chosen))
            residual = residual - layer.codebook.decode(layer.codebook.encode(residual))
    return model


def make_clips(count: int, seconds: float) -> list[np.ndarray]:
    """Noise of changing loudness, float32."""
    generator = np.random.default_rng(0)
    samples = round(seconds * RATE)
    envelope = 0.05 + 0.3 * np.abs(np.sin(np.arange(samples) / RATE))
    return [(envelope * generator.standard_normal(samples)).astype(np.float32) for _ in range(count)]


def read_clips(folder: Path, count: int, seconds: float) -> list[np.ndarray]:
    """The first `count` audio files of a folder, repeated or cut to `seconds`."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".wav", ".flac", ".ogg", ".mp3"))
    if len(files) < count:
        raise ValueError(f"`--data` needs at least {count} audio files, {str(folder)!r} has {len(files)}.")
    return [np.resize(load_audio(path, RATE)[0], round(seconds * RATE)) for path in files[:count]]


def encoding_flops(config: EncodecConfig, seconds: float, num_codebooks: int) -> float:
    """Floating-point operations of the matrix products, a multiplication and an addition counted as two."""
    channels, rate = config.num_filters, float(config.sampling_rate)
    products = config.kernel_size * channels * rate
    for stride in reversed(config.upsampling_ratios):
        hidden = channels // config.compress
        products += config.num_residual_layers * (config.residual_kernel_size + 1) * channels * hidden * rate
        products += config.num_residual_layers * channels * channels * rate
        rate /= stride
        products += 2 * stride * channels * 2 * channels * rate
        channels *= 2
    products += config.num_lstm_layers * 8 * channels * channels * rate
    products += config.last_kernel_size * channels * config.hidden_size * rate
    products += num_codebooks * config.codebook_size * config.codebook_dim * rate
    return 2 * seconds * products


def peak_memory(clips: str, seconds: float) -> dict[str, float]:
    """Peak resident memory of a fresh process, torch and the audio included, that encodes one hour in one call."""
    command = [sys.executable, __file__, "--child", clips, "--seconds", str(seconds)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return {"peak_gb": float(output[-2]), "seconds": float(output[-1])}


def run_child(clips: str, seconds: float) -> None:
    generator = np.random.default_rng(0)
    hour = generator.standard_normal(3600 * RATE, dtype=np.float32)
    hour *= 0.1
    samples = len(hour) if clips == "one" else round(seconds * RATE)
    extractor = AudioFormerFeatureExtractor(codec=build_codec(), codebooks=[0, 1, 2, 3])
    start = time.perf_counter()
    extractor([hour[first : first + samples] for first in range(0, len(hour), samples)], sampling_rate=RATE)
    print(peak_memory_gb(), time.perf_counter() - start)


def peak_memory_gb() -> float:
    """Largest resident memory of this process so far, in 1e9 bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        # Not `ru_maxrss`: on Linux it starts at what the parent process held when it made this one.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e9
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e9  # bytes on macOS


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=8, help="clips in the batch (default: 8)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a clip in seconds (default: 10)")
    parser.add_argument("--data", type=Path, default=None, metavar="FOLDER", help="audio files instead of noise")
    parser.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    parser.add_argument("--skip-memory", action="store_true", help="leave out the hour")
    parser.add_argument("--child", choices=["one", "many"], default=None, help=argparse.SUPPRESS)
    add_common_arguments(parser)
    arguments = parser.parse_args()
    apply_common_arguments(arguments)
    return arguments


def main() -> None:
    arguments = parse_arguments()
    if arguments.child is not None:
        run_child(arguments.child, arguments.seconds)
        return
    codec = build_codec()
    extractor = AudioFormerFeatureExtractor(codec=codec, codebooks=[0, 1, 2, 3]).to(arguments.device)
    if arguments.data is None:
        clips = make_clips(arguments.clips, arguments.seconds)
    else:
        clips = read_clips(arguments.data, arguments.clips, arguments.seconds)
    reference = build_codec().to(arguments.device)

    def encode(batch: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return reference.encode(batch.to(arguments.device), bandwidth=BANDWIDTH).audio_codes[0].cpu()

    batch = torch.from_numpy(np.stack(clips))[:, None]
    expected = torch.cat([encode(clip[None]) for clip in batch]).transpose(1, 2)
    got = extractor(clips, sampling_rate=RATE, return_tensors="pt")["input_ids"][:, 1:-1] - 3
    same = (got == expected).all(-1).float().mean().item()

    left, right = torch.randn(2048, 1024), torch.randn(1024, 1024)
    left, right = left.to(arguments.device), right.to(arguments.device)
    seconds = interleaved(
        {
            "EncodecModel.encode, batch": lambda: encode(batch),
            "EncodecModel.encode, one by one": lambda: [encode(clip[None]) for clip in batch],
            "AudioFormerFeatureExtractor, batch": lambda: extractor(clips, sampling_rate=RATE),
            "AudioFormerFeatureExtractor, one by one": lambda: [extractor(clip, sampling_rate=RATE) for clip in clips],
            "limit: matrix products": lambda: left @ right,
        },
        arguments.repeats,
    )
    flops = encoding_flops(codec.config, arguments.seconds * arguments.clips, num_codebooks=4)
    rows = []
    for name, values in seconds.items():
        is_limit = name.startswith("limit")
        rate = (2 * 2048 * 1024 * 1024 if is_limit else flops) / median(values) / 1e9
        rows.append({"what": name, "s": flops / rate / 1e9, "GFLOP/s": rate})
        if not is_limit:
            rows[-1]["times faster than batch"] = ratio(seconds["EncodecModel.encode, batch"], values)
    rows[2]["target"] = f">= {TARGET_RATIO}"
    rows[2]["equal frames"] = f"{same:.4%}"
    print(f"{arguments.clips} clips of {arguments.seconds:g} s, 4 codebooks, {flops / 1e9:.0f} GFLOP; {machine()}")
    print_table(rows)

    memory = []
    if not arguments.skip_memory:
        for clips_kind, name in (("one", "one clip"), ("many", f"clips of {arguments.seconds:g} s")):
            measured = peak_memory(clips_kind, arguments.seconds)
            memory.append(
                {
                    "one hour in one call": name,
                    "peak GB": measured["peak_gb"],
                    "limit": f"< {MEMORY_LIMIT_GB:g}",
                    "s": measured["seconds"],
                }
            )
        print_table(memory)
    write_json(arguments.json, rows, memory=memory, seconds=seconds, equal_frames=same)


if __name__ == "__main__":
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    main()
