"""What every conversion ends with: a card that says where the weights come from, and a summary."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from audioformer.files import CARD
from audioformer.model_cards.facts import PretrainedFacts
from audioformer.model_cards.render import render_pretrained_card

from .families import CardText

WEIGHT_FILES = ("*.safetensors", "*.bin", "*.pt", "*.pth", "*.th")
"""Patterns of the weight files in a folder; the first that any file fits counts."""


def weight_files(source: Path) -> list[Path]:
    """The weight files of a checkpoint: itself, or those in the folder; empty if there are none."""
    if source.is_file():
        return [source]
    return next((files for pattern in WEIGHT_FILES if (files := sorted(source.glob(pattern)))), [])


def require_file(source: Path) -> Path:
    """The checkpoint, where only a file can be one.

    Raises:
        ValueError: If it is a folder.
    """
    if source.is_dir():
        raise ValueError(f"{str(source)!r} is a folder: a checkpoint of this kind is a file.")
    return source


def sha256_of(source: Path) -> str:
    """SHA-256 of a checkpoint, in hexadecimal digits.

    Args:
        source (`Path`): A file, or a folder with one weight file or several. Of several it is the sum of the list of
            their sums, as `sha256sum *.safetensors | sha256sum` in the folder prints it.
    """
    sums = []
    for file in weight_files(source):
        with file.open("rb") as content:
            sums.append((hashlib.file_digest(content, "sha256").hexdigest(), file.name))
    if len(sums) == 1:
        return sums[0][0]
    return hashlib.sha256("".join(f"{one}  {name}\n" for one, name in sums).encode()).hexdigest()


def write_card(card: CardText, file: Path, sha256: str, output: Path) -> None:
    """Write the card of a converted model, and the facts that it is rendered from.

    Args:
        card (`CardText`): Name and paper of the family.
        file (`Path`): The checkpoint of other code, a file or a folder.
        sha256 (`str`): Its SHA-256, see [`sha256_of`].
        output (`Path`): The folder of the model.
    """
    facts = PretrainedFacts(
        name=output.resolve().name,
        title=card.title,
        paper=card.paper,
        citation=card.citation,
        converted_from={"file": file.name, "sha256": sha256},
    )
    facts.save(output)
    render_pretrained_card(facts).save(output / CARD)


def summarize(output: Path, model_class: type, num_weights: int, labels: Sequence[str], notes: Sequence[str]) -> str:
    """Say what was written.

    Args:
        output (`Path`): The folder of the model.
        model_class (type): Its class.
        num_weights (`int`): Number of its weights.
        labels (sequence of `str`): Labels of a classifier; empty if it is none.
        notes (sequence of `str`): What of the checkpoint was not used or had to be assumed, in sentences.

    Returns:
        `str`: A line each for the model, its labels if it has any, and every note.
    """
    lines = [f"{output}: {model_class.__name__}, {num_weights:,} weights"]
    if labels:
        lines.append(f"{len(labels)} labels: {', '.join(labels[:5])}{', ...' if len(labels) > 5 else ''}")
    return "\n".join([*lines, *notes])
