"""Groups of clips, of one recording or speaker, that the paths of their files tell. Standard library only."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

GROUP = "group"
"""Named group of a pattern that is the group of a clip, whatever other groups there are."""

_BEFORE_NUMBER = r"([^/]+)[ _.-]+\d+\.\w+$"
"""`dog_001.wav`: all before the last number."""

_BETWEEN_CLASS_AND_NUMBER = r"[^/_-]+[_-]([^/]+)[_-]\d+\.\w+$"
"""`dog_garden_001.wav`: what stands between the class and the last number, in all classes alike."""

_CLASS = re.compile(r"([^/_-]+)[_-][^/]+[_-]\d+\.\w+$")


@dataclass(frozen=True)
class Proposal:
    """A pattern that keeps clips together, for data without groups.

    Args:
        pattern (`str`): Regular expression, see [`group_in`].
        clips (`int`): Number of clips of the data.
        sharing (`int`): Number of clips that share their group with another clip.
        groups (`int`): Number of groups of more than one clip.
    """

    pattern: str
    clips: int
    sharing: int
    groups: int


def compile_group_pattern(pattern: str) -> re.Pattern[str]:
    """Compile a pattern for the groups of clips.

    Args:
        pattern (`str`): Regular expression of Python.

    Raises:
        ValueError: If it is none, or empty.
    """
    if not pattern:
        raise ValueError("`group_pattern` must be a regular expression that finds a group in a path, got ''.")
    try:
        return re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(f"`group_pattern` must be a regular expression, got {pattern!r}: {error}.") from error


def group_in(path: str, pattern: re.Pattern[str]) -> str | None:
    """Find the group of a clip in its path.

    Args:
        path (`str`): Path of the file relative to its source, with `/` between folders.
        pattern (`re.Pattern`): Searched in the path. The group is what its named group `group` matches, else its first
            named group, else its first group, else the whole pattern.

    Returns:
        `str`, *optional*: `None` if the pattern matches nowhere, or the group is empty.
    """
    match = pattern.search(path)
    if match is None:
        return None
    first_named = min(pattern.groupindex.values(), default=min(1, pattern.groups))
    return match[pattern.groupindex.get(GROUP, first_named)] or None


def propose_pattern(paths: Sequence[str], labels: Sequence[Sequence[str]]) -> Proposal | None:
    """Look for a part of the paths that may name the recording or speaker of each clip.

    A pattern is proposed only if clips share what it finds, and no class would be in one group alone, which could not
    be divided: `dog/dog_1.wav`, `dog/dog_2.wav` say no more than that both are dogs.

    Args:
        paths (sequence of `str`): Paths of all clips relative to their source.
        labels (sequence of sequences of `str`): Classes of each clip.

    Returns:
        [`Proposal`], *optional*: `None` if the paths tell nothing.
    """
    candidates = [_BEFORE_NUMBER]
    classes = [match and match[1] in own for match, own in zip(map(_CLASS.search, paths), labels, strict=True)]
    if any(classes) and all(is_class is not False for is_class in classes):
        # Groups that span classes are those of speakers, or of recordings of several classes.
        candidates.insert(0, _BETWEEN_CLASS_AND_NUMBER)
    for candidate in candidates:
        pattern = compile_group_pattern(candidate)
        groups = [group_in(path, pattern) for path in paths]
        sizes = Counter(group for group in groups if group is not None)
        shared = [size for size in sizes.values() if size > 1]
        if shared and _divides_every_class(groups, labels):
            return Proposal(candidate, len(paths), sum(shared), len(shared))
    return None


def _divides_every_class(groups: Sequence[str | None], labels: Sequence[Sequence[str]]) -> bool:
    """Whether the clips of each class, or all clips where none has a class, are of several groups."""
    several: dict[str | None, bool] = {}
    first: dict[str | None, str | None] = {}
    clips: Counter[str | None] = Counter()
    for group, own in zip(groups, labels, strict=True):
        # All clips together count as a class, too.
        for label in (None, *own):
            clips[label] += 1
            # A clip without a group is one of its own.
            if first.setdefault(label, group) != group or (group is None and clips[label] > 1):
                several[label] = True
    return all(several.get(label) for label, count in clips.items() if count > 1)
