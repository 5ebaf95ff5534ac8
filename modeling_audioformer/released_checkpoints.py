"""What the conversion of released checkpoints has in common: reading them, names of weights and labels, a last check.

Model folders share this file by a link.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch


def read_checkpoint(path: str | Path, allowed_classes: Sequence[type], mmap: bool = False) -> Any:
    """Read a file of torch. Only tensors, numbers, text, plain containers and what is allowed are unpickled.

    Args:
        path (`str` or `Path`): The file.
        allowed_classes (sequence of `type`): What it may hold besides these.
        mmap (`bool`, defaults to `False`): Whether to map tensors into memory instead of reading them.

    Returns:
        What the file holds; tensors are on the CPU.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it cannot be read, or holds anything else; the message names it.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"The checkpoint {str(path)!r} does not exist.")
    allowed = {f"{one.__module__}.{one.__qualname__}" for one in allowed_classes}
    try:
        with torch.serialization.safe_globals(list(allowed_classes)):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:
        refused = sorted(_named_classes(path) - allowed)
        if refused:
            raise ValueError(
                f"{str(path)!r} is not loaded, because it holds objects of {', '.join(refused)}; allowed besides "
                f"tensors and plain containers: {', '.join(sorted(allowed))}."
            ) from error
        raise ValueError(f"{str(path)!r} cannot be read with `weights_only=True`: {error}") from error


def _named_classes(path: str | Path) -> set[str]:
    """Names of what a file holds that torch does not unpickle by itself; empty if it is not a file of torch at all."""
    try:
        return set(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:
        return set()


def rename(name: str, patterns: Iterable[tuple[str, str]]) -> str:
    """The name of a weight, changed by the first pattern that fits.

    Args:
        name (`str`): Its name in other code.
        patterns (iterable of pairs of `str`): Regular expressions and what they are replaced by.

    Returns:
        `str`: The new name, or the same if no pattern fits.
    """
    for pattern, replacement in patterns:
        renamed, count = re.subn(pattern, replacement, name)
        if count:
            return renamed
    return name


def check_fit(weights: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], source: str) -> None:
    """Check that weights are those of a model, before they are loaded.

    Args:
        weights (mapping): Tensors by our names.
        expected (mapping): State dict of the model.
        source (`str`): What they come from, for the message.

    Raises:
        ValueError: If weights are missing, left over or of another shape.
    """
    wrong = sorted(weights.keys() ^ expected.keys()) or sorted(
        name for name, value in weights.items() if value.shape != expected[name].shape
    )
    if wrong:
        raise ValueError(
            f"The weights of {source} do not fit its settings, {len(wrong)} differ: {', '.join(wrong[:5])}."
        )


def label_fields(names: Sequence[str], ids: Sequence[str]) -> dict[str, Any]:
    """Fields of a configuration that name the labels of a classifier.

    Args:
        names (sequence of `str`): Names of the labels, in the order of the classifier.
        ids (sequence of `str`): Their machine ids, such as AudioSet's `"/m/09x0r"`.

    Returns:
        `dict[str, Any]`: `id2label`, `label2id` and `label_ids`.

    Raises:
        ValueError: If two labels have the same name.
    """
    if len(set(names)) < len(names):
        raise ValueError("Two labels of the classifier have the same name.")
    return {
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
        "label_ids": dict(zip(names, ids, strict=True)),
    }


__all__ = ["check_fit", "label_fields", "read_checkpoint", "rename"]
