"""The codes of augmented copies of clips: encoded once, into the cache, like those of the clips themselves."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow.compute as pc
from datasets import concatenate_datasets

from audioformer.feature_extraction import AudioFormerFeatureExtractor

from ..audio.augmentation import Augmentation, AugmentedCopy
from ..audio.windows import ReadingSettings
from ..listing import Listing, parts_of_listing
from .cache import encode_listing
from .encoded import EncodedClips


def encode_copies(
    listing: Listing,
    clips: EncodedClips,
    extractor: AudioFormerFeatureExtractor,
    cache_dir: str | Path | None,
    reading: ReadingSettings,
    augmentation: Augmentation,
    num_copies: int,
    *,
    progress: bool = True,
) -> EncodedClips:
    """Encode augmented copies of clips, or open what was encoded before.

    Every copy of every split and fold has a folder of its own in the cache: more copies, or other folds, encode only
    what is new, and splits and folds of which `clips` has none are never encoded. Clips of the same split and fold
    that `clips` lacks are encoded with the others, and left out here.

    Args:
        listing ([`Listing`]): What `clips` were made of.
        clips ([`EncodedClips`]): The clips to make copies of.
        extractor ([`AudioFormerFeatureExtractor`]): The extractor that encoded `clips`. It normalizes the level, if it
            does, after the augmentation.
        cache_dir (`str` or `Path`, *optional*): As for [`encode_listing`].
        reading ([`ReadingSettings`]): How `clips` were read.
        augmentation ([`Augmentation`]): How the copies differ from the clips.
        num_copies (`int`): Copies of each clip, at least 1.
        progress (`bool`, defaults to `True`): Whether to show progress bars.

    Returns:
        [`EncodedClips`]: `clips` with their copies.

    Raises:
        ValueError: If the audio of a clip can no longer be read; the message names it.
    """
    splits, folds = (clips.dataset[name][:] for name in ("split", "fold"))
    wanted = set(zip(splits, folds, strict=True))
    parts = [part for key, part in parts_of_listing(listing).items() if key in wanted]
    copies = []
    for number in range(1, num_copies + 1):
        settings = replace(reading, copy=AugmentedCopy(augmentation, number))
        encoded = [
            encode_listing(
                part,
                extractor,
                cache_dir,
                settings,
                num_codebooks=clips.num_codebooks,
                # The clips themselves were checked. Unreadable ones can gather in one part.
                max_rejected_share=1.0,
                progress=progress,
            )
            for part in parts
        ]
        copies.append(_matching(encoded, clips))
    return replace(clips, copies=tuple(copies))


def _matching(copies: Sequence[EncodedClips], clips: EncodedClips) -> EncodedClips:
    """The copies of some clips, in the order of the clips."""
    dataset = concatenate_datasets([part.dataset for part in copies])
    rows = pc.index_in(clips.id_column, value_set=replace(clips, dataset=dataset).id_column)
    if rows.null_count:
        missing = clips.ids[pc.is_null(rows).index(True).as_py()]
        raise ValueError(f"There is no augmented copy of clip {missing!r}: its audio can no longer be read.")
    return replace(copies[0], dataset=dataset.select(rows.to_numpy()))
