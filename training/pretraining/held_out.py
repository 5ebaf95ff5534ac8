"""What is said of the clips that pre-training holds out."""

from collections.abc import Mapping
from typing import Any

from audioformer.data.clips import ClipSplits


def describe_held_out(splits: ClipSplits[Any]) -> dict[str, Any]:
    """Number of held-out clips for the results and, where they were drawn at random, whether all have a group."""
    if splits.held_out is None:
        return {}
    drawn = {} if splits.drawn is None else {"held_out_grouped": splits.drawn.all_grouped}
    return {"held_out_clips": len(splits.held_out), **drawn}


def held_out_in_words(results: Mapping[str, Any]) -> str:
    """The same for cards. Without groups, other clips of the same speakers and recordings were trained on.

    Args:
        results (mapping): Results of pre-training.
    """
    clips = f"{results['held_out_clips']:,} clips"
    # Groups are not known of folders that were made before this was recorded.
    return clips if results.get("held_out_grouped", True) else f"{clips} of the same speakers and recordings"
