"""Checks a card: its licence, and that its numbers are those that the recorded results give."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar

import jinja2
import yaml
from huggingface_hub import DatasetCard, ModelCard

from audioformer.files import CARD, CARD_FACTS, CODES_MANIFEST, EVAL_RESULTS

from .codes_card import read_codes_manifest, render_codes_card
from .facts import PretrainedFacts, TrainedFacts, read_facts
from .licenses import OTHER, check_license
from .render import is_repo_id, render_card

CardT = TypeVar("CardT", ModelCard, DatasetCard)

_REPOSITORY = re.compile(r"(?:from_pretrained\(|model=)\"([^\"\s]+)\"")
_ADDRESS = re.compile(r"https?://[^\s)>]+")
_NAME = re.compile(r"\b[A-Z]+-?\d+\b(?![.,]?\d|\s*%)")
"""A name such as ESC-50 or C1, which is no number that somebody measured."""
_ENUMERATION = re.compile(r"^\s*\d+[.)]\s")


def load_card(file: Path, kind: type[CardT] = ModelCard) -> CardT:  # type: ignore[assignment]
    """Read a card.

    Args:
        file (`Path`): The card.
        kind (`type`, defaults to `ModelCard`): `ModelCard` or `DatasetCard`.

    Raises:
        ValueError: If it is no text, or its metadata are not YAML.
    """
    try:
        return kind.load(file)
    except (ValueError, yaml.YAMLError, TypeError, AttributeError, RecursionError, OSError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{file}: the metadata at the top cannot be read ({reason}).") from error


def check_card(folder: Path, *, own_numbers: bool = False) -> Iterator[str]:
    """Say what is wrong with the card of a folder.

    Args:
        folder (`Path`): A folder with a model or with codes.
        own_numbers (`bool`, defaults to `False`): Accept numbers that no recorded result gives.

    Yields:
        `str`: One sentence per finding.
    """
    file = folder / CARD
    if not file.is_file():
        yield f"{CARD} is missing: a model or data set needs a card."
        return
    try:
        card = load_card(file)
        generated = generated_card(folder, card)
    except ValueError as error:
        yield f"{CARD} cannot be checked: {error}"
        return
    yield from _check_license(card)
    yield from _check_base_model(card)
    if not own_numbers:
        yield from _check_numbers(card, generated)


def generated_card(folder: Path, card: ModelCard) -> ModelCard | DatasetCard | None:
    """Render the card that a folder's recorded results give, with the licence that its card states.

    Args:
        folder (`Path`): A folder with a model or with codes.
        card (`ModelCard`): Its card as it is.

    Returns:
        `ModelCard` or `DatasetCard`; `None` if nothing was recorded from which a card could be rendered.

    Raises:
        ValueError: If what was recorded is incomplete.
    """
    license = card.data.get("license")
    stated = license if isinstance(license, str) else None
    if (folder / CODES_MANIFEST).is_file():
        return render_codes_card(read_codes_manifest(folder), license=stated)
    if (folder / CARD_FACTS).is_file():
        try:
            return render_card(read_facts(folder), license=stated)
        except (jinja2.UndefinedError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{CARD_FACTS} or {EVAL_RESULTS} is incomplete ({error}).") from error
    name = card.data.get("model_name")
    repository = _REPOSITORY.search(card.text)
    if not isinstance(name, str) or repository is None:
        return None
    # The card of a model of which nothing was recorded states its name and repository, and nothing else.
    return render_card(PretrainedFacts(name=name, repo_id=repository[1]), license=stated)


def is_card_of_trainer(folder: Path) -> bool:
    """Whether the card in a folder is what a trainer wrote when it uploaded, so that it may be rendered anew."""
    if not (folder / CARD_FACTS).is_file():
        return False
    facts = read_facts(folder)
    card = load_card(folder / CARD)
    rendered = render_card(facts, license=card.data.get("license"))
    return isinstance(facts, TrainedFacts) and str(card) == str(rendered)


def foreign_numbers(text: str, generated: str) -> Iterator[tuple[str, str]]:
    """Find lines with numbers that another text does not have in the same section.

    Args:
        text (`str`): Markdown.
        generated (`str`): Markdown whose lines may stand in `text`, in the section of the same title.

    Yields:
        `tuple[str, str]`: Title of the section, empty before the first, and the line.
    """
    known: dict[str, Counter[str]] = {}
    for title, line in _lines_by_section(generated):
        known.setdefault(title, Counter())[line.strip()] += 1
    for title, line in _lines_by_section(text):
        lines = known.setdefault(title, Counter())
        if lines[line.strip()]:
            lines[line.strip()] -= 1
        elif _states_a_number(line):
            yield title, line.strip()


def _check_license(card: ModelCard) -> Iterator[str]:
    license = card.data.get("license")
    stated = license if isinstance(license, list) else [license]
    if not all(stated) or (OTHER in stated and not card.data.get("license_name")) or "unknown" in stated:
        yield f"{CARD} states no licence: state one with --license, for example cc-by-4.0 or apache-2.0."
        return
    for entry in stated:
        try:
            check_license(entry)
        except ValueError as error:
            yield f"{CARD}: {error}"


def _check_base_model(card: ModelCard) -> Iterator[str]:
    base_model = card.data.get("base_model")
    for name in base_model if isinstance(base_model, list) else [base_model]:
        if name is not None and (not is_repo_id(str(name)) or Path(str(name)).exists()):
            yield f"{CARD} states the base model {str(name)!r} in its metadata, which is no id of the Hub: remove it."


def _check_numbers(card: ModelCard, generated: ModelCard | DatasetCard | None) -> Iterator[str]:
    advice = (
        "which no recorded result gives. Numbers on a card come from what was measured: remove it, delete the card to "
        "have it rendered anew, or vouch for it with --own-numbers."
    )
    allowed: Counter[tuple[str, float | str]] = Counter()
    if generated is not None:
        allowed.update(_numbers(generated.data.to_dict()))
    for place, number in Counter(_numbers(card.data.to_dict())) - allowed:
        yield f"{CARD} states {number} as {place} in its metadata, {advice}"
    foreign = list(foreign_numbers(card.text, "" if generated is None else generated.text))
    if foreign:
        title, line = foreign[0]
        where = f"in the section {title!r}" if title else "before its first section"
        others = f" and {len(foreign) - 1} more lines" if len(foreign) > 1 else ""
        yield f"{CARD} states a number {where} ({line[:60]!r}{others}), {advice}"


def _numbers(metadata: Any, place: str = "") -> Iterator[tuple[str, float | str]]:
    """Numbers in metadata with the keys that lead to them; values of metrics even if they are written as text."""
    if isinstance(metadata, bool):
        return
    if isinstance(metadata, (int, float)):
        yield place, float(metadata)
    elif isinstance(metadata, str) and place.endswith(".value"):
        yield place, metadata
    elif isinstance(metadata, dict):
        for key, value in metadata.items():
            yield from _numbers(value, f"{place}.{key}" if place else str(key))
    elif isinstance(metadata, list):
        for value in metadata:
            yield from _numbers(value, place)


def _lines_by_section(text: str) -> Iterator[tuple[str, str]]:
    title, fence = "", False
    for line in text.splitlines():
        if line.lstrip().startswith(("```", "~~~")):
            fence = not fence
        elif line.startswith(("# ", "## ")) and not fence:
            title = line.lstrip("# ").strip() if line.startswith("## ") else ""
        yield title, line


def _states_a_number(line: str) -> bool:
    rest = _NAME.sub("", _ADDRESS.sub("", _ENUMERATION.sub("", line)))
    return any(character.isnumeric() for character in rest)
