"""Write the fixtures of MaskSpec with the authors' own code, see fixtures/README.md.

python -m tests.modeling_maskspec.make_fixtures OFFICIAL [--check]
"""

import argparse
import json
import sys
import types
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tests.modeling_maskspec.sounds import SOUNDS, image, ten_seconds

FOLDER = Path(__file__).parent / "fixtures"
TOLERANCE = 1e-5

SIZES: dict[str, Any] = {"patch_size": 16, "embed_dim": 32, "depth": 2, "num_heads": 4, "mlp_ratio": 2}
DECODER = {"decoder_embed_dim": 16, "decoder_depth": 2, "decoder_num_heads": 2}
"""Tiny sizes; the decoder has the feed-forward ratio of the encoder."""

ROWS = [0, 1, 2, 62, 63, 64, 250, 496]
"""Rows of the full-sized position tables that are kept."""

TARGETS = (1000, 500, 100)
"""Frames that the classifier keeps, as in the authors' tasks."""


def prepare(official: Path) -> Any:
    """Make the authors' modules importable and run on a CPU; the modules of the models."""
    sys.path.insert(0, str(official))
    # timm 0.5.4 imports them for data sets of images, and names many constants of these.
    for name in ("PIL", "torchvision", "torchvision.transforms", "timm.data", "timm.data.constants"):
        module = types.ModuleType(name)
        module.__path__ = []
        module.__getattr__ = lambda _: None  # type: ignore[method-assign]
        sys.modules.setdefault(name, module)
    np.float = float  # type: ignore[attr-defined]
    torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign,assignment]
    torch.HalfTensor = torch.FloatTensor  # type: ignore[misc]
    from models import models_mae, models_vit  # type: ignore[import-not-found]

    return models_mae, models_vit


def perturb(model: torch.nn.Module, seed: int) -> None:
    """Move all weights away from their initial zeros and ones, so that each of them matters."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        if not name.endswith("pos_embed"):
            parameter.data += 0.2 * torch.randn(parameter.shape, generator=generator)


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {f"model.{key}": value.clone() for key, value in model.state_dict().items()}


@torch.no_grad()
def run_all(official: Path) -> dict[str, tuple[dict[str, torch.Tensor], dict[str, Any]]]:
    """Tensors and settings of every file."""
    mae, vit = prepare(official)
    norm = partial(torch.nn.LayerNorm, eps=1e-6)
    options = {"norm_layer": norm, "norm_file": str(official / "audioset" / "mean_std_128.npy")}
    return {
        "spectrograms": spectrograms(mae, options),
        "positions": positions(mae, options),
        "pretraining": pretraining(mae, options),
        "classifier": classifier(vit, options),
        "classifier_cls": classifier_cls(vit, options),
    }


def spectrograms(mae: Any, options: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    model = mae.MaskedAutoencoderViT(img_size=(128, 96), **SIZES, **DECODER, **options).eval()
    tensors = {}
    for name, sound in SOUNDS.items():
        clip = torch.from_numpy(sound)[None, None]
        tensors[f"energies.{name}"] = model.mel(clip[:, 0])[0].T
        tensors[f"normalized.{name}"] = model.mel_forward(clip)[0, 0].T
    tensors["half.noise"] = model.mel(torch.from_numpy(SOUNDS["noise"])[None].half().float())[0].T
    return tensors, {}


def positions(mae: Any, options: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    sizes = {**SIZES, "embed_dim": 768, "depth": 0}
    model = mae.MaskedAutoencoderViT(img_size=(128, 992), **sizes, **{**DECODER, "decoder_embed_dim": 512}, **options)
    return {"encoder": model.pos_embed[0, ROWS], "decoder": model.decoder_pos_embed[0, ROWS]}, {"rows": ROWS}


def pretraining(mae: Any, options: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    torch.manual_seed(1)
    model = mae.MaskedAutoencoderViT(img_size=(128, 96), **SIZES, **DECODER, **options)
    perturb(model, 1)
    model.eval()
    tensors = weights_of(model)
    clips = torch.from_numpy(np.stack([image(96, 1), image(96, 2)])).transpose(1, 2)[:, None]
    noise = torch.rand(2, 48, generator=torch.Generator().manual_seed(3))
    torch.rand, drawn = (lambda *_, **__: noise.clone()), torch.rand
    try:
        tokens, _, _ = model.forward_encoder(clips, 0.0)
        # Nothing is masked, but the patches are shuffled.
        order = noise.argsort(dim=1).argsort(dim=1)[:, :, None].expand(-1, -1, 32)
        tensors["tokens"] = torch.cat((tokens[:, :1], tokens[:, 1:].gather(1, order)), dim=1)
        latent, mask, restore = model.forward_encoder(clips, 0.75)
        prediction = model.forward_decoder(latent, restore)
    finally:
        torch.rand = drawn
    tensors |= {"noise": noise, "mask": mask, "prediction": prediction}
    for flag in (True, False):
        model.norm_pix_loss = flag
        tensors["loss_standardized" if flag else "loss_raw"] = model.forward_loss(clips, prediction, mask)
    ramp = torch.arange(128 * 96.0).view(1, 1, 128, 96)
    tensors["ramp"] = model.patchify(ramp)[0, :, :, 0].to(torch.int16)
    return tensors, {**SIZES, **DECODER, "frames": 96}


def classifier(vit: Any, options: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    torch.manual_seed(2)
    sizes = {"img_size": (128, 1000), "in_chans": 1, "num_classes": 5, "qkv_bias": True, **SIZES, **options}
    model = vit.VisionTransformer(global_pool=True, **sizes)
    perturb(model, 2)
    model.pos_embed.data += 0.1 * torch.randn(model.pos_embed.shape, generator=torch.Generator().manual_seed(5))
    model.eval()
    tensors = weights_of(model)
    clip = torch.from_numpy(ten_seconds())[None, None]
    for frames in TARGETS:
        model.target_size = (128, frames)
        logits, _, embedding = model(clip, None, inference=True)
        tensors |= {f"logits.{frames}": logits, f"embedding.{frames}": embedding}
    model.target_size = (128, 1000)
    logits, _, embedding = model(clip[:, :, :160_000], None, inference=True)
    tensors |= {"logits.stretched": logits, "embedding.stretched": embedding}
    return tensors, {**SIZES, "num_classes": 5, "layer_scales": layer_scales(vit, options)}


def layer_scales(vit: Any, options: dict[str, Any]) -> dict[str, float]:
    """Learning-rate factor of every weight of a classifier of twelve layers."""
    from utils.lr_decay import param_groups_lrd  # type: ignore[import-not-found]

    sizes = {**SIZES, "embed_dim": 8, "depth": 12, "num_heads": 1}
    model = vit.VisionTransformer(
        global_pool=True, img_size=(128, 1000), in_chans=1, num_classes=5, **sizes, **options
    )
    groups = param_groups_lrd(model, types.SimpleNamespace(model_type="vit"), layer_decay=0.75)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(one)]: group["lr_scale"] for group in groups for one in group["params"]}


def classifier_cls(vit: Any, options: dict[str, Any]) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    torch.manual_seed(4)
    sizes = {"img_size": (128, 160), "in_chans": 1, "num_classes": 3, "qkv_bias": True, **SIZES, **options}
    model = vit.VisionTransformer(global_pool=False, target_size=(128, 160), **sizes)
    perturb(model, 4)
    model.eval()
    logits, _, embedding = model(torch.from_numpy(ten_seconds())[None, None, :51_200], None, inference=True)
    tensors = {**weights_of(model), "logits": logits, "embedding": embedding}
    return tensors, {**SIZES, "num_classes": 3}


def main() -> int:
    """Write the fixtures, or compare them with what the authors' code computes now."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("official", type=Path, help="the authors' repository")
    parser.add_argument("--check", action="store_true", help="compare with the fixtures instead of writing them")
    arguments = parser.parse_args()
    worst = 0.0
    for name, (tensors, settings) in run_all(arguments.official.resolve()).items():
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
