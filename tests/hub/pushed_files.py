"""Comparing the files of a repository with those of the folder that was pushed."""

from collections.abc import Mapping


def differing(some: Mapping[str, bytes], other: Mapping[str, bytes]) -> list[str]:
    """
    Names of the files that are not in both, or not with the same content.

    A comparison of all bytes at once, if it fails, takes pytest minutes to explain.
    """
    return sorted(name for name in {*some, *other} if some.get(name) != other.get(name))
