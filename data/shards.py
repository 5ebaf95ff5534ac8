"""What to encode, divided into shards that processes can share without communicating."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .listing import ListedClip, Listing, listing_fingerprint


@dataclass(frozen=True)
class ClipShards:
    """Clips in shards, each of which returns the same clips in the same order whenever it is opened.

    Args:
        name (`str`): Short name, used for folders and cards.
        layout (`str`): Name of the reader that made it.
        num_shards (`int`): Number of shards.
        open_shard (`Callable[[int], Iterator[ListedClip]]`): Returns the clips of a shard, given its index.
        fingerprint (`str`): SHA-256 of what to encode; other clips have another one.
        num_clips (`int`, *optional*): Number of all clips, if it is known beforehand.
        labels (`list[str]`, *optional*): Class names in order; `None` if they are found while reading.
        multi_label (`bool`): Whether a clip can have several labels.
        label_ids (`dict[str, str]`): Machine ids of class names, where they have any.
        missing (`list[str]`): Clips that are listed but have no file.
        root (`str`, *optional*): Folder that the paths of rejected files are reported relative to.
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


def shards_of_listing(listing: Listing, clips_per_shard: int) -> ClipShards:
    """Divide a list of clips into shards of `clips_per_shard` neighbouring clips."""
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
        root=listing.root,
    )
