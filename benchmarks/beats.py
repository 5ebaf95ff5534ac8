"""BEATs next to the authors' own code, with the same weights: forward, filterbank, whole clips, clips of any length.

The authors' code is not part of this package: `--official` names a folder with `BEATs.py` and what it imports
(`microsoft/unilm`, folder `beats/`). Without it only this package is timed. Without torchaudio, whose Kaldi
filterbank that code uses, only the forward is compared. The masked step is compared with the same step over all
patches.

    python benchmarks/beats.py --official unilm/beats --repeats 5 --json beats.json
    python benchmarks/beats.py --parts masked_step --layers 2 --seconds 2
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

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

from audioformer.feature_extraction import BeatsFeatureExtractor
from audioformer.modeling_beats import BeatsConfig, BeatsForAudioClassification, BeatsForMaskedAudioModeling
from audioformer.modeling_beats.convert_beats import convert_beats_checkpoint

RATE = 16000
OURS, THEIRS, PRODUCT, ALL_PATCHES = "this package", "authors' code", "matrix product", "all patches"
PARTS = ("forward", "filterbank", "waveform_to_logits", "lengths", "masked_step")
GROUP = 4
"""Clips of similar length that go through the model together, where a batch has clips of 1 to 10 s."""

CFG: dict[str, Any] = {
    "input_patch_size": 16,
    "embed_dim": 512,
    "conv_bias": False,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
    "activation_fn": "gelu",
    "layer_wise_gradient_decay_ratio": 1.0,
    "layer_norm_first": False,
    "deep_norm": True,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "encoder_layerdrop": 0.0,
    "dropout_input": 0.0,
    "conv_pos": 128,
    "conv_pos_groups": 16,
    "relative_position_embedding": True,
    "num_buckets": 320,
    "max_distance": 800,
    "gru_rel_pos": True,
    "finetuned_model": True,
    "predictor_dropout": 0.0,
    "predictor_class": 527,
}
"""Settings of the released classifiers, but for the number of layers."""


def has_torchaudio() -> bool:
    """Whether its Kaldi filterbank can be imported; a torchaudio for another torch fails in many ways."""
    try:
        importlib.import_module("torchaudio.compliance.kaldi")
    except (ImportError, OSError, RuntimeError, AttributeError):
        return False
    return True


def build_official(folder: Path, cfg: dict[str, Any], with_filterbank: bool) -> Any:
    """The authors' classifier with seeded random weights."""
    if not (folder / "BEATs.py").is_file():
        raise ValueError(f"`--official` {str(folder)!r} must hold BEATs.py of the authors.")
    if not with_filterbank:
        # Imported, but never called: the forward is given spectrograms.
        for name in ("torchaudio", "torchaudio.compliance", "torchaudio.compliance.kaldi"):
            sys.modules[name] = ModuleType(name)
        sys.modules["torchaudio.compliance"].kaldi = sys.modules["torchaudio.compliance.kaldi"]  # type: ignore[attr-defined]
    sys.path.insert(0, str(folder))
    beats = importlib.import_module("BEATs")
    model = beats.BEATs(beats.BEATsConfig(cfg))
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model.eval()


def forward_flops(config: BeatsConfig, batch: int, patches: int) -> int:
    """Floating-point operations of the matrix products and convolutions, counting additions and multiplications."""
    size = config.hidden_size
    embedding = config.patch_size**2 * config.patch_embedding_size + config.patch_embedding_size * size
    position = size * size // config.num_conv_pos_embedding_groups * config.num_conv_pos_embeddings
    layer = 4 * size**2 + 2 * size * config.intermediate_size + 2 * patches * size
    return 2 * batch * patches * (embedding + position + config.num_hidden_layers * layer)


def product_probe(config: BeatsConfig, rows: int) -> tuple[Callable[[], object], int]:
    """One product of the feed-forward size, the largest of a layer, and its number of operations."""
    left, right = torch.randn(rows, config.hidden_size), torch.randn(config.hidden_size, config.intermediate_size)
    return lambda: left @ right, 2 * rows * config.hidden_size * config.intermediate_size


def clips_of(seconds: list[float]) -> list[torch.Tensor]:
    """Noise under a tone, one clip per length."""
    clips = []
    for number, length in enumerate(seconds):
        time_s = torch.arange(round(length * RATE)) / RATE
        clips.append(0.3 * torch.sin(2 * torch.pi * 200 * (number + 1) * time_s) + 0.05 * torch.randn(len(time_s)))
    return clips


def masked_steps(config: BeatsConfig, features: torch.Tensor) -> dict[str, Callable[[], object]]:
    """Training steps of masked audio modelling that predict the same patches, from a quarter of them and from all."""
    model = BeatsForMaskedAudioModeling(config).train()
    shape = (len(features), config.num_patches(features.shape[1]))
    labels, noise = torch.randint(config.codebook_size, shape), torch.rand(shape)
    every = torch.arange(shape[1]).expand(shape)
    with torch.no_grad():
        hidden = model(features, noise=noise).hidden_patches

    def step(**chosen: torch.Tensor) -> None:
        model.zero_grad()
        logits = model(features, **chosen).logits
        torch.nn.functional.cross_entropy(logits[hidden], labels[hidden]).backward()

    return {ALL_PATCHES: lambda: step(kept_patches=every), OURS: lambda: step(noise=noise)}


class Candidates:
    """The two models, and what is timed of them.

    Args:
        arguments (`argparse.Namespace`): Of the command line.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.batch, self.seconds = arguments.batch, arguments.seconds
        cfg = {**CFG, "encoder_layers": arguments.layers}
        self.has_filterbank = has_torchaudio()
        self.theirs = None
        if arguments.official is not None:
            self.theirs = build_official(arguments.official, cfg, self.has_filterbank)
            weights = {"cfg": cfg, "model": self.theirs.state_dict()}
            self.ours = convert_beats_checkpoint(weights).model.eval()
        else:
            config = BeatsConfig(num_hidden_layers=arguments.layers, num_labels=527)
            self.ours = BeatsForAudioClassification(config).eval()
        self.extractor = BeatsFeatureExtractor()
        self.clips = clips_of([self.seconds] * self.batch)
        self.features = self.extract(self.clips)["input_features"]

    def extract(self, clips: list[torch.Tensor]) -> Any:
        return self.extractor([clip.numpy() for clip in clips], sampling_rate=RATE, return_tensors="pt")

    def logits(self, clips: list[torch.Tensor]) -> torch.Tensor:
        return self.ours(**self.extract(clips)).logits

    def forward(self) -> dict[str, Callable[[], Any]]:
        found = {OURS: lambda: self.ours(self.features).logits.sigmoid()}
        if self.theirs is not None:
            found[THEIRS] = lambda: self.on_spectrograms(self.features)
        return found

    def on_spectrograms(self, features: torch.Tensor) -> torch.Tensor:
        """The authors' forward without their filterbank."""
        preprocess = self.theirs.preprocess
        self.theirs.preprocess = lambda source, **_: source
        try:
            return self.theirs.extract_features(features)[0]
        finally:
            self.theirs.preprocess = preprocess

    def filterbank(self) -> dict[str, Callable[[], Any]]:
        stacked = torch.stack(self.clips)
        found: dict[str, Callable[[], Any]] = {
            OURS: lambda: self.extractor.scaled(torch.stack(self.extractor.filterbank.batch(self.clips)))
        }
        if self.theirs is not None and self.has_filterbank:
            found[THEIRS] = lambda: self.theirs.preprocess(stacked)
        return found

    def waveform_to_logits(self) -> dict[str, Callable[[], Any]]:
        clip = self.clips[:1]
        found = {OURS: lambda: self.logits(clip).sigmoid()}
        if self.theirs is not None and self.has_filterbank:
            found[THEIRS] = lambda: self.theirs.extract_features(clip[0][None])[0]
        return found

    def lengths(self) -> dict[str, Callable[[], Any]]:
        """Clips from a tenth of the length to all of it: ours grouped by length, theirs padded to the longest."""
        number = 2 * self.batch
        clips = clips_of([self.seconds * (0.1 + 0.9 * index / (number - 1)) for index in range(number)])
        longest = max(map(len, clips))
        padded = torch.stack([torch.nn.functional.pad(clip, (0, longest - len(clip))) for clip in clips])
        padding = torch.arange(longest)[None] >= torch.tensor([len(clip) for clip in clips])[:, None]
        groups = [clips[start : start + GROUP] for start in range(0, number, GROUP)]
        found: dict[str, Callable[[], Any]] = {OURS: lambda: [self.logits(group) for group in groups]}
        if self.theirs is not None and self.has_filterbank:
            found[THEIRS] = lambda: self.theirs.extract_features(padded, padding)[0]
        else:
            found["this package, padded to the longest"] = lambda: self.logits(clips)
        return found


def rows_of(part: str, seconds: dict[str, list[float]], flops: dict[str, int]) -> list[dict[str, Any]]:
    """The lines of a part of the table."""
    rows = []
    for name, times in seconds.items():
        row: dict[str, Any] = {"part": part, "candidate": name, "median s": median(times)}
        if name == OURS:
            others = [other for other in seconds if other not in (OURS, PRODUCT)]
            row["times faster"] = ratio(seconds[others[0]], times) if others else None
        if name in flops:
            row["GFLOP/s"] = flops[name] / median(times) / 1e9
        rows.append(row)
    return rows


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, metavar="FOLDER", help="the authors' code (default: none)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to time (default: all)")
    parser.add_argument("--batch", type=int, default=8, help="clips (default: 8)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a clip (default: 10)")
    parser.add_argument("--layers", type=int, default=12, help="encoder layers (default: 12)")
    add_common_arguments(parser)
    arguments = parser.parse_args()
    apply_common_arguments(arguments)
    return arguments


def main() -> None:
    arguments = parse_arguments()
    torch.manual_seed(0)
    candidates = Candidates(arguments)
    config = candidates.ours.config
    rows: list[dict[str, Any]] = []
    every: dict[str, dict[str, list[float]]] = {}
    differences: dict[str, float] = {}
    for part in arguments.parts:
        flops: dict[str, int] = {}
        if part == "masked_step":
            every[part] = interleaved(masked_steps(config, candidates.features), arguments.repeats)
        else:
            functions = getattr(candidates, part)()
            with torch.no_grad():
                if THEIRS in functions and part != "lengths":
                    ours, theirs = functions[OURS](), functions[THEIRS]()
                    differences[part] = (ours - theirs).abs().max().item()
                if part == "forward":
                    patches = config.num_patches(candidates.features.shape[1])
                    product, product_flops = product_probe(config, arguments.batch * patches)
                    flops = dict.fromkeys(functions, forward_flops(config, arguments.batch, patches))
                    functions, flops = {**functions, PRODUCT: product}, {**flops, PRODUCT: product_flops}
                every[part] = interleaved(functions, arguments.repeats)
        rows += rows_of(part, every[part], flops)
    facts = machine()
    print(f"{arguments.batch} x {arguments.seconds:g} s, {arguments.layers} layers, {facts['processor']}")
    print(f"{facts['torch_threads']} threads, load {facts['load_average'][0]:.1f}")
    print_table(rows)
    for part, difference in differences.items():
        print(f"{part}: largest difference from the authors' code {difference:.1e}")
    if "masked_step" in every:
        share = 1 / ratio(every["masked_step"][ALL_PATCHES], every["masked_step"][OURS])
        print(f"a masked step takes {share:.2f} of the same step over all patches (target: 0.45)")
    rates = {row["candidate"]: row["GFLOP/s"] for row in rows if "GFLOP/s" in row}
    if rates:
        print(f"the forward runs at {rates[OURS] / rates[PRODUCT]:.0%} of the rate of a matrix product (target: 85 %)")
    print("targets, times faster: forward 1.2, filterbank 3, waveform_to_logits 1.2, lengths 2")
    write_json(arguments.json, rows, arguments=vars(arguments), seconds=every, largest_differences=differences)


if __name__ == "__main__":
    main()
