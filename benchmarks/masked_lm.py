"""
Pre-training of `AudioFormerForMaskedLM` next to `transformers.RoFormerForMaskedLM` with the same weights.

Forward and training step (forward, loss on a masked quarter, backward) on the same ids. On a GPU every attention there
is runs in bfloat16, also compiled. Utilisation is the rate of the model's matrix products over a stated peak
(`--peak`, in TFLOP/s) or, on a CPU, over the rate at which this machine multiplies matrices of a layer's size. Peak
memory is that of one step: allocated on the GPU, or of the whole of a fresh process on a CPU.

    python benchmarks/masked_lm.py --batch 4 --plot masked_lm.png
    python benchmarks/masked_lm.py --device cuda --batch 22 --peak 989 --json masked_lm.json
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from encoding import peak_memory_gb
from forward import forward_flops, matmul_probe
from timing import add_common_arguments, apply_common_arguments, interleaved, machine, median, print_table, write_json
from torch import nn
from transformers import RoFormerConfig, RoFormerForMaskedLM

from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForMaskedLM, convert_roformer_state_dict
from audioformer.training import DataCollatorForCodecMaskedLM

TARGET_UTILISATION, TARGET_TIMES_ROFORMER = 0.45, 3.0
ROFORMER = "RoFormer, eager"


def candidate_names(device: str, training: bool) -> list[str]:
    """RoFormer has one attention; ours are those that this machine can run."""
    names = [ROFORMER, "AudioFormer, sdpa"]
    if training:
        names.append("AudioFormer, sdpa, full logits")
    if device == "cuda":
        if importlib.util.find_spec("flash_attn"):
            names.append("AudioFormer, flash_attention_2")
        names.append("AudioFormer, sdpa, compiled")
    return names


def build(name: str, arguments: argparse.Namespace) -> nn.Module:
    """The model of a candidate; all have the same weights."""
    torch.manual_seed(0)
    rates = {"hidden_dropout_prob": arguments.dropout, "attention_probs_dropout_prob": arguments.dropout}
    config = AudioFormerConfig(num_hidden_layers=arguments.layers, **rates)
    roformer = RoFormerForMaskedLM(
        RoFormerConfig(
            vocab_size=config.vocab_size,
            embedding_size=config.hidden_size,
            num_hidden_layers=arguments.layers,
            max_position_embeddings=arguments.length,
            pad_token_id=config.pad_token_id,
            layer_norm_eps=config.layer_norm_eps,
            **rates,
        )
    )
    model: nn.Module = roformer
    if name != ROFORMER:
        attention = "flash_attention_2" if "flash" in name else "sdpa"
        model = AudioFormerForMaskedLM._from_config(config, attn_implementation=attention)
        model.load_state_dict(convert_roformer_state_dict(roformer.state_dict()))
        model.config.sparse_prediction = "full" not in name
    model = model.to(arguments.device, getattr(torch, arguments.dtype))
    return torch.compile(model) if "compiled" in name else model


def make_batch(arguments: argparse.Namespace) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    codes = torch.randint(3, 1027, (arguments.batch, arguments.length))
    codes[:, 0], codes[:, -1] = 0, 2
    batch = DataCollatorForCodecMaskedLM()([{"input_ids": row} for row in codes])
    return {name: value.to(arguments.device) for name, value in batch.items()}


def step_of(model: nn.Module, batch: dict[str, torch.Tensor], training: bool) -> Callable[[], object]:
    def forward() -> None:
        model.eval()
        with torch.no_grad():
            model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])

    def train() -> None:
        model.train()
        model(**batch).loss.backward()
        model.zero_grad()

    return train if training else forward


def peak_of(name: str, training: bool, arguments: argparse.Namespace) -> float:
    """Peak memory in GB of one step: of the device, or of a fresh process."""
    if arguments.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
        step_of(build(name, arguments), make_batch(arguments), training)()
        return torch.cuda.max_memory_allocated() / 1e9
    flags = ["--child", name, *(["--child-trains"] if training else [])]
    sizes = [f"--{key}={getattr(arguments, key)}" for key in ("batch", "length", "layers", "dtype", "dropout")]
    command = [sys.executable, __file__, *flags, *sizes]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(output[-1])


def measure(training: bool, arguments: argparse.Namespace) -> tuple[list[dict[str, object]], dict[str, list[float]]]:
    config = AudioFormerConfig(num_hidden_layers=arguments.layers)
    batch = make_batch(arguments)
    models = {name: build(name, arguments) for name in candidate_names(arguments.device, training)}
    probe, probe_flops = matmul_probe(
        config, batch["input_ids"].numel(), arguments.device, getattr(torch, arguments.dtype)
    )
    steps = {name: step_of(model, batch, training) for name, model in models.items()}
    seconds = interleaved({**steps, "matrix product": probe}, arguments.repeats)
    # On a GPU, the peak of a model must not contain the others.
    names = list(models)
    models.clear()
    steps.clear()
    product_rate = probe_flops / median(seconds.pop("matrix product"))
    peak = arguments.peak * 1e12 if arguments.peak else product_rate
    flops = forward_flops(config, arguments.batch, arguments.length) * (3 if training else 1)
    rows = []
    for name in names:
        times = seconds[name]
        rate = flops / median(times)
        rows.append(
            {
                "step": "training" if training else "forward",
                "model": name,
                "median s": median(times),
                "tokens/s": batch["input_ids"].numel() / median(times),
                "times RoFormer": median(seconds[ROFORMER]) / median(times),
                "TFLOP/s": rate / 1e12,
                "utilisation": rate / peak,
                "peak GB": None if arguments.skip_memory else peak_of(name, training, arguments),
            }
        )
    return rows, seconds


def plot(rows: list[dict[str, object]], path: Path, title: str) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    steps = list(dict.fromkeys(row["step"] for row in rows))
    for axes, step in zip(figure.subplots(1, len(steps), squeeze=False)[0], steps, strict=True):
        chosen = [row for row in rows if row["step"] == step]
        bars = axes.barh([row["model"] for row in chosen], [row["tokens/s"] for row in chosen])
        axes.bar_label(bars, [f"{row['times RoFormer']:.2f}x" for row in chosen], padding=3)
        axes.set(title=step, xlabel="tokens a second")
        axes.margins(x=0.2)
        axes.invert_yaxis()
    figure.suptitle(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=22, help="clips (default: 22)")
    parser.add_argument("--length", type=int, default=752, help="ids per clip (default: 752, 10 s of audio)")
    parser.add_argument("--layers", type=int, default=12, help="encoder layers (default: 12)")
    parser.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="(default: bfloat16 on a GPU, else float32)")
    parser.add_argument("--dropout", type=float, default=0.0, help="of layers and attention (default: 0)")
    parser.add_argument("--steps", nargs="+", choices=["forward", "training"], default=["forward", "training"])
    parser.add_argument("--peak", type=float, metavar="TFLOP/S", help="of the device, for the utilisation")
    parser.add_argument("--skip-memory", action="store_true", help="leave out the measurement of memory")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the table")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--child-trains", action="store_true", help=argparse.SUPPRESS)
    add_common_arguments(parser)
    arguments = parser.parse_args()
    arguments.dtype = arguments.dtype or ("bfloat16" if arguments.device == "cuda" else "float32")
    apply_common_arguments(arguments)
    return arguments


def main() -> None:
    arguments = parse_arguments()
    if arguments.child is not None:
        step_of(build(arguments.child, arguments), make_batch(arguments), arguments.child_trains)()
        print(peak_memory_gb())
        return
    measured = [measure(step == "training", arguments) for step in arguments.steps]
    rows = [row for table, _ in measured for row in table]
    facts = machine()
    device = facts["gpu"] if arguments.device == "cuda" else facts["processor"]
    title = f"{arguments.batch} x {arguments.length} ids, {arguments.layers} layers, {arguments.dtype}, {device}"
    print(title)
    print_table(rows)
    against = f"{arguments.peak:g} TFLOP/s" if arguments.peak else "a plain matrix product of this machine"
    targets = f"{TARGET_UTILISATION:.0%}, {TARGET_TIMES_ROFORMER:g} x RoFormer"
    print(f"utilisation: of {against}; targets on an H200: {targets}")
    write_json(arguments.json, rows, arguments=vars(arguments), seconds=[seconds for _, seconds in measured])
    if arguments.plot is not None:
        plot(rows, arguments.plot, title)


if __name__ == "__main__":
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    main()
