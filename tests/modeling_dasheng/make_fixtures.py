"""Write the fixtures of Dasheng with the authors' own package, see fixtures/README.md.

python -m tests.modeling_dasheng.make_fixtures [--check]
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.modeling_beats.sounds import SOUNDS, chirp, noise

FOLDER = Path(__file__).parent / "fixtures"
TOLERANCE = 1e-4

CASES: dict[str, tuple[dict[str, Any], int]] = {
    # The number of positions that the released models have, for clips that are as long as theirs.
    "encoder_base": ({"embed_dim": 24, "depth": 2, "num_heads": 12, "target_length": 1008}, 1),
    # The numbers of heads of the larger models; pieces of 0.8 s.
    "encoder_06b": ({"embed_dim": 32, "depth": 2, "num_heads": 16, "target_length": 80}, 2),
    "encoder_12b": ({"embed_dim": 48, "depth": 1, "num_heads": 24, "target_length": 80}, 3),
    "classifier": ({"embed_dim": 24, "depth": 1, "num_heads": 12, "target_length": 80}, 4),
    "autoencoder": ({"embed_dim": 24, "depth": 1, "num_heads": 12, "target_length": 80, "group_masking": True}, 5),
}
"""Settings of the encoder, and seed."""

NUM_LABELS = 7
DECODER = {"embed_dim": 64, "depth": 1, "num_heads": 2, "input_dim": 24, "outputdim": 256, "num_patches": 20}


def batch(lengths: list[int]) -> torch.Tensor:
    """Clips of different loudness, padded by zeros to the longest, `(batch_size, num_samples)`."""
    clips = [(chirp(length) + noise(length, seed=row + 10)) / (row + 1) for row, length in enumerate(lengths)]
    return torch.from_numpy(np.stack([np.pad(clip, (0, max(lengths) - len(clip))) for clip in clips]))


def perturb(model: torch.nn.Module, seed: int) -> None:
    """Move all weights away from their initial zeros and ones, so that each of them matters, to values that half
    precision can hold; and give the running statistics values as those of sound."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if name.endswith("running_mean"):
            value.copy_(-30 + 10 * torch.randn(value.shape, generator=generator))
        elif name.endswith("running_var"):
            value.copy_(200 + 100 * torch.rand(value.shape, generator=generator))
        elif "front_end" not in name and value.is_floating_point():
            value.add_(0.2 * torch.randn(value.shape, generator=generator))
        if "front_end" not in name and value.is_floating_point():
            value.copy_(value.half())


def stored_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """All weights as `model.NAME`, in half precision. The front end is the same in all, and has a file of its own."""
    return {
        f"model.{name}": value.half() if value.is_floating_point() else value.clone()
        for name, value in model.state_dict().items()
        if "front_end" not in name
    }


def run_encoder(name: str) -> dict[str, torch.Tensor]:
    """Weights of an encoder, and its output for batches of several lengths, with and without `x_length`."""
    from dasheng.pretrained.pretrained import Dasheng  # type: ignore[import-not-found]

    settings, seed = CASES[name]
    torch.manual_seed(seed)
    model = Dasheng(**settings)
    perturb(model, seed)
    model.eval()
    tensors = stored_weights(model)
    if name == "encoder_base":
        tensors["hidden_states.160000"] = model(batch([160000] * 2))
        tensors["hidden_states.170000"] = model(batch([170000]))
        # Every fifth, because the file would be large.
        tensors["every_fifth.320000"] = model(batch([320000]))[:, ::5]
        tensors["masked.170000.80000"] = model(batch([170000, 80000]), torch.tensor([170000, 80000]))
        return tensors
    tensors["hidden_states.30000"] = model(batch([30000, 30000]))
    tensors["masked.30000.9000"] = model(batch([30000, 9000]), torch.tensor([30000, 9000]))
    model.train()
    tensors["training.hidden_states.12800"] = model(batch([12800] * 3))
    for key in ("running_mean", "running_var"):
        tensors[f"training.{key}"] = model.init_bn[1].state_dict()[key]
    return tensors


def run_classifier() -> dict[str, torch.Tensor]:
    """A fine-tuned file: encoder, and `outputlayer` on the mean of the hidden states."""
    from dasheng.pretrained.pretrained import Dasheng

    settings, seed = CASES["classifier"]
    torch.manual_seed(seed)
    model = Dasheng(**settings)
    model.outputlayer = torch.nn.Sequential(torch.nn.LayerNorm(24), torch.nn.Linear(24, NUM_LABELS))
    perturb(model, seed)
    model.eval()
    tensors = stored_weights(model)
    tensors["probabilities.30000"] = model.outputlayer(model(batch([30000] * 3)).mean(1)).sigmoid()
    return tensors


def run_autoencoder() -> dict[str, torch.Tensor]:
    """Masks, predictions and losses of pre-training, with the batch's and with running statistics."""
    from dasheng.train.models import (  # type: ignore[import-not-found]
        AudioTransformerMAE,
        AudioTransformerMAE_Decoder,
        AudioTransformerMAE_Encoder,
    )

    settings, seed = CASES["autoencoder"]
    torch.manual_seed(seed)
    encoder = AudioTransformerMAE_Encoder(patch_size=[64, 4], patch_stride=[64, 4], **settings)
    model = AudioTransformerMAE(encoder, AudioTransformerMAE_Decoder(**DECODER))
    perturb(model, seed)
    tensors = stored_weights(model)
    waveforms = batch([12800] * 3)
    for mode in ("evaluation", "training"):
        model.train(mode == "training")
        torch.manual_seed(seed)
        tensors[f"{mode}.noise"] = torch.rand(3, 10)
        for output in ("all", "loss"):
            torch.manual_seed(seed)
            if output == "loss":
                tensors[f"{mode}.loss"] = model(waveforms, return_loss=True)
                continue
            predictions, targets, mask = model(waveforms)
            tensors[f"{mode}.predictions"], tensors[f"{mode}.mask"] = predictions, mask
            tensors["targets"] = targets
    tensors["order"] = model.patchify(torch.arange(64 * 8.0).view(1, 64, 8))
    torch.manual_seed(seed)
    tensors["mask_250.noise"] = torch.rand(2, 125)
    torch.manual_seed(seed)
    _, mask, restore = encoder.random_masking_group(torch.zeros(2, 250, 1), 0.75)
    tensors["mask_250.mask"], tensors["mask_250.restore"] = mask, restore
    return tensors


@torch.no_grad()
def run_all() -> dict[str, tuple[dict[str, torch.Tensor], dict[str, Any]]]:
    """Tensors and settings of every file."""
    from dasheng.pretrained.pretrained import Dasheng

    front_end = Dasheng(embed_dim=4, depth=1, num_heads=1).front_end
    decibels = {name: front_end(torch.from_numpy(sound)[None])[0] for name, sound in SOUNDS.items()}
    loud = front_end(torch.from_numpy(np.stack([0 * SOUNDS["tone"], SOUNDS["tone"]])))
    decibels["batch_of_silence_and_tone"] = loud[:, :, :5]
    decibels |= {f"front_end.{name}": value for name, value in front_end.state_dict().items()}
    files: dict[str, tuple[dict[str, torch.Tensor], dict[str, Any]]] = {"front_end": (decibels, {})}
    for name, (settings, _) in CASES.items():
        run = {"classifier": run_classifier, "autoencoder": run_autoencoder}.get(name)
        files[name] = (run() if run else run_encoder(name), settings)
    return files


def main() -> int:
    """Write the fixtures, or compare them with what the authors' package computes now."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the fixtures instead of writing them")
    arguments = parser.parse_args()
    worst = 0.0
    for name, (tensors, settings) in run_all().items():
        file = FOLDER / f"{name}.safetensors"
        tensors = {key: value.contiguous().clone() for key, value in tensors.items()}
        if not arguments.check:
            FOLDER.mkdir(exist_ok=True)
            save_file(tensors, file, {"settings": json.dumps(settings)})
            file.chmod(0o644)
            continue
        with safe_open(file, "pt") as stored:
            pairs = [(stored.get_tensor(key).float(), value.float()) for key, value in tensors.items()]
        difference = max((first - second).abs().max().item() for first, second in pairs)
        worst = max(worst, difference)
        print(f"{name}: largest difference {difference:.1e}")
    return int(worst > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
