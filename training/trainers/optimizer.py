"""Learning rates that fall from layer to layer, towards the input."""

import re

import torch
from torch import nn


def layer_of_parameter(name: str, num_layers: int) -> int:
    """Depth of a parameter by its name: 0 for the embeddings, 1 to `num_layers` for the layers, then the head."""
    match = re.search(r"\blayers\.(\d+)\.", name)
    if match:
        return int(match[1]) + 1
    return 0 if "embeddings." in name else num_layers + 1


def decay_by_layer(optimizer: torch.optim.Optimizer, model: nn.Module, decay: float) -> None:
    """Multiply the learning rate by `decay` for each layer between a parameter and the head, in place.

    The head keeps the full rate, the last layer has `decay` of it, the embeddings `decay ** (num_layers + 1)`, as in
    BEiT (Bao et al., arXiv 2106.08254) and ELECTRA.

    Args:
        optimizer (`torch.optim.Optimizer`): Fresh, before a scheduler was made for it; its groups are split by depth.
        model (`nn.Module`): Whose parameters it has.
        decay (`float`): In (0, 1].
    """
    names = {id(parameter): name.removeprefix("module.") for name, parameter in model.named_parameters()}
    num_layers = 1 + max(int(match[1]) for name in names.values() if (match := re.search(r"\blayers\.(\d+)\.", name)))
    groups = []
    for group in optimizer.param_groups:
        by_depth: dict[int, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            by_depth.setdefault(layer_of_parameter(names[id(parameter)], num_layers), []).append(parameter)
        # The head first: the Trainer logs the rate of the first group.
        for depth, parameters in sorted(by_depth.items(), reverse=True):
            rate = group["lr"] * decay ** (num_layers + 1 - depth)
            groups.append({**group, "params": parameters, "lr": rate})
    optimizer.param_groups[:] = groups
