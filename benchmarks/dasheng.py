"""Dasheng next to the authors' own package, with the same weights: spectrograms, forward, pre-training step, an hour.

The authors' package is no part of this one: `--official` names a folder with `dasheng` (0.0.9 on the package index,
installed with `pip install --target FOLDER --no-deps dasheng==0.0.9 einops==0.8.2 torchaudio==2.11.0`; of torchaudio,
remove the folder `torchaudio/lib`, whose libraries belong to another torch and are not needed). Without it only this
package is measured.

An hour is embedded by a fresh process each, which says how much memory it had used at most.

    python benchmarks/dasheng.py --official FOLDER --repeats 5 --json dasheng.json
    python benchmarks/dasheng.py --parts spectrogram forward --layers 2 --seconds 2
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from encoding import peak_memory_gb
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

from audioformer.feature_extraction import DashengFeatureExtractor
from audioformer.modeling_dasheng import DashengConfig, DashengForPreTraining, DashengModel
from audioformer.modeling_dasheng.convert_dasheng import convert_dasheng_checkpoint, read_dasheng_checkpoint

RATE = 16000
OURS, THEIRS = "this package", "authors' package"
TIMED = ("spectrogram", "forward", "waveform_to_vectors", "pretraining_step")
PARTS = (*TIMED, "hour")
HEAD_SIZE, DECODER_LAYERS = 64, 8
PAIR = 1280
"""Samples of two patches."""


def clips_of(number: int, seconds: float) -> torch.Tensor:
    """Noise under tones of different pitch, `(number, num_samples)`."""
    time_s = torch.arange(round(seconds * RATE)) / RATE
    pitches = 200 * torch.arange(1, number + 1)[:, None]
    return 0.3 * torch.sin(2 * torch.pi * pitches * time_s) + 0.05 * torch.randn(number, len(time_s))


def official_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings of the authors' encoder."""
    size, layers = arguments.hidden_size, arguments.layers
    return {"embed_dim": size, "depth": layers, "num_heads": size // HEAD_SIZE, "target_length": 1008}


def perturb(model: torch.nn.Module) -> torch.nn.Module:
    """Move weights away from their initial zeros and ones, and give the running statistics values of sound."""
    for name, value in model.state_dict().items():
        if name.endswith("running_mean"):
            value.fill_(-30.0)
        elif name.endswith("running_var"):
            value.fill_(200.0)
        elif "front_end" not in name and value.is_floating_point():
            value.add_(0.02 * torch.randn_like(value))
    return model


def build_official(arguments: argparse.Namespace, *, for_training: bool) -> Any:
    """The authors' encoder, or their autoencoder, with seeded random weights."""
    folder = arguments.official
    if not (folder / "dasheng" / "train" / "models.py").is_file():
        raise ValueError(f"`--official` {str(folder)!r} must hold the package dasheng of the authors.")
    # This file has the name of their package. From their folder comes only what is not installed here.
    here = Path(__file__).resolve().parent
    sys.path[:] = [*(entry for entry in sys.path if Path(entry).resolve() != here), str(folder)]
    settings = official_settings(arguments)
    if not for_training:
        from dasheng.pretrained.pretrained import Dasheng  # type: ignore[import-not-found]

        return perturb(Dasheng(**settings)).eval()
    from dasheng.train import models  # type: ignore[import-not-found]

    patches = {"patch_size": [64, 4], "patch_stride": [64, 4]}
    encoder = models.AudioTransformerMAE_Encoder(**settings, **patches, group_masking=True)
    sizes = {"embed_dim": 512, "depth": DECODER_LAYERS, "num_heads": 16, "outputdim": 256, "num_patches": 252}
    decoder = models.AudioTransformerMAE_Decoder(input_dim=settings["embed_dim"], **sizes)
    return perturb(models.AudioTransformerMAE(encoder, decoder)).train()


def convert(official: torch.nn.Module, settings: dict[str, Any], folder: Path) -> Any:
    """The same model of this package, written into a folder."""
    file = folder / "official.pt"
    torch.save({"model": official.state_dict(), "config": {**settings, "group_masking": True}}, file)
    result = convert_dasheng_checkpoint(read_dasheng_checkpoint(file))
    result.save(folder)
    return result.model_class.from_pretrained(folder)


def build(arguments: argparse.Namespace, *, for_training: bool) -> tuple[Any, Any]:
    """Both models with the same weights; `None` for that of the authors without `--official`."""
    torch.manual_seed(0)
    if arguments.official is not None:
        theirs = build_official(arguments, for_training=for_training)
        with tempfile.TemporaryDirectory() as folder:
            ours = convert(theirs, official_settings(arguments), Path(folder)).train(for_training)
            # The files may be mapped into memory, and are removed here.
            ours.load_state_dict({name: value.clone() for name, value in ours.state_dict().items()}, assign=True)
        return ours, theirs
    size = arguments.hidden_size
    config = DashengConfig(
        hidden_size=size,
        num_hidden_layers=arguments.layers,
        num_attention_heads=size // HEAD_SIZE,
        intermediate_size=4 * size,
        decoder_num_hidden_layers=DECODER_LAYERS,
    )
    model_class = DashengForPreTraining if for_training else DashengModel
    return model_class(config).train(for_training), None


class Candidates:
    """The models, and what is timed of them.

    Args:
        arguments (`argparse.Namespace`): Of the command line.
    """

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.extractor = arguments, DashengFeatureExtractor()
        self.clips = clips_of(arguments.batch, arguments.seconds)
        self.ours, self.theirs = build(arguments, for_training=False)

    def extract(self, clips: torch.Tensor | None = None) -> Any:
        clips = self.clips if clips is None else clips
        return self.extractor(list(clips.numpy()), sampling_rate=RATE, return_tensors="pt")

    def spectrogram(self) -> dict[str, Callable[[], Any]]:
        found: dict[str, Callable[[], Any]] = {OURS: lambda: self.extract()["input_features"]}
        if self.theirs is not None:
            found[THEIRS] = lambda: self.theirs.front_end(self.clips).transpose(1, 2)
        return found

    def forward(self) -> dict[str, Callable[[], Any]]:
        features = self.extract()["input_features"]
        found: dict[str, Callable[[], Any]] = {OURS: lambda: self.ours(features).last_hidden_state}
        if self.theirs is not None:
            images = features.transpose(1, 2)[:, None].contiguous()
            found[THEIRS] = lambda: self.theirs.forward_spectrogram(self.theirs.init_bn(images))
        return found

    def waveform_to_vectors(self) -> dict[str, Callable[[], Any]]:
        found: dict[str, Callable[[], Any]] = {OURS: lambda: self.ours(**self.extract()).pooler_output}
        if self.theirs is not None:
            found[THEIRS] = lambda: self.theirs(self.clips).mean(1)
        return found

    def pretraining_step(self) -> dict[str, Callable[[], Any]]:
        """Spectrogram, forward and backward of a batch, with masks of their own."""
        ours, theirs = build(self.arguments, for_training=True)
        # The authors mask pairs of patches, and fail on odd numbers of them.
        clips = self.clips[:, : self.clips.shape[1] // PAIR * PAIR]

        def step(model: torch.nn.Module, loss: Callable[[], torch.Tensor]) -> float:
            with torch.enable_grad():
                model.zero_grad()
                value = loss()
                value.backward()
            return value.detach()

        found: dict[str, Callable[[], Any]] = {OURS: lambda: step(ours, lambda: ours(**self.extract(clips)).loss)}
        if theirs is not None:
            found[THEIRS] = lambda: step(theirs, lambda: theirs(clips, return_loss=True))
        return found


def embed_alone(arguments: argparse.Namespace) -> dict[str, Any]:
    """Embed one long clip with one of the models in this process; seconds, and its peak memory in GB."""
    torch.manual_seed(0)
    if arguments.alone == THEIRS:
        model = build_official(arguments, for_training=False)
    elif arguments.folder is not None:
        model = DashengModel.from_pretrained(arguments.folder)
    else:
        model, _ = build(arguments, for_training=False)
    torch.manual_seed(1)
    clip = clips_of(1, arguments.hour_seconds)
    extractor = DashengFeatureExtractor()
    started = time.perf_counter()
    with torch.inference_mode():
        if arguments.alone == THEIRS:
            vector = model(clip).mean(1)
        else:
            inputs = extractor(clip[0].numpy(), sampling_rate=RATE, return_tensors="pt")
            vector = model(**inputs).pooler_output
    return {"seconds": time.perf_counter() - started, "peak GB": peak_memory_gb(), "vector": vector[0].tolist()}


def measure_hour(arguments: argparse.Namespace) -> dict[str, list[dict[str, Any]]]:
    """What `embed_alone` says of each model, in fresh processes that take turns."""
    names = [OURS] if arguments.official is None else [OURS, THEIRS]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, *sys.argv[1:]]
        if THEIRS in names:
            torch.manual_seed(0)
            theirs = build_official(arguments, for_training=False)
            convert(theirs, official_settings(arguments), Path(folder))
            command += ["--folder", folder]
        for repeat in range(arguments.repeats):
            for name in names if repeat % 2 == 0 else reversed(names):
                printed = subprocess.run(
                    [*command, "--alone", name], check=True, capture_output=True, text=True
                ).stdout
                found[name].append(json.loads(printed.splitlines()[-1]))
    return found


def hour(arguments: argparse.Namespace, rows: list[dict[str, Any]], differences: dict[str, float]) -> None:
    """Add the lines of the long clip."""
    found = measure_hour(arguments)
    seconds = {name: [one["seconds"] for one in measured] for name, measured in found.items()}
    for name, measured in found.items():
        row = {"part": "hour", "candidate": name, "median s": median(seconds[name])}
        if name == OURS and THEIRS in found:
            row["times faster"] = ratio(seconds[THEIRS], seconds[OURS])
        rows.append({**row, "peak GB": max(one["peak GB"] for one in measured)})
    if THEIRS in found:
        vectors = [torch.tensor(measured[0]["vector"]) for measured in found.values()]
        differences["hour"] = (vectors[0] - vectors[1]).abs().max().item()


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--official", type=Path, metavar="FOLDER", help="the authors' package (default: none)")
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure (default: all)"
    )
    parser.add_argument("--batch", type=int, default=8, help="clips (default: 8)")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a clip (default: 10)")
    parser.add_argument("--hour-seconds", type=float, default=3600.0, help="length of the long clip (default: 3600)")
    parser.add_argument("--layers", type=int, default=12, help="encoder layers (default: 12)")
    parser.add_argument("--hidden-size", type=int, default=768, help="width of the encoder (default: 768)")
    parser.add_argument("--alone", choices=(OURS, THEIRS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    add_common_arguments(parser)
    arguments = parser.parse_args()
    apply_common_arguments(arguments)
    if arguments.hidden_size % HEAD_SIZE:
        parser.error(f"`--hidden-size` must be a multiple of {HEAD_SIZE}, got {arguments.hidden_size}.")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    if arguments.alone is not None:
        print(json.dumps(embed_alone(arguments)))
        return
    rows: list[dict[str, Any]] = []
    every: dict[str, dict[str, list[float]]] = {}
    differences: dict[str, float] = {}
    timed = [part for part in arguments.parts if part in TIMED]
    candidates = Candidates(arguments) if timed else None
    for part in timed:
        functions = getattr(candidates, part)()
        with torch.no_grad():
            if THEIRS in functions and part != "pretraining_step":
                differences[part] = (functions[OURS]() - functions[THEIRS]()).abs().max().item()
            every[part] = interleaved(functions, arguments.repeats)
        for name, times in every[part].items():
            row: dict[str, Any] = {"part": part, "candidate": name, "median s": median(times)}
            if name == OURS and THEIRS in functions:
                row["times faster"] = ratio(every[part][THEIRS], times)
            rows.append(row)
    if "hour" in arguments.parts:
        hour(arguments, rows, differences)
    facts = machine()
    print(
        f"{arguments.batch} x {arguments.seconds:g} s, {arguments.layers} layers of {arguments.hidden_size}, "
        f"{facts['processor']}"
    )
    print(f"{facts['torch_threads']} threads, load {facts['load_average'][0]:.1f}")
    print_table(rows)
    for part, difference in differences.items():
        print(f"{part}: largest difference from the authors' package {difference:.1e}")
    print("targets, times faster: spectrogram 3, forward 1.2, pretraining_step 1.2, hour 1.2 with less than 2 GB")
    write_json(arguments.json, rows, arguments=vars(arguments), seconds=every, largest_differences=differences)


if __name__ == "__main__":
    main()
