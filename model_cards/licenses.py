"""Licences that the Hub knows."""

import difflib
from functools import cache
from pathlib import Path

LICENSES = Path(__file__).parent / "hub_licenses.txt"
OTHER = "other"
"""Identifier of every licence that the Hub does not list; its name stands in `license_name`."""


@cache
def hub_licenses() -> frozenset[str]:
    """Identifiers that the Hub takes, such as `"cc-by-4.0"`."""
    lines = LICENSES.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def check_license(license: str) -> None:
    """Check that the Hub knows a licence.

    Args:
        license (`str`): An identifier such as `"cc-by-4.0"`.

    Raises:
        ValueError: If it is none; the message names those that are close.
    """
    if license in hub_licenses():
        return
    close = difflib.get_close_matches(str(license).lower(), sorted(hub_licenses()), n=3)
    hint = f" Did you mean {' or '.join(close)}?" if close else ""
    raise ValueError(
        f"`license` {license!r} is no identifier of the Hub, such as cc-by-4.0 or apache-2.0.{hint} For a licence "
        f"that the Hub does not list, state `license: {OTHER}` and a `license_name` in the card."
    )
