"""Reader for any tree of audio files, without labels."""

from pathlib import Path

from ..audio.folder import find_audio, readable_name
from ..listing import ListedClip, Listing


def read_audio_files(folder: str | Path) -> Listing:
    """List all audio files below a folder, at any depth, sorted by path.

    Args:
        folder (`str` or `Path`): Searched with all its subfolders.

    Returns:
        [`Listing`]: Clips without labels.

    Raises:
        ValueError: If there is no audio.
    """
    folder = Path(folder)
    clips = [ListedClip(readable_name(path.relative_to(folder).as_posix()), str(path)) for path in find_audio(folder)]
    return Listing(
        name=folder.resolve().name,
        layout="audio_files",
        source=str(folder),
        clips=clips,
        labels=[],
        multi_label=False,
    )
