"""Write the fixtures of BEATs with the authors' own code, see fixtures/README.md.

python -m tests.modeling_beats.make_fixtures OFFICIAL [--check]
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
TOLERANCE = 1e-5

BASE: dict[str, Any] = {
    "input_patch_size": 16,
    "embed_dim": 24,
    "conv_bias": False,
    "encoder_layers": 2,
    "encoder_embed_dim": 48,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 12,
    "activation_fn": "gelu",
    "layer_wise_gradient_decay_ratio": 1.0,
    "layer_norm_first": False,
    "deep_norm": True,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "activation_dropout": 0.0,
    "encoder_layerdrop": 0.0,
    "dropout_input": 0.0,
    "conv_pos": 16,
    "conv_pos_groups": 16,
    "relative_position_embedding": True,
    "num_buckets": 320,
    "max_distance": 800,
    "gru_rel_pos": True,
    "finetuned_model": False,
    "predictor_dropout": 0.1,
    "predictor_class": 527,
}
"""Settings of the released models with tiny sizes."""

SMALL = {"encoder_embed_dim": 32, "encoder_ffn_embed_dim": 40, "encoder_attention_heads": 8, "embed_dim": 16}

CASES: dict[str, tuple[dict[str, Any], list[int], int]] = {
    # More than 80 patches: distances reach the logarithmic buckets.
    "encoder_12_heads": ({}, [32000, 14000], 1),
    "encoder_8_heads": ({**SMALL, "num_buckets": 32, "max_distance": 40}, [20003, 4001], 2),
    # An odd kernel, no projection, no DeepNorm, the bias without its gate.
    "encoder_plain": (
        {**SMALL, "embed_dim": 32, "conv_pos": 9, "deep_norm": False, "gru_rel_pos": False, "conv_bias": True},
        [10000, 6000],
        3,
    ),
    "encoder_gradients": ({**SMALL, "layer_wise_gradient_decay_ratio": 0.6}, [8000], 4),
    "classifier": ({**SMALL, "finetuned_model": True, "predictor_class": 5}, [12000, 5000, 12000], 5),
    "tokenizer": ({**SMALL, "quant_n": 32, "quant_dim": 8}, [16000, 7000], 6),
}
"""Changes of the settings, number of real samples per clip of a batch, and seed."""


def batch(lengths: list[int]) -> torch.Tensor:
    """Clips padded by zeros to the longest, `(batch_size, num_samples)`."""
    clips = [chirp(length) + noise(length, seed=row + 10) for row, length in enumerate(lengths)]
    return torch.from_numpy(np.stack([np.pad(clip, (0, max(lengths) - len(clip))) for clip in clips]))


def perturb(model: torch.nn.Module, seed: int) -> None:
    """Move all weights away from their initial zeros and ones, so that each of them matters."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)


@torch.no_grad()
def run_case(name: str) -> dict[str, torch.Tensor]:
    """Weights of a case, as `model.NAME`, and what the authors' code computes."""
    from BEATs import BEATs, BEATsConfig  # type: ignore[import-not-found]
    from Tokenizers import Tokenizers, TokenizersConfig  # type: ignore[import-not-found]

    changes, lengths, seed = CASES[name]
    cfg = {**BASE, **changes}
    torch.manual_seed(seed)
    model = Tokenizers(TokenizersConfig(cfg)) if "quant_n" in cfg else BEATs(BEATsConfig(cfg))
    perturb(model, seed)
    model.eval()
    if "quant_n" in cfg:
        codes = model.quantize.embedding
        codes.weight.data = torch.nn.functional.normalize(codes.weight.data, dim=-1)
        codes.initted.fill_(1)
    tensors = {f"model.{key}": value.clone() for key, value in model.state_dict().items()}
    waveforms = batch(lengths)
    padding = torch.arange(waveforms.shape[1])[None] >= torch.tensor(lengths)[:, None]
    if "quant_n" in cfg:
        tensors["labels"] = model.extract_labels(waveforms, padding).view(len(lengths), -1)
        return tensors
    if name == "encoder_gradients":
        with torch.enable_grad():
            model.extract_features(waveforms)[0].square().sum().backward()
        for key, parameter in model.named_parameters():
            if key.endswith(("q_proj.weight", "post_extract_proj.weight")):
                tensors[f"gradient.{key}"] = parameter.grad.clone()
        return tensors
    output = "probabilities" if cfg["finetuned_model"] else "hidden_states"
    tensors[output], _ = model.extract_features(waveforms)
    tensors[f"padded_{output}"], mask = model.extract_features(waveforms, padding)
    tensors["patch_mask"] = ~mask
    return tensors


QUANTIZER = {"num_codes": 16, "size": 8, "decay": 0.9, "seed": 7, "rounds": 10}
"""Fewer codes than vectors in the first batch, and a decay at which a step moves them visibly."""


def run_quantizer() -> dict[str, torch.Tensor]:
    """Two steps of the authors' quantizer in training: k-means and a moving average, then another moving average."""
    from quantizer import NormEMAVectorQuantizer, kmeans, sample_vectors  # type: ignore[import-not-found]

    num_codes, size, seed = (int(QUANTIZER[name]) for name in ("num_codes", "size", "seed"))
    generator = torch.Generator().manual_seed(seed)
    vectors = [torch.randn(count, size, generator=generator, requires_grad=True) for count in (60, 11)]
    directions = torch.nn.functional.normalize(vectors[0].detach(), dim=-1)
    tensors = {}
    torch.manual_seed(seed)
    tensors["first_centres"] = sample_vectors(directions, num_codes)
    torch.manual_seed(seed)
    tensors["centres"], _ = kmeans(directions, num_codes, QUANTIZER["rounds"], use_cosine_sim=True)
    quantizer = NormEMAVectorQuantizer(num_codes, size, beta=1.0, decay=QUANTIZER["decay"], kmeans_init=True).train()
    torch.manual_seed(seed)
    for step, values in enumerate(vectors, start=1):
        quantized, loss, labels = quantizer(values)
        (quantized.square().sum() + loss).backward()
        tensors[f"vectors_{step}"] = values.detach()
        tensors[f"quantized_{step}"], tensors[f"loss_{step}"] = quantized.detach(), loss.detach()
        tensors[f"labels_{step}"] = labels
        tensors[f"gradient_{step}"] = values.grad
        tensors[f"codes_{step}"] = quantizer.embedding.weight.detach().clone()
    return tensors


def run_all() -> dict[str, tuple[dict[str, torch.Tensor], dict[str, Any]]]:
    """Tensors and settings of every file."""
    from BEATs import BEATs, BEATsConfig

    front_end = BEATs(BEATsConfig({**BASE, **SMALL}))
    energies = {name: front_end.preprocess(torch.from_numpy(sound)[None])[0] for name, sound in SOUNDS.items()}
    files: dict[str, tuple[dict[str, torch.Tensor], dict[str, Any]]] = {"filterbank": (energies, {})}
    for name, (changes, lengths, _) in CASES.items():
        files[name] = (run_case(name), {"cfg": {**BASE, **changes}, "lengths": lengths})
    files["quantizer"] = (run_quantizer(), QUANTIZER)
    return files


def main() -> int:
    """Write the fixtures, or compare them with what the authors' code computes now."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("official", type=Path, help="folder with BEATs.py, Tokenizers.py and what they import")
    parser.add_argument("--check", action="store_true", help="compare with the fixtures instead of writing them")
    arguments = parser.parse_args()
    sys.path.insert(0, str(arguments.official))
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
