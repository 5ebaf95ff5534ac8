"""Fixtures for all tests."""

import contextlib
import io
from collections.abc import Iterator
from pathlib import Path

import datasets
import pytest
from transformers import logging

from .shared import make_once

VERBOSITY = logging.get_verbosity()


@pytest.fixture(autouse=True)
def reset_messages() -> Iterator[None]:
    """Commands silence the libraries for the rest of their process. Here other tests follow in the same process."""
    # Before each test as well as after it: a fixture of a whole module may have run a command.
    _restore()
    yield
    _restore()


def _restore() -> None:
    logging.set_verbosity(VERBOSITY)
    logging.enable_progress_bar()
    datasets.enable_progress_bars()


@pytest.fixture(scope="session")
def exported_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled classifier as ONNX in `onnx/`, and what the command printed in `printed.txt`: made once a run."""
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason=f"{name} is not installed: it comes with the extra `onnx`")
    from audioformer.cli import main

    def export(folder: Path) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            assert main(["export", "--onnx", "--output", str(folder / "onnx")]) == 0
        (folder / "printed.txt").write_text(printed.getvalue())

    return make_once(tmp_path_factory, "exported-tiny", export)
