"""What holds for every test."""

from collections.abc import Iterator

import datasets
import pytest
from transformers import logging


@pytest.fixture(autouse=True)
def messages_as_before() -> Iterator[None]:
    """Commands silence the libraries for the rest of their process, which here goes on with other tests."""
    verbosity = logging.get_verbosity()
    yield
    logging.set_verbosity(verbosity)
    logging.enable_progress_bar()
    datasets.enable_progress_bars()
