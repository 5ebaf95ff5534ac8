"""Clips that are listed but have no file, and when there are so many of them that the list must be wrong."""

from .listing import Listing

DEFAULT_MAX_MISSING_SHARE = 0.01
_SHOWN = 10


def check_missing(listing: Listing, max_missing_share: float | None = None) -> None:
    """Check how many of the listed clips have no file.

    Args:
        listing ([`Listing`]): The clips, and the names of those that are missing.
        max_missing_share (`float`, *optional*): Share of all listed clips that may be missing, in [0, 1]; by default
            1 %, and no class may lose all of its clips.

    Raises:
        ValueError: If more are missing; the message shows the first ten, and how to go on without them.
    """
    num_missing = len(listing.missing)
    num_listed = num_missing + len(listing.clips)
    if not num_missing:
        return
    allowed = DEFAULT_MAX_MISSING_SHARE if max_missing_share is None else max_missing_share
    found = f"{num_missing:,} of {num_listed:,} listed clips have no file"
    if num_missing / num_listed > allowed:
        problem = f"{found}; `max_missing_share` allows {allowed:.1%}"
    else:
        lost = [] if max_missing_share is not None else _classes_without_clips(listing)
        if not lost:
            return
        classes = ", ".join(lost[:_SHOWN]) + (f", and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else "")
        problem = f"{found}, and no clip is left of: {classes}"
    shown = "".join(f"\n  {name}" for name in listing.missing[:_SHOWN])
    more = f"\n  ... and {num_missing - _SHOWN:,} more" if num_missing > _SHOWN else ""
    needed = -(-num_missing * 1000 // num_listed) / 1000
    raise ValueError(
        f"{listing.source}: {problem}. If they are not needed, --max-missing-share {needed:g} goes on without them:"
        f"{shown}{more}"
    )


def _classes_without_clips(listing: Listing) -> list[str]:
    there = {label for clip in listing.clips for label in clip.labels}
    return [label for label in listing.labels if label not in there]
