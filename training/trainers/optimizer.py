"""Layer-wise decay of the learning rate from the head towards the input."""

import re
from collections import Counter
from collections.abc import Sequence

import torch
from torch import nn

LAYER_NAME = re.compile(r"(?P<stack>.*?\b(?:layers|layer|blocks))\.(?P<number>\d+)\.")
"""Names of parameters in numbered layers. The shortest match counts: layers inside a layer belong to it."""


def distances_from_head(names: Sequence[str]) -> dict[str, int]:
    """Count the layers between each parameter and the head, including its own.

    The layers are the numbered modules (`layers.N.`, `layer.N.` or `blocks.N.`) of the stack that holds the most
    parameters. Parameters that are registered before that stack (embeddings, a convolutional front end) lie below its
    first layer. All others (a final norm, the head) belong to the head.

    Args:
        names (sequence of `str`): Names of the parameters, in the order of `model.named_parameters()`.

    Returns:
        `dict[str, int]`: 0 for the head, 1 for the last layer, and `num_layers + 1` for what precedes the layers.

    Raises:
        ValueError: If no parameter is in a numbered layer.
    """
    matches = {name: match for name in names if (match := LAYER_NAME.match(name))}
    if not matches:
        raise ValueError(
            "`layer_wise_lr_decay` needs a model with numbered layers, whose parameters are named `layers.N.`, "
            f"`layer.N.` or `blocks.N.`; got names such as {list(names)[:3]}."
        )
    (stack, _), *_ = Counter(match["stack"] for match in matches.values()).most_common(1)
    numbers = {name: int(match["number"]) for name, match in matches.items() if match["stack"] == stack}
    num_layers = 1 + max(numbers.values())
    distances, below_layers = {}, True
    for name in names:
        if name in numbers:
            below_layers = False
            distances[name] = num_layers - numbers[name]
        else:
            distances[name] = num_layers + 1 if below_layers else 0
    return distances


def decay_by_layer(optimizer: torch.optim.Optimizer, model: nn.Module, decay: float) -> None:
    """Multiply the learning rate by `decay` once per layer between a parameter and the head, in place.

    The head keeps the full rate, the last layer gets `decay` times that rate, and the embeddings get
    `decay ** (num_layers + 1)`, as in BEiT (Bao et al., arXiv 2106.08254) and ELECTRA.

    Args:
        optimizer (`torch.optim.Optimizer`): A new optimizer without a scheduler. Its groups are split by layer.
        model (`nn.Module`): The model whose parameters it optimizes, see [`distances_from_head`].
        decay (`float`): Factor per layer, in (0, 1].

    Raises:
        ValueError: If the model has no numbered layers.
    """
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    distances = distances_from_head(list(names.values()))
    groups = []
    for group in optimizer.param_groups:
        by_distance: dict[int, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            by_distance.setdefault(distances[names[id(parameter)]], []).append(parameter)
        # The head comes first because the Trainer logs the rate of the first group.
        for distance, parameters in sorted(by_distance.items()):
            groups.append({**group, "params": parameters, "lr": group["lr"] * decay**distance})
    optimizer.param_groups[:] = groups
