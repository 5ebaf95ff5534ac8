"""Completes a folder with what is known only when it is published: repository, licence, and revision of the codec."""

import json
import logging
from dataclasses import replace
from pathlib import Path

from huggingface_hub import DatasetCard, ModelCard

from audioformer.files import (
    CARD,
    CARD_FACTS,
    CODES_MANIFEST,
    ONNX_CLASSIFIER,
    ONNX_CODEC_ENCODER,
    ONNX_FOLDER,
    PREPROCESSOR_CONFIG,
    write_whole,
)

from .card_check import load_card
from .codes_card import read_codes_manifest, render_codes_card, write_codes_card
from .contents import read_settings
from .facts import CardFacts, PretrainedFacts, read_facts
from .render import REPOSITORY, render_card

logger = logging.getLogger(__name__)


def prepare_folder(folder: Path, repo_id: str, license: str | None = None, codec_revision: str | None = None) -> None:
    """Bring the card and the settings of the codec up to date before a folder is checked and uploaded.

    The card is rendered again from the recorded facts. If its text is not what the facts give, somebody has edited it:
    then the text stays, and only the licence in the metadata is set.

    Args:
        folder (`Path`): A folder with a model, or with codes.
        repo_id (`str`): Repository that the card refers to.
        license (`str`, *optional*): Licence of the weights or codes; by default, what the card states.
        codec_revision (`str`, *optional*): Commit of a codec on the Hub that the feature extractor refers to.

    Raises:
        ValueError: If the recorded facts are incomplete.
    """
    if (folder / CODES_MANIFEST).is_file():
        _prepare_codes_card(folder, license)
        return
    settings_file = folder / PREPROCESSOR_CONFIG
    if codec_revision is not None and settings_file.is_file():
        settings = {**read_settings(settings_file), "codec_revision": codec_revision}
        settings_file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    _prepare_model_card(folder, repo_id, license, codec_revision)


def _prepare_codes_card(folder: Path, license: str | None) -> None:
    write_codes_card(folder)
    if license is None:
        return
    card, manifest = load_card(folder / CARD, DatasetCard), read_codes_manifest(folder)
    # Without a licence, the metadata state "other", which a user may have stated as well.
    rendered = {str(render_codes_card(manifest, license=stated)) for stated in (None, card.data.get("license"))}
    if str(card) in rendered:
        write_whole(folder / CARD, render_codes_card(manifest, license=license).save)
    else:
        _set_license(folder, card, license)


def _prepare_model_card(folder: Path, repo_id: str, license: str | None, codec_revision: str | None) -> None:
    card = load_card(folder / CARD) if (folder / CARD).is_file() else None
    facts: CardFacts | PretrainedFacts
    has_facts = (folder / CARD_FACTS).is_file()
    if has_facts:
        facts = read_facts(folder)
    elif card is not None:
        # A card for a model of which nothing was recorded follows from the name of the model alone.
        facts = PretrainedFacts(name=str(card.data.get("model_name")))
    else:
        return
    onnx_files = [folder / ONNX_FOLDER / name for name in (ONNX_CLASSIFIER, ONNX_CODEC_ENCODER)]
    published = replace(facts, repo_id=repo_id, has_onnx=all(file.is_file() for file in onnx_files))
    if codec_revision is not None and isinstance(published, CardFacts) and published.codec is not None:
        published = replace(published, codec={**published.codec, "codec_revision": codec_revision})
    stated = None if card is None else card.data.get("license")
    # The second form is what a push leaves that was killed before it recorded the facts it had rendered.
    rendered = {str(render_card(entry, license=stated)) for entry in (facts, published)}
    if card is None or str(card) in rendered:
        write_whole(folder / CARD, render_card(published, license=license or stated).save)
        if has_facts:
            published.save(folder)
        return
    if license is not None:
        _set_license(folder, card, license)
    if REPOSITORY in card.text:
        logger.warning(
            "%s still says %s: it was edited, or written by another version, and is not rendered again. Enter the "
            "repository yourself, or delete the file if it may be rendered anew.",
            folder / CARD,
            REPOSITORY,
        )


def _set_license(folder: Path, card: ModelCard | DatasetCard, license: str) -> None:
    card.data["license"] = license
    write_whole(folder / CARD, card.save)
