"""Which codebooks a model reads: names for people and folders, which count from C1, and the check of a pair."""

from collections.abc import Sequence


def describe_codebooks(codebooks: int | Sequence[int]) -> str:
    """One codebook, or several that are read together, in words.

    Args:
        codebooks (`int` or sequence of `int`): Indices from 0.

    Returns:
        `str`: Such as `"codebook 0 (C1)"`, `"codebooks 0 to 3 (C1 to C4)"` or `"codebooks 0, 2 (C1, C3)"`.
    """
    if isinstance(codebooks, int):
        return f"codebook {codebooks} (C{codebooks + 1})"
    names = [f"C{codebook + 1}" for codebook in codebooks]
    if _is_range(codebooks):
        return f"codebooks {codebooks[0]} to {codebooks[-1]} ({names[0]} to {names[-1]})"
    return f"codebooks {', '.join(map(str, codebooks))} ({', '.join(names)})"


def name_codebooks(codebooks: int | Sequence[int]) -> str:
    """One codebook, or several that are read together, as the name of a folder.

    Args:
        codebooks (`int` or sequence of `int`): Indices from 0.

    Returns:
        `str`: Such as `"C1"`, `"C1-C4"` for 0 to 3, or `"C1_C3"` for 0 and 2.
    """
    if isinstance(codebooks, int):
        return f"C{codebooks + 1}"
    names = [f"C{codebook + 1}" for codebook in codebooks]
    return f"{names[0]}-{names[-1]}" if _is_range(codebooks) else "_".join(names)


def check_same_codebooks(model: str, needed: int | list[int], given: int | list[int]) -> None:
    """Check that ids are of the codebooks that a model reads, if either has several.

    One codebook may be another than that of the model: its weights are then a start for the other one.

    Args:
        model (`str`): Folder or Hub id of the model.
        needed (`int` or `list[int]`): What it reads, see [`AudioFormerConfig.codebook_indices`].
        given (`int` or `list[int]`): Codebooks of the ids.

    Raises:
        ValueError: If they differ, or their order does.
    """
    if given != needed and not (isinstance(given, int) and isinstance(needed, int)):
        raise ValueError(
            f"`model` {model!r} reads {describe_codebooks(needed)}, the ids would be of {describe_codebooks(given)}: "
            "both must be the same codebooks in the same order."
        )


def _is_range(codebooks: Sequence[int]) -> bool:
    """Whether several codebooks follow each other."""
    return len(codebooks) > 1 and list(codebooks) == list(range(codebooks[0], codebooks[-1] + 1))
