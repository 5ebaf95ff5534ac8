"""A test Hub for each module of tests."""

from collections.abc import Iterator

import pytest

from .server import HubServer


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    """A running, empty Hub."""
    with HubServer() as running:
        yield running
