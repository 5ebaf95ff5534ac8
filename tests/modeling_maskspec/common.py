"""Tiny models, inputs and fixtures."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from audioformer.modeling_maskspec import MaskSpecConfig
from audioformer.modeling_maskspec.convert_maskspec import convert_maskspec_checkpoint

FIXTURES = Path(__file__).parent / "fixtures"


def tiny_config(**changes: Any) -> MaskSpecConfig:
    """Two layers of hidden size 32 on patches of 4 frames and 4 of 8 mel bins; `changes` override any field."""
    fields = {
        "num_mel_bins": 8,
        "patch_size": 4,
        "num_time_positions": 10,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "decoder_hidden_size": 16,
        "decoder_num_hidden_layers": 2,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 24,
        # Dropout as in training, and weights at which an error changes outputs by far more than rounding does.
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "classifier_dropout": 0.1,
        "initializer_range": 0.2,
        "classifier_initializer_range": 0.2,
    }
    return MaskSpecConfig(**{**fields, **changes})


def random_features(config: MaskSpecConfig, batch_size: int, num_frames: int, seed: int = 0) -> torch.Tensor:
    """Spectrograms of shape `(batch_size, num_frames, num_mel_bins)`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch_size, num_frames, config.num_mel_bins, generator=generator)


def perturbed(model: Any, seed: int = 0) -> Any:
    """The model with all weights moved away from their initial zeros and ones, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model.eval()


def read_fixture(name: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, Any]]:
    """The weights of a fixture with the names of the authors' code, its other tensors, and its settings."""
    weights, others = {}, {}
    with safe_open(FIXTURES / f"{name}.safetensors", "pt") as file:
        for key in file.keys():  # noqa: SIM118 (not a dict)
            part = weights if key.startswith("model.") else others
            part[key.removeprefix("model.")] = file.get_tensor(key)
        settings = json.loads(file.metadata()["settings"])
    return weights, others, settings


def converted_fixture(name: str) -> tuple[Any, dict[str, torch.Tensor], dict[str, Any]]:
    """The converted model of a fixture, its expected tensors, and its settings."""
    weights, expected, settings = read_fixture(name)
    heads = {"num_attention_heads": settings["num_heads"]}
    if "decoder_num_heads" in settings:
        heads["decoder_num_attention_heads"] = settings["decoder_num_heads"]
    return convert_maskspec_checkpoint({"model": weights}, **heads).model, expected, settings
