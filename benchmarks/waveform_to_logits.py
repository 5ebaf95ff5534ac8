"""From a waveform to logits: AudioFormer next to the Audio Spectrogram Transformer, both with 86 M parameters.

Each side runs its own feature extractor and its own classifier, one clip at a time, on noise that is already at the
rate it expects (24 kHz here, 16 kHz for AST), so that neither pays for resampling. AST pads every clip to 10.24 s,
AudioFormer takes as many ids as there are. All weights are random; the codec has its full size.

    python benchmarks/waveform_to_logits.py --repeats 3 --json waveform_to_logits.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import numpy as np
import torch
from encoding import RATE, build_codec
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
from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForAudioClassification

NUM_LABELS = 527
TARGET_RATIOS = {10.0: 1.2, 5.0: 2.2, 1.0: 6.0}
AST_RATE = 16000


def build_sides(device: str) -> tuple[Callable, Callable, Callable]:
    """Waveforms to logits on both sides, and the step of AudioFormer that encodes."""
    torch.manual_seed(0)
    extractor = AudioFormerFeatureExtractor(codec=build_codec(), codebooks=0).to(device)
    model = AudioFormerForAudioClassification(AudioFormerConfig(num_labels=NUM_LABELS)).eval().to(device)
    ast_extractor = ASTFeatureExtractor()
    ast = ASTForAudioClassification(ASTConfig(num_labels=NUM_LABELS)).eval().to(device)

    def encode(waveforms: list[np.ndarray]) -> dict[str, torch.Tensor]:
        return extractor(waveforms, sampling_rate=RATE, return_tensors="pt").to(device)

    def audioformer_logits(waveforms: list[np.ndarray]) -> torch.Tensor:
        with torch.no_grad():
            return model(**encode(waveforms)).logits.cpu()

    def ast_logits(waveforms: list[np.ndarray]) -> torch.Tensor:
        with torch.no_grad():
            inputs = ast_extractor(waveforms, sampling_rate=AST_RATE, return_tensors="pt").to(device)
            return ast(**inputs).logits.cpu()

    return audioformer_logits, ast_logits, encode


def make_noise(count: int, seconds: float, rate: int) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    return [(0.1 * generator.standard_normal(round(seconds * rate))).astype(np.float32) for _ in range(count)]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, nargs="+", default=[10.0, 5.0, 1.0], help="lengths of clips in s")
    parser.add_argument("--batch", type=int, default=1, help="clips in a call (default: 1)")
    parser.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    add_common_arguments(parser)
    arguments = parser.parse_args()
    apply_common_arguments(arguments)
    return arguments


def main() -> None:
    arguments = parse_arguments()
    audioformer_logits, ast_logits, encode = build_sides(arguments.device)
    rows, all_seconds = [], {}
    for length in arguments.seconds:
        ours = make_noise(arguments.batch, length, RATE)
        theirs = make_noise(arguments.batch, length, AST_RATE)
        seconds = interleaved(
            {
                "AST": lambda theirs=theirs: ast_logits(theirs),
                "AudioFormer": lambda ours=ours: audioformer_logits(ours),
                "encoding": lambda ours=ours: encode(ours),
            },
            arguments.repeats,
        )
        target = TARGET_RATIOS.get(length)
        rows.append(
            {
                "clip": f"{arguments.batch} x {length:g} s",
                "AST s": median(seconds["AST"]),
                "AudioFormer s": median(seconds["AudioFormer"]),
                "of which encoding s": median(seconds["encoding"]),
                "times faster": ratio(seconds["AST"], seconds["AudioFormer"]),
                "target": None if target is None else f">= {target}",
            }
        )
        all_seconds[f"{length:g} s"] = seconds
    print(machine())
    print_table(rows)
    write_json(arguments.json, rows, seconds=all_seconds, batch=arguments.batch)


if __name__ == "__main__":
    main()
