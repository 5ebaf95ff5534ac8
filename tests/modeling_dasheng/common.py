"""Tiny models, inputs and fixtures."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from audioformer.modeling_dasheng import DashengConfig

FIXTURES = Path(__file__).parent / "fixtures"


def tiny_config(**changes: Any) -> DashengConfig:
    """Two layers of size 32 on patches of 2 frames and 8 mel bins, 12 positions; `changes` override any field."""
    fields = {
        "num_mel_bins": 8,
        "frames_per_patch": 2,
        "num_time_positions": 12,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "decoder_hidden_size": 16,
        "decoder_num_hidden_layers": 1,
        "decoder_num_attention_heads": 2,
        "decoder_intermediate_size": 24,
        # Dropout as in training, and weights at which an error changes outputs by far more than rounding does.
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "classifier_dropout": 0.1,
        "initializer_range": 0.2,
    }
    return DashengConfig(**{**fields, **changes})


def random_features(config: DashengConfig, batch_size: int, num_frames: int, seed: int = 0) -> torch.Tensor:
    """Spectrograms of shape `(batch_size, num_frames, num_mel_bins)`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch_size, num_frames, config.num_mel_bins, generator=generator)


def perturbed(model: Any, seed: int = 0) -> Any:
    """The model with all weights and statistics moved away from their initial zeros and ones, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
        batch_norm = model.base_model.embeddings.batch_norm
        batch_norm.running_mean += 0.5
        batch_norm.running_var += 0.5
    return model.eval()


def read_fixture(name: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, Any]]:
    """The weights of a fixture with the names of the authors' code, its other tensors, and its settings."""
    weights, others = {}, {}
    with safe_open(FIXTURES / f"{name}.safetensors", "pt") as file:
        for key in file.keys():  # noqa: SIM118 (not a dict)
            value = file.get_tensor(key)
            part = weights if key.startswith("model.") else others
            part[key.removeprefix("model.")] = value.float() if value.is_floating_point() else value
        settings = json.loads(file.metadata()["settings"])
    return weights, others, settings
