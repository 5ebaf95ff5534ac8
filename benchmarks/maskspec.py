"""MaskSpec next to the authors' own code, with the same weights: forward, whole clips, shorter clips, pre-training.

The authors' code is not part of this package: `--official` names a folder with their repository
(`WangHelin1997/MaskSpec`), which needs timm 0.5.4 and the Python part of torchaudio. It is made to run on a CPU and in
float32. Without it only this package is timed: shorter clips against the same clips padded, and pre-training with a
quarter of the patches against the same step with all of them.

    python benchmarks/maskspec.py --official MaskSpec --repeats 5 --json maskspec.json
    python benchmarks/maskspec.py --parts pretraining_step --layers 2 --seconds 2
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

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

from audioformer.feature_extraction import MaskSpecFeatureExtractor
from audioformer.modeling_maskspec import MaskSpecConfig, MaskSpecForAudioClassification, MaskSpecForPreTraining
from audioformer.modeling_maskspec.convert_maskspec import convert_maskspec_checkpoint

RATE = 32000
LENGTH = 320_000
"""Samples that the authors pad every clip to."""
IMAGE_FRAMES = 992
"""Frames of the spectrograms that they pre-train on."""

OURS, THEIRS, PADDED, ALL_PATCHES = "this package", "authors' code", "this package, padded", "all patches"
PARTS = ("forward", "waveform_to_logits", "shorter_clips", "pretraining_step")
MASK_RATIO = 0.75
NUM_LABELS = 527


def build_official(folder: Path, layers: int) -> tuple[Any, Any]:
    """The authors' classifier and autoencoder, of the base size but for the layers, with seeded random weights."""
    if not (folder / "models" / "models_mae.py").is_file():
        raise ValueError(f"`--official` {str(folder)!r} must hold models/models_mae.py of the authors.")
    # Imported by timm 0.5.4 for images, and never called.
    for name in ("PIL", "torchvision", "torchvision.transforms", "timm.data", "timm.data.constants"):
        stand_in = ModuleType(name)
        stand_in.__path__ = []
        stand_in.__getattr__ = lambda _: None  # type: ignore[method-assign]
        sys.modules.setdefault(name, stand_in)
    np.float = float  # type: ignore[attr-defined]
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign,assignment]
    torch.HalfTensor = torch.FloatTensor  # type: ignore[misc]
    sys.path.insert(0, str(folder.resolve()))
    mae, vit = (importlib.import_module(f"models.{name}") for name in ("models_mae", "models_vit"))
    shared: dict[str, Any] = {"patch_size": 16, "embed_dim": 768, "depth": layers, "num_heads": 12, "mlp_ratio": 4}
    shared |= {"norm_layer": partial(torch.nn.LayerNorm, eps=1e-6), "in_chans": 1}
    shared |= {"norm_file": str(folder / "audioset" / "mean_std_128.npy")}
    decoder = {"decoder_embed_dim": 512, "decoder_depth": min(layers, 8), "decoder_num_heads": 16}
    classifier = vit.VisionTransformer(
        global_pool=True, img_size=(128, 1000), num_classes=NUM_LABELS, qkv_bias=True, **shared
    )
    autoencoder = mae.MaskedAutoencoderViT(img_size=(128, IMAGE_FRAMES), norm_pix_loss=True, **shared, **decoder)
    for model in (classifier, autoencoder):
        for name, parameter in model.named_parameters():
            if not name.endswith("pos_embed"):
                parameter.data += 0.02 * torch.randn_like(parameter)
    return classifier.eval(), autoencoder


def clips_of(number: int, seconds: float) -> list[torch.Tensor]:
    """Tones under noise."""
    time_s = torch.arange(round(seconds * RATE)) / RATE
    tones = [0.3 * torch.sin(2 * torch.pi * 200 * (index + 1) * time_s) for index in range(number)]
    return [tone + 0.05 * torch.randn(len(time_s)) for tone in tones]


class Candidates:
    """The models, and what is timed of them.

    Args:
        arguments (`argparse.Namespace`): Of the command line.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.batch, self.seconds = arguments.batch, arguments.seconds
        layers = arguments.layers
        sizes = {"num_hidden_layers": layers, "decoder_num_hidden_layers": min(layers, 8)}
        self.their_classifier = self.their_autoencoder = None
        if arguments.official is None:
            self.classifier = MaskSpecForAudioClassification(MaskSpecConfig(num_labels=NUM_LABELS, **sizes)).eval()
            self.autoencoder = MaskSpecForPreTraining(MaskSpecConfig(**sizes)).train()
        else:
            self.their_classifier, self.their_autoencoder = build_official(arguments.official, layers)
            self.classifier = convert_maskspec_checkpoint({"model": self.their_classifier.state_dict()}).model.eval()
            weights = {"model": self.their_autoencoder.state_dict()}
            self.autoencoder = convert_maskspec_checkpoint(weights, decoder_num_attention_heads=16).model.train()
            self.autoencoder.config.mask_ratio, self.autoencoder.config.standardize_target = MASK_RATIO, True
        self.extractor = MaskSpecFeatureExtractor()
        self.clips = clips_of(self.batch, self.seconds)
        self.features = self.extract(self.clips)["input_features"]

    def extract(self, clips: list[torch.Tensor]) -> Any:
        return self.extractor([clip.numpy() for clip in clips], sampling_rate=RATE, return_tensors="pt")

    def logits(self, clips: list[torch.Tensor]) -> torch.Tensor:
        return self.classifier(**self.extract(clips)).logits

    def their_logits(self, clips: list[torch.Tensor]) -> torch.Tensor:
        """From waveforms of ten seconds; shorter ones are extended by silence, as their data sets do."""
        assert self.their_classifier is not None
        return self.their_classifier(torch.stack(padded(clips))[:, None], None)[0]

    def forward(self) -> dict[str, Callable[[], Any]]:
        """Spectrograms of ten seconds to logits."""
        features = self.extract(padded(self.clips))["input_features"]
        found = {OURS: lambda: self.classifier(features).logits}
        if self.their_classifier is not None:
            found[THEIRS] = lambda: self.on_spectrograms(features)
        return found

    def on_spectrograms(self, features: torch.Tensor) -> torch.Tensor:
        """The authors' forward without their filterbank."""
        model: Any = self.their_classifier
        original = model.mel_forward
        model.mel_forward = lambda images: images
        try:
            return model(features.transpose(1, 2)[:, None], None)[0]
        finally:
            model.mel_forward = original

    def waveform_to_logits(self) -> dict[str, Callable[[], Any]]:
        """One clip of ten seconds, filterbank included."""
        clip = padded(self.clips[:1])
        found = {OURS: lambda: self.logits(clip)}
        if self.their_classifier is not None:
            found[THEIRS] = lambda: self.their_logits(clip)
        return found

    def shorter_clips(self) -> dict[str, Callable[[], Any]]:
        """Clips of half the length, as they are and padded to ten seconds."""
        clips = [clip[: len(clip) // 2] for clip in self.clips]
        found = {OURS: lambda: self.logits(clips), PADDED: lambda: self.logits(padded(clips))}
        if self.their_classifier is not None:
            found[THEIRS] = lambda: self.their_logits(clips)
        return found

    def pretraining_step(self) -> dict[str, Callable[[], Any]]:
        """Forward and backward of the autoencoder, with a quarter of the patches and with all of them but one or two.

        The loss needs a hidden patch.
        """
        features = self.features[:, :IMAGE_FRAMES]
        num_patches = features.shape[1] // 16 * 8

        def step(mask_ratio: float) -> None:
            self.autoencoder.zero_grad()
            self.autoencoder.config.mask_ratio = mask_ratio
            self.autoencoder(features).loss.backward()

        found: dict[str, Callable[[], Any]] = {
            OURS: lambda: step(MASK_RATIO),
            ALL_PATCHES: lambda: step(1.5 / num_patches),
        }
        # Their model reads ten seconds only.
        if self.their_autoencoder is not None and features.shape[1] == IMAGE_FRAMES:
            images, theirs = features.transpose(1, 2)[:, None], self.their_autoencoder

            def their_step() -> None:
                theirs.zero_grad()
                latent, mask, restore = theirs.forward_encoder(images, MASK_RATIO)
                theirs.forward_loss(images, theirs.forward_decoder(latent, restore), mask).backward()

            found[THEIRS] = their_step
        return found


def padded(clips: list[torch.Tensor]) -> list[torch.Tensor]:
    """Clips of ten seconds, with silence at the end of shorter ones."""
    return [torch.nn.functional.pad(clip, (0, LENGTH - len(clip))) for clip in clips]


def rows_of(part: str, seconds: dict[str, list[float]]) -> list[dict[str, Any]]:
    """The lines of a part of the table."""
    return [
        {
            "part": part,
            "candidate": name,
            "median s": median(times),
            "times ours": None if name == OURS else ratio(times, seconds[OURS]),
        }
        for name, times in seconds.items()
    ]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, metavar="FOLDER", help="the authors' repository (default: none)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to time (default: all)")
    parser.add_argument("--batch", type=int, default=8, help="clips (default: 8)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a clip, at most 10 (default: 10)")
    parser.add_argument("--layers", type=int, default=12, help="encoder layers (default: 12)")
    add_common_arguments(parser)
    arguments = parser.parse_args()
    apply_common_arguments(arguments)
    if not 0.5 <= arguments.seconds <= LENGTH / RATE:
        parser.error(f"--seconds must be from 0.5 to {LENGTH / RATE:g}, got {arguments.seconds:g}")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    torch.manual_seed(0)
    candidates = Candidates(arguments)
    rows: list[dict[str, Any]] = []
    every: dict[str, dict[str, list[float]]] = {}
    differences: dict[str, float] = {}
    for part in arguments.parts:
        functions = getattr(candidates, part)()
        with torch.set_grad_enabled(part == "pretraining_step"):
            if THEIRS in functions and part in ("forward", "waveform_to_logits"):
                differences[part] = (functions[OURS]() - functions[THEIRS]()).abs().max().item()
            every[part] = interleaved(functions, arguments.repeats)
        rows += rows_of(part, every[part])
    facts = machine()
    print(f"{arguments.batch} x {arguments.seconds:g} s, {arguments.layers} layers, {facts['processor']}")
    print(f"{facts['torch_threads']} threads, load {facts['load_average'][0]:.1f}")
    print_table(rows)
    for part, difference in differences.items():
        print(f"{part}: largest difference from the authors' code {difference:.1e}")
    if "pretraining_step" in every:
        share = 1 / ratio(every["pretraining_step"][ALL_PATCHES], every["pretraining_step"][OURS])
        print(f"a step with a quarter of the patches takes {share:.2f} of the one with all (target: 0.5)")
    print("targets, times ours: forward 1.2, shorter_clips 1.8")
    write_json(arguments.json, rows, arguments=vars(arguments), seconds=every, largest_differences=differences)


if __name__ == "__main__":
    main()
