"""What holds for every test."""

from collections.abc import Iterator

import datasets
import pytest
from transformers import logging

VERBOSITY = logging.get_verbosity()


@pytest.fixture(autouse=True)
def messages_as_ever() -> Iterator[None]:
    """Commands silence the libraries for the rest of their process, which here goes on with other tests."""
    # Before each test as well as after: a fixture of a whole module may have run a command.
    _restore()
    yield
    _restore()


def _restore() -> None:
    logging.set_verbosity(VERBOSITY)
    logging.enable_progress_bar()
    datasets.enable_progress_bars()
