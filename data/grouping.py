"""Gives clips the groups that their paths tell, and counts groups."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from datasets import Value

from .audio.folder import readable_name
from .audio.windows import clip_id_of
from .clips import Clips, ClipsT
from .group_patterns import Proposal, compile_group_pattern, group_in, propose_pattern
from .listing import ListedClip, Listing, clips_without_audio

_SHOWN = 3


@dataclass(frozen=True)
class PathGroups:
    """What the paths of clips tell about their groups.

    Args:
        pattern (`str`, *optional*): The pattern that was asked for.
        group_of (mapping): What it found, by the names of all clips; `None` where it does not match.
        proposal ([`Proposal`], *optional*): A pattern to ask for, where there is none and clips have no groups.
    """

    pattern: str | None = None
    group_of: Mapping[str, str | None] = field(default_factory=dict)
    proposal: Proposal | None = None

    def apply(self, clips: ClipsT) -> ClipsT:
        """Give clips these groups, and say in their report how many have one.

        What the pattern finds takes precedence over the group that the data give. Where it does not match, clips keep
        their own. The sound, and codes that were made of it, stay as they are.

        Args:
            clips ([`Clips`]): Clips and windows by the names of `group_of`.
        """
        matched = None
        if self.pattern is not None:
            matched = 0
            counted: set[str] = set()
            groups: list[str | None] = []
            for name, group in zip(clips.ids, clips.groups, strict=True):
                # A whole clip may be called `take#2`, as a window of `take` would be.
                clip = name if name in self.group_of else clip_id_of(name)
                found = self.group_of.get(clip)
                groups.append(group if found is None else found)
                if found is not None and clip not in counted:
                    counted.add(clip)
                    matched += 1
            dataset = clips.dataset.remove_columns("group").add_column("group", groups, feature=Value("string"))
            clips = replace(clips, dataset=dataset)
        report = replace(
            clips.report,
            grouped=asdict(clips.count_groups()),
            group_pattern=self.pattern,
            group_pattern_matches=matched,
            group_proposal=None if self.proposal is None else asdict(self.proposal),
        )
        return replace(clips, report=report)


def groups_of_listing(listing: Listing, pattern: str | None, *, must_match: bool = True) -> PathGroups:
    """Find the groups of listed clips in the paths of their files; no audio is read.

    Args:
        listing ([`Listing`]): The clips.
        pattern (`str`, *optional*): Regular expression, see [`group_in`]. Without it, one is proposed if no clip has a
            group.
        must_match (`bool`, defaults to `True`): Whether to raise where no clip matches.

    Raises:
        ValueError: If the pattern is no regular expression, or matches no clip although it must.
    """
    if pattern is not None:
        paths_of = {clip.id: relative_path(clip, listing.root) for clip in clips_without_audio(listing)}
        return _search(pattern, paths_of, listing.name, must_match)
    if any(clip.group is not None for clip in clips_without_audio(listing)):
        return PathGroups()
    paths, labels = [], []
    for clip in clips_without_audio(listing):
        paths.append(relative_path(clip, listing.root))
        labels.append(clip.labels)
    return PathGroups(proposal=propose_pattern(paths, labels))


def groups_of_names(clips: Clips, pattern: str | None, *, must_match: bool = True) -> PathGroups:
    """Find the groups of clips in their names, where their paths are not known, as in codes that exist already.

    The name of a clip is its path, unless the data gave it another.

    Args:
        clips ([`Clips`]): The clips.
        pattern (`str`, *optional*): As for [`groups_of_listing`].
        must_match (`bool`, defaults to `True`): Whether to raise where no clip matches.

    Raises:
        ValueError: If the pattern is no regular expression, or matches no clip although it must.
    """
    if pattern is None and clips.count_groups().with_group:
        return PathGroups()
    # Windows always have a group.
    pairs = zip(clips.ids, clips.groups, strict=True)
    names = [name if group is None else clip_id_of(name) for name, group in pairs]
    if pattern is None:
        labels = dict(zip(names, clips.dataset["labels"][:], strict=True))
        return PathGroups(proposal=propose_pattern(list(labels), list(labels.values())))
    return _search(pattern, {name: name for name in names}, clips.report.source, must_match)


def relative_path(clip: ListedClip, root: str | None) -> str:
    """Path of the file of a clip relative to a folder, with `/` between folders; its name if it has no file.

    Args:
        clip ([`ListedClip`]): A clip of a data set.
        root (`str`, *optional*): Folder of the data set; files elsewhere keep their paths.
    """
    path = clip.audio if isinstance(clip.audio, str) else clip.audio.get("path")
    if not path:
        return clip.id
    file = Path(path)
    if root is not None and file.is_relative_to(root):
        file = file.relative_to(root)
    # What is found there becomes text that is written.
    return readable_name(file.as_posix())


def _search(pattern: str, paths: Mapping[str, str], source: str, must_match: bool) -> PathGroups:
    compiled = compile_group_pattern(pattern)
    group_of = {name: group_in(path, compiled) for name, path in paths.items()}
    if must_match and not any(group_of.values()):
        shown = ", ".join(map(repr, list(paths.values())[:_SHOWN]))
        raise ValueError(
            f"`group_pattern` {pattern!r} finds a group in none of the {len(paths):,} paths of {source}; they are "
            f"relative to it, such as {shown}."
        )
    return PathGroups(pattern, group_of)
