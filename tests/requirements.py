"""What some tests need and may be missing: without it they are skipped, and fail where the variable `CI` is set."""

import importlib
import os
import shutil
from types import ModuleType
from typing import NoReturn

import pytest


def import_or_skip(name: str, reason: str) -> ModuleType:
    """Import a module that tests need; for the top of a file or the inside of a test.

    Args:
        name (`str`): Name of the module.
        reason (`str`): What it is for, and how to install it.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        _missing(reason)


def program_or_skip(names: tuple[str, ...], reason: str) -> str:
    """Find a program that tests need, under any of its names; gives its path.

    Args:
        names (tuple of `str`): Names of the program, the best first.
        reason (`str`): What it is for, and how to install it.
    """
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        _missing(reason)
    return found


def _missing(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI must not skip these tests)", pytrace=False)
    pytest.skip(reason, allow_module_level=True)
