"""What every converted folder has: a card that says where its weights come from."""

import hashlib
from pathlib import Path

from audioformer.files import CARD
from audioformer.model_cards.facts import PretrainedFacts
from audioformer.model_cards.render import render_pretrained_card

from .families import CardText


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def write_card(card: CardText, file: Path, output: Path) -> None:
    """Write the card of a converted model, and the facts that it is rendered from.

    Args:
        card (`CardText`): Name and paper of the family.
        file (`Path`): The checkpoint of other code.
        output (`Path`): The folder of the model.
    """
    facts = PretrainedFacts(
        name=output.resolve().name,
        title=card.title,
        paper=card.paper,
        citation=card.citation,
        converted_from={"file": file.name, "sha256": sha256_of(file)},
    )
    facts.save(output)
    render_pretrained_card(facts).save(output / CARD)
