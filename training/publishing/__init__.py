"""From a finished folder to a repository: the card, the check of what would be uploaded, and the upload."""

from .check import check_folder
from .facts import CARD_FACTS_FILE, CardFacts
from .model_card import render_model_card, render_plain_card
from .push import push_folder

__all__ = ["CARD_FACTS_FILE", "CardFacts", "check_folder", "push_folder", "render_model_card", "render_plain_card"]
