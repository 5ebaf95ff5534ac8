"""Scales of the layers and outputs of a codec: at initialization, and before its codebooks start."""

from typing import Any

import torch
from torch import nn


@torch.no_grad()
def scale_layers(module: nn.Module, inputs: torch.Tensor, output_deviation: float = 1.0, rounds: int = 2) -> None:
    r"""
    Scale each convolution such that its outputs have unit variance (Mishkin & Matas, "All you need is a good init",
    arXiv 1511.06422), and set biases to zero.

    The default initialization of `EncodecModel` lets sounds fade on their way through an encoder without
    normalization layers: what it puts out hardly depends on them, and learning needs hundreds of steps to begin.

    Args:
        module (`nn.Module`):
            Encoder or decoder, with weight-normalized convolutions.
        inputs (`torch.FloatTensor`):
            A batch of its inputs.
        output_deviation (`float`, *optional*, defaults to 1.0):
            Standard deviation of the outputs of the last convolution.
        rounds (`int`, *optional*, defaults to 2):
            Measurements per layer. A second one corrects what the biases did to the first.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, (nn.Conv1d, nn.ConvTranspose1d))]
    for layer in layers:
        if layer.bias is not None:
            layer.bias.zero_()
        wanted = output_deviation if layer is layers[-1] else 1.0
        parametrizations: Any = layer.parametrizations
        for _ in range(rounds):
            parametrizations.weight.original0.mul_(wanted / max(_output_deviation(module, layer, inputs), 1e-6))


def _output_deviation(module: nn.Module, layer: nn.Module, inputs: torch.Tensor) -> float:
    """Standard deviation of what a layer of a module puts out."""
    measured: list[float] = []
    handle = layer.register_forward_hook(lambda _layer, _inputs, output: measured.append(float(output.std())))
    module(inputs)
    handle.remove()
    return measured[-1]


@torch.no_grad()
def whiten(encoder: nn.Module, embeddings: torch.Tensor) -> None:
    r"""
    Change the last convolution of an encoder such that its outputs are uncorrelated, with mean zero and variance one.

    Entries are chosen by squared distance, so that codebooks spend them where the embeddings vary most, and leave fine
    differences to chance. After whitening each direction counts alike: C1 tells more sounds apart, and repeats less
    often (see the card of the bundled codec).

    Args:
        encoder (`nn.Module`):
            `EncodecModel.encoder`.
        embeddings (`torch.FloatTensor` of shape `(num_frames, hidden_size)`):
            Its outputs for audio like that of training, at least a few thousand frames.
    """
    mean = embeddings.mean(dim=0)
    variances, directions = torch.linalg.eigh(torch.cov(embeddings.double().T))
    # A direction in which nothing varies is not amplified without bound.
    scales = variances.clamp(min=float(variances[-1]) * 1e-5).rsqrt()
    transform = ((directions * scales) @ directions.T).to(embeddings.dtype)
    layer = [layer for layer in encoder.modules() if isinstance(layer, nn.Conv1d)][-1]
    assert layer.bias is not None
    layer.bias.copy_(transform @ (layer.bias - mean))
    # Assignment sets direction and length of the weight-normalized weight.
    layer.weight = torch.einsum("oi,ick->ock", transform, layer.weight)
