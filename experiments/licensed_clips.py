"""The clips of a data set with folds whose licences allow to pass on what is trained on them."""

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from audioformer.data.listing import ListedClip
from audioformer.data.readers import read_listing
from audioformer.files import write_whole

COLUMNS = ("id", "path", "label", "fold", "group")


@dataclass(frozen=True)
class LicensedClips:
    """Clips of a data set with folds.

    Args:
        name (`str`): Name of the data set.
        num_listed (`int`): Number of clips that the data set lists, including those left out.
        clips (sequence of [`ListedClip`]): The clips in use. Each has a fold and one label.
        folds (`list[int]`): Their folds, in ascending order.
        manifest (`Path`): CSV file that lists them.
    """

    name: str
    num_listed: int
    clips: Sequence[ListedClip]
    folds: list[int]
    manifest: Path

    def listed_folds(self) -> str:
        """The folds as text."""
        return ", ".join(map(str, self.folds))


def list_licensed_clips(data: str | Path, output: Path, names: Collection[str]) -> LicensedClips:
    """List the clips of a data set that have one of some names in a manifest.

    Args:
        data (`str` or `Path`): A data set with folds and one label per clip, in any layout that [`read_listing`]
            detects.
        output (`Path`): Folder for the manifest.
        names (collection of `str`): File names of the clips to use.

    Raises:
        ValueError: If no clip is left, files of clips to use are missing, or a clip has no fold or not one label.
    """
    # What is missing is checked below: only clips that are used must be there.
    listing = read_listing(data, max_missing_share=1)
    missing = sorted(name for name in listing.missing if Path(name).stem in {Path(wanted).stem for wanted in names})
    if missing:
        raise ValueError(f"{data}: the files of {len(missing)} listed clips are missing, first: {missing[0]}.")
    clips = [clip for clip in listing.clips if Path(str(clip.audio)).name in names]
    if not clips:
        raise ValueError(f"{data}: none of the {len(listing.clips)} clips is among the {len(names)} names.")
    for clip in clips:
        if clip.fold is None or len(clip.labels) != 1:
            raise ValueError(
                f"{data}: clips must have a fold and one label; clip {clip.id!r} has the fold {clip.fold} and the "
                f"labels {list(clip.labels)}."
            )
    manifest = output / f"{listing.name}.csv"
    output.mkdir(parents=True, exist_ok=True)
    write_whole(manifest, lambda path: _write_manifest(path, clips))
    return LicensedClips(
        name=listing.name,
        num_listed=len(listing.clips) + len(listing.missing),
        clips=clips,
        folds=sorted({clip.fold for clip in clips if clip.fold is not None}),
        manifest=manifest,
    )


def _write_manifest(path: Path, clips: Sequence[ListedClip]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for clip in clips:
            audio = Path(str(clip.audio)).resolve()
            writer.writerow([clip.id, audio, clip.labels[0], clip.fold, clip.group or clip.id])
