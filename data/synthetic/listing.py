"""Synthetic clips as a data set without labels, for everything that takes a listing."""

import hashlib
from collections.abc import Sequence

from ..listing import ListedClip, Listing
from .clips import SyntheticClips

LAYOUT = "synthetic"


class ListedSynthetic(Sequence[ListedClip]):
    """Synthetic clips, each generated when it is asked for and forgotten afterwards.

    Args:
        clips ([`SyntheticClips`]): The clips.
    """

    def __init__(self, clips: SyntheticClips) -> None:
        self.clips = clips

    def __len__(self) -> int:
        return len(self.clips)

    # A `Sequence` also takes slices, which nothing here needs.
    def __getitem__(self, index: int) -> ListedClip:  # type: ignore[override]
        audio = {"array": self.clips[index], "sampling_rate": self.clips.sampling_rate}
        return ListedClip(self.clips.id(index), audio)

    @property
    def fingerprint(self) -> str:
        """Stands for the sound of all clips in [`listing_fingerprint`], which would else have to generate them."""
        return hashlib.sha256(self.clips.description.encode()).hexdigest()


def list_synthetic_clips(clips: SyntheticClips) -> Listing:
    """List synthetic clips as a data set without labels.

    Args:
        clips ([`SyntheticClips`]): The clips.

    Returns:
        [`Listing`]: For [`encode_listing`], which stores codes and no audio.
    """
    return Listing("synthetic", LAYOUT, clips.description, ListedSynthetic(clips), labels=[], multi_label=False)
