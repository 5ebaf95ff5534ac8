"""Labelled clips as audio, decoded when they are asked for: what models that read spectrograms train on."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from datasets import Dataset, Features, List, Value
from tqdm.auto import tqdm

from ..clips import Clips
from ..listing import ListedClip, Listing
from ..progress import hides_bars
from ..rejections import UNREADABLE, Rejection, Rejections, relative_rejection
from ..report import SHOWN, DataReport
from .reading import open_audio
from .shortfall import find_shortfall
from .windows import (
    READING_ERRORS,
    ReadingSettings,
    Window,
    make_rejection,
    plan_open_audio,
    read_window,
)

FEATURES = Features(
    {
        "id": Value("string"),
        "labels": List(Value("string")),
        "split": Value("string"),
        "fold": Value("int32"),
        "group": Value("string"),
        "duration_s": Value("float64"),
        "sampling_rate": Value("int32"),
        "clip": Value("int64"),
        "start_s": Value("float64"),
        "end_s": Value("float64"),
    }
)

JUDGED = Features({"judged": List(Value("string"))})
"""A column of data sets of which not every class of every clip was judged."""

_CLIPS_AT_ONCE = 1024


@dataclass(frozen=True)
class AudioClips(Clips):
    """Clips as audio files, with labels; can be pickled for the workers of a `DataLoader`.

    Args:
        dataset (`datasets.Dataset` of `num_clips` rows): Has, in addition to the columns of [`Clips`], `clip`
            (position in `listed`) and the part of the file that is read, `start_s` and `end_s` (seconds).
        listed (sequence of [`ListedClip`]): The clips that the data set lists, with their audio.
        gain_db (`float`, defaults to 0): By how many dB waveforms are amplified.
    """

    listed: Sequence[ListedClip]
    gain_db: float = 0.0

    def read(self, index: int, sampling_rate: int) -> np.ndarray:
        """Decode a clip.

        Args:
            index (`int`): Position of the clip in `dataset`.
            sampling_rate (`int`): Sampling rate of the result in Hz.

        Returns:
            `np.ndarray` of shape `(num_samples,)`: Mono float32 waveform, at most as long as a window.

        Raises:
            ValueError: If the audio is damaged; the message names the clip.
            FileNotFoundError: If the file is gone.
        """
        row = self.dataset[int(index)]
        window = Window(
            clip=self.listed[row["clip"]],
            id=row["id"],
            start_s=row["start_s"],
            end_s=row["end_s"],
            duration_s=row["duration_s"],
            sampling_rate=row["sampling_rate"],
        )
        return read_window(window, sampling_rate, self.gain_db)


def list_audio_clips(
    listing: Listing,
    settings: ReadingSettings | None = None,
    max_rejected_share: float = 0.01,
    num_threads: int | None = None,
    progress: bool = True,
) -> AudioClips:
    """Divide the clips of a data set into windows, from the headers of their files; nothing is decoded.

    Clips are the same, under the same names, as [`encode_listing`] makes with the same settings. Only damage and
    silence, which show when audio is decoded, are not found here: `keep_silent` has no effect, and reading a damaged
    clip raises.

    Args:
        listing ([`Listing`]): The clips.
        settings ([`ReadingSettings`], *optional*): By default, long clips become windows of 10 s.
        max_rejected_share (`float`, defaults to 0.01): Share of the clips that may be unreadable or empty, in [0, 1].
        num_threads (`int`, *optional*): Threads that read headers; by default twice the cores, 16 at most.
        progress (`bool`, defaults to `True`): Whether to show a progress bar.

    Returns:
        [`AudioClips`]: One entry per window, in the order of the listing.

    Raises:
        ValueError: If more than `max_rejected_share` of the clips are unreadable (the message shows the first of
            them), or no clip is left.
    """
    if not 0 <= max_rejected_share <= 1:
        raise ValueError(f"`max_rejected_share` must be in [0, 1], got {max_rejected_share}.")
    if num_threads is not None and num_threads < 1:
        raise ValueError(f"`num_threads` must be at least 1, got {num_threads}.")
    settings = settings or ReadingSettings()
    features = Features({**FEATURES, **JUDGED}) if listing.partly_judged else FEATURES
    columns: dict[str, list[Any]] = {name: [] for name in features}
    rejected: list[Rejection] = []
    rejections = Rejections(max_rejected_share, len(listing.clips))
    num_threads = num_threads or min(16, 2 * len(os.sched_getaffinity(0)))
    for index, (windows, left_out) in enumerate(_plan_all(listing, settings, num_threads, progress)):
        rejected += [relative_rejection(entry, listing.root) for entry in left_out]
        if left_out:
            rejections.add(left_out, 1)
        for window in windows:
            row = _row(window, index)
            for name, values in columns.items():
                values.append(row[name])
    if not columns["id"]:
        reasons = "\n".join(f"  {entry['path']}: {entry['reason']}" for entry in rejected[:20])
        raise ValueError(f"None of the {len(listing.clips)} clips can be used:\n{reasons}")
    report = DataReport(
        source=listing.name,
        layout=listing.layout,
        listed=len(listing.clips) + len(listing.missing),
        found=len(columns["id"]),
        missing=len(listing.missing),
        missing_names=listing.missing[:SHOWN],
        max_length_s=settings.max_length_s,
        windows=settings.long_files == "windows",
        hop_s=settings.window_hop_s,
    )
    report.count_rejected(rejected).measure(
        durations_s=columns["duration_s"],
        sampling_rates=columns["sampling_rate"],
        labels=columns["labels"],
        splits=columns["split"],
        all_labels=listing.labels,
    )
    return AudioClips(
        dataset=Dataset.from_dict(columns, features=features),
        labels=list(listing.labels),
        multi_label=listing.multi_label,
        label_ids=listing.label_ids,
        report=report,
        listed=listing.clips,
        gain_db=settings.gain_db,
    )


def _plan_all(
    listing: Listing, settings: ReadingSettings, num_threads: int, progress: bool
) -> Iterator[tuple[list[Window], list[Rejection]]]:
    clips = iter(listing.clips)
    bar = tqdm(total=len(listing.clips), desc="reading headers", unit="clip", disable=not progress or hides_bars())
    with bar, ThreadPoolExecutor(num_threads) as pool:
        # Clips of a `datasets` data set carry the bytes of their files: only a part of them may be in memory.
        while chunk := list(islice(clips, _CLIPS_AT_ONCE)):
            for planned in pool.map(lambda clip: _plan(clip, settings), chunk):
                bar.update()
                yield planned


def _plan(clip: ListedClip, settings: ReadingSettings) -> tuple[list[Window], list[Rejection]]:
    """The windows of a clip, and what is left out of it."""
    try:
        with open_audio(clip.audio) as audio:
            planned = plan_open_audio(clip, audio, settings)
            if isinstance(planned, dict):
                return [], [planned]
            shortfall = find_shortfall(clip, audio)
    except READING_ERRORS as error:
        return [], [make_rejection(clip, clip.id, UNREADABLE, str(error))]
    return planned, [] if shortfall is None else [shortfall]


def _row(window: Window, index: int) -> dict[str, Any]:
    clip = window.clip
    return {
        "id": window.id,
        "labels": list(clip.labels),
        "split": clip.split,
        "fold": clip.fold,
        "group": window.group,
        "duration_s": window.duration_s,
        "sampling_rate": window.sampling_rate,
        "clip": index,
        "start_s": window.start_s,
        "end_s": window.end_s,
        "judged": None if clip.judged is None else list(clip.judged),
    }
