"""Augmented copies of the clips of a data set as files, which the recipes of the bundled classifier read."""

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from tqdm.auto import tqdm

from audioformer.data.audio import load_audio
from audioformer.data.audio.augmentation import Augmentation
from audioformer.data.listing import ListedClip
from audioformer.data.progress import hides_bars
from audioformer.data.readers import read_listing
from audioformer.files import write_whole

GAIN_DB = (-10.0, 6.0)
"""Gains of the copies: files end at full scale, and softer copies lose resolution in them."""

COLUMNS = ("id", "path", "label", "fold", "group")


@dataclass(frozen=True)
class AugmentedClips:
    """The manifests of a data set with folds and of its augmented copies.

    Args:
        name (`str`): Name of the data set.
        num_listed (`int`): Number of clips that the data set lists, including those left out.
        clips (sequence of [`ListedClip`]): The original clips in use. Each has a fold and a group.
        folds (`list[int]`): Their folds, in ascending order.
        originals (`Path`): Manifest of the original clips.
        originals_of_fold (mapping of `int` to `Path`): Manifest of the original clips of each fold.
        with_copies (`Path`): Manifest of the original clips and their copies.
    """

    name: str
    num_listed: int
    clips: Sequence[ListedClip]
    folds: list[int]
    originals: Path
    originals_of_fold: Mapping[int, Path]
    with_copies: Path

    def listed_folds(self) -> str:
        """The folds as text."""
        return ", ".join(map(str, self.folds))


def write_augmented_copies(
    data: str | Path,
    output: Path,
    num_copies: int,
    *,
    names: Collection[str] | None = None,
    seed: int = 0,
    sampling_rate: int = 24_000,
) -> AugmentedClips:
    """Write augmented copies of the clips of a data set as FLAC files, and manifests of clips and copies.

    A copy depends on `seed`, the id of its clip, and its number alone, so files that exist are kept. A clip and its
    copies are one group: they are never divided between training and held-out clips.

    Args:
        data (`str` or `Path`): A data set with folds and one label per clip, in any layout that [`read_listing`]
            detects.
        output (`Path`): Folder to write.
        num_copies (`int`): Number of copies per clip.
        names (collection of `str`, *optional*): File names of the clips to use; by default all.
        seed (`int`, defaults to 0): Seed of all draws.
        sampling_rate (`int`, defaults to 24000): Sampling rate of the copies in Hz.

    Raises:
        ValueError: If no clip is left, files of clips to use are missing, or a clip has no fold or not one label.
    """
    # What is missing is checked below: only clips that are used must be there.
    listing = read_listing(data, max_missing_share=1)
    wanted = None if names is None else {Path(name).stem for name in names}
    missing = sorted(name for name in listing.missing if wanted is None or Path(name).stem in wanted)
    if missing:
        raise ValueError(f"{data}: the files of {len(missing)} listed clips are missing, first: {missing[0]}.")
    clips = [clip for clip in listing.clips if names is None or Path(str(clip.audio)).name in names]
    if not clips:
        raise ValueError(f"{data}: none of the {len(listing.clips)} clips is among the {len(names or ())} names.")
    for clip in clips:
        if clip.fold is None or len(clip.labels) != 1:
            raise ValueError(
                f"{data}: clips must have a fold and one label; clip {clip.id!r} has the fold {clip.fold} and the "
                f"labels {list(clip.labels)}."
            )
    output.mkdir(parents=True, exist_ok=True)
    originals: list[dict[str, Any]] = []
    copies: list[dict[str, Any]] = []
    for clip in tqdm(clips, desc="augmenting", unit="clip", disable=hides_bars()):
        row = {"label": clip.labels[0], "fold": clip.fold, "group": clip.group or clip.id}
        originals.append({"id": clip.id, "path": str(Path(str(clip.audio)).resolve()), **row})
        for name, file in _write_copies(clip, output, num_copies, seed, sampling_rate):
            copies.append({"id": name, "path": file.name, **row})
    folds = sorted({row["fold"] for row in originals})
    of_fold = {fold: output / f"{listing.name}-fold-{fold}.csv" for fold in folds}
    for fold, manifest in of_fold.items():
        _write_manifest(manifest, [row for row in originals if row["fold"] == fold])
    _write_manifest(output / f"{listing.name}.csv", originals)
    _write_manifest(output / f"{listing.name}-with-copies.csv", originals + copies)
    return AugmentedClips(
        name=listing.name,
        num_listed=len(listing.clips) + len(listing.missing),
        clips=clips,
        folds=folds,
        originals=output / f"{listing.name}.csv",
        originals_of_fold=of_fold,
        with_copies=output / f"{listing.name}-with-copies.csv",
    )


def _write_copies(
    clip: ListedClip, output: Path, num_copies: int, seed: int, sampling_rate: int
) -> list[tuple[str, Path]]:
    """Write those copies of a clip that do not exist, and return the ids and files of all."""
    names = [f"{clip.id}-copy-{number}" for number in range(1, num_copies + 1)]
    files = [output / f"{Path(name).name}.flac" for name in names]
    if not all(file.is_file() for file in files):
        waveform, _ = load_audio(str(clip.audio), sampling_rate)
        augmentation = Augmentation(gain_db=GAIN_DB, seed=seed)
        for number, file in enumerate(files, start=1):
            if not file.is_file():
                copy = np.clip(augmentation.copy_of(waveform, clip.id, number), -1.0, 1.0)
                write_whole(file, partial(soundfile.write, data=copy, samplerate=sampling_rate))
    return list(zip(names, files, strict=True))


def _write_manifest(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    def write(unfinished: Path) -> None:
        with unfinished.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)

    write_whole(path, write)
