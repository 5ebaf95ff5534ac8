"""Reader for Speech Commands v2: one folder per word, and lists of the validation and test clips."""

from pathlib import Path

from ..listing import ListedClip, Listing
from .tables import read_text

LISTS = {"validation_list.txt": "validation", "testing_list.txt": "test"}
NOISE = "_background_noise_"


def is_speech_commands(folder: Path) -> bool:
    return all((folder / name).is_file() for name in LISTS)


def read_speech_commands(folder: str | Path) -> Listing:
    """List the clips of all words; clips on neither list are the split `train`, and clips of one speaker are a group.

    The long recordings in `_background_noise_` are left out because they are not clips of a word.

    Args:
        folder (`str` or `Path`): Contains the folders of the words, `validation_list.txt` and `testing_list.txt`.

    Returns:
        [`Listing`]: Clips with one label each.

    Raises:
        ValueError: If there is no clip of a word.
    """
    folder = Path(folder)
    split_of = {
        line.strip(): split
        for name, split in LISTS.items()
        for line in read_text(folder / name).splitlines()
        if line.strip()
    }
    words = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name != NOISE)
    clips = [
        ListedClip(
            f"{word}/{path.stem}",
            str(path),
            (word,),
            split=split_of.get(f"{word}/{path.name}", "train"),
            group=path.stem.split("_nohash_")[0],
        )
        for word in words
        for path in sorted((folder / word).glob("*.wav"))
    ]
    if not clips:
        raise ValueError(f"{folder} has no folder of a word with WAV files.")
    there = {f"{clip.labels[0]}/{Path(str(clip.audio)).name}" for clip in clips}
    return Listing(
        name=folder.resolve().name,
        layout="speech_commands",
        source=str(folder),
        clips=clips,
        labels=words,
        multi_label=False,
        missing=[name for name in split_of if name not in there],
    )
