"""What is to be encoded, divided into shards that processes take without asking each other."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .listing import ListedClip, Listing, listing_fingerprint


@dataclass(frozen=True)
class ClipShards:
    """Clips in shards, each of which gives the same clips in the same order whenever it is opened.

    Args:
        name (`str`): Short name, used for folders and cards.
        layout (`str`): Which reader made it.
        num_shards (`int`): How many there are.
        open_shard (function): Gives the clips of a shard, by its number.
        fingerprint (`str`): SHA-256 of what is to be encoded; another one means other rows.
        num_clips (`int`, *optional*): All clips, where that is known beforehand.
        labels (`list[str]`, *optional*): Class names in their order; `None` if they are found on the way.
        multi_label (`bool`): Whether a clip can have several classes.
        label_ids (`dict[str, str]`): Machine ids of class names, where there are.
        missing (`list[str]`): Clips that are listed and not there.
    """

    name: str
    layout: str
    num_shards: int
    open_shard: Callable[[int], Iterator[ListedClip]]
    fingerprint: str
    num_clips: int | None = None
    labels: list[str] | None = None
    multi_label: bool = False
    label_ids: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    root: str | None = None
    """Folder that the paths of rejected files are told relative to."""


def shards_of_listing(listing: Listing, clips_per_shard: int) -> ClipShards:
    """Divide a list of clips into stretches of `clips_per_shard`."""
    clips = listing.clips
    num_shards = -(-len(clips) // clips_per_shard)

    def open_shard(number: int) -> Iterator[ListedClip]:
        first = number * clips_per_shard
        return (clips[index] for index in range(first, min(first + clips_per_shard, len(clips))))

    return ClipShards(
        name=listing.name,
        layout=listing.layout,
        num_shards=num_shards,
        open_shard=open_shard,
        fingerprint=hashlib.sha256(f"{listing_fingerprint(listing)} {clips_per_shard}".encode()).hexdigest(),
        num_clips=len(clips),
        labels=list(listing.labels),
        multi_label=listing.multi_label,
        label_ids=listing.label_ids,
        missing=listing.missing,
        root=_folder_of(listing.source),
    )


def _folder_of(source: str) -> str | None:
    path = Path(source)
    if path.is_dir():
        return str(path)
    return str(path.parent) if path.is_file() else None
