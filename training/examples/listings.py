"""The clips of a run as its source lists them, and the groups that their paths tell."""

from dataclasses import replace

from audioformer.data.clips import Clips
from audioformer.data.grouping import PathGroups, groups_of_listing, groups_of_names
from audioformer.data.listing import Listing
from audioformer.data.readers import read_listing

from ..arguments import EVALUATE
from ..families import Settings


def open_listing(settings: Settings, source: str) -> Listing:
    """List the clips of `source` as the settings say, without reading audio.

    Raises:
        ValueError: As for [`read_listing`].
    """
    data = settings.data
    return read_listing(
        source,
        data.layout,
        audio_column=data.audio_column,
        label_column=data.label_column,
        label_delimiter=data.label_delimiter,
        max_missing_share=data.max_missing_share,
    )


def tested_part(settings: Settings, listing: Listing) -> Listing:
    """The listed clips that a test measures: those of the split `test`, or of the splits and folds of the settings.

    Args:
        settings (`Settings`): Settings of the command `evaluate`.
        listing (`Listing`): All clips of the source.
    """
    splits, folds = settings.data.eval_split, settings.data.eval_folds
    if splits is None and any(clip.split == "test" for clip in listing.clips):
        splits = ["test"]
    clips = [
        clip
        for clip in listing.clips
        if (splits is None or clip.split in splits) and (folds is None or clip.fold in folds)
    ]
    return replace(listing, clips=clips)


def find_groups(settings: Settings, source: Listing | Clips, *, test_source: bool) -> PathGroups | None:
    """Find the groups of clips in their paths with the pattern of the settings, or a pattern to propose.

    Args:
        settings (`Settings`): Settings of the run.
        source (`Listing` or `Clips`): The listed clips; or, where nothing lists them, the clips by their names.
        test_source (`bool`): Whether it is a source of its own that is tested on. Its paths may be other ones, so that
            no clip has to match.

    Returns:
        `PathGroups`, *optional*: `None` where no pattern is given and nothing of the source is held out.

    Raises:
        ValueError: If the pattern matches no clip although it must.
    """
    pattern, evaluates = settings.data.group_pattern, settings.command == EVALUATE
    if pattern is None and (test_source or evaluates):
        return None
    must_match = not test_source or evaluates
    if isinstance(source, Listing):
        return groups_of_listing(source, pattern, must_match=must_match)
    return groups_of_names(source, pattern, must_match=must_match)
