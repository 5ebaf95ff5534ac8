"""Mean and standard deviation of the log energies of data, with which front ends normalize spectrograms."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from audioformer.data.audio.clips import AudioClips
from audioformer.data.progress import hides_bars
from audioformer.files import write_whole

from .families import Family, families

CLIPS_AT_ONCE = 16


@dataclass(frozen=True)
class EnergyStatistics:
    """What was measured.

    Args:
        mean (`np.ndarray` of shape `(num_bins,)`): Mean of the log energies of each mel bin, float64.
        std (`np.ndarray` of shape `(num_bins,)`): Their standard deviation.
        overall_mean (`float`): Mean over all bins.
        overall_std (`float`): Standard deviation over all bins.
        num_clips (`int`): Clips that were measured.
        num_frames (`int`): Frames of these.
    """

    mean: np.ndarray
    std: np.ndarray
    overall_mean: float
    overall_std: float
    num_clips: int
    num_frames: int

    def to_dict(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "bins": {"mean": self.mean.tolist(), "std": self.std.tolist()},
            "all": {"mean": self.overall_mean, "std": self.overall_std},
            "num_clips": self.num_clips,
            "num_frames": self.num_frames,
        }

    def save(self, file: Path, **facts: Any) -> None:
        """Write JSON, with facts about where it comes from."""
        text = json.dumps({**facts, **self.to_dict()}, indent=1) + "\n"
        write_whole(file, lambda path: path.write_text(text, encoding="utf-8"))

    def to_text(self) -> str:
        """The result for the terminal."""
        return (
            f"{self.num_clips:,} clips, {self.num_frames:,} frames: mean {self.overall_mean:.5f}, standard deviation "
            f"{self.overall_std:.5f} over all {len(self.mean)} bins; of single bins from {self.std.min():.4f} (bin "
            f"{self.std.argmin()}) to {self.std.max():.4f}"
        )


def require_energies(family: Family) -> None:
    """Check that a family normalizes spectrograms with statistics of the data.

    Raises:
        ValueError: If it does not.
    """
    if family.log_energies is None:
        able = ", ".join(one.name for one in families() if one.log_energies is not None)
        raise ValueError(
            f"{family.title} does not normalize spectrograms with statistics of the data. Name a model or a family "
            f"that does: {able}."
        )


def measure_statistics(
    family: Family, extractor: Any, clips: AudioClips, max_clips: int | None = None, seed: int = 0
) -> EnergyStatistics:
    """Measure the log energies of clips, each frame with the same weight.

    Args:
        family ([`Family`]): With `log_energies`.
        extractor: Its feature extractor.
        clips ([`AudioClips`]): The clips.
        max_clips (`int`, *optional*): Measure so many of them, chosen at random; by default all.
        seed (`int`, defaults to 0): Seed of the choice.

    Returns:
        [`EnergyStatistics`]: Mean and standard deviation, accumulated in float64.

    Raises:
        ValueError: If the family does not use such statistics, or a clip is damaged.
    """
    require_energies(family)
    assert family.log_energies is not None
    chosen: Sequence[int] = range(len(clips))
    if max_clips is not None and max_clips < len(clips):
        chosen = np.sort(np.random.default_rng(seed).choice(len(clips), max_clips, replace=False)).tolist()
    total: Any = 0.0
    squares: Any = 0.0
    num_frames = 0
    for start in tqdm(range(0, len(chosen), CLIPS_AT_ONCE), desc="measuring", disable=hides_bars()):
        waveforms = [clips.read(index, extractor.sampling_rate) for index in chosen[start : start + CLIPS_AT_ONCE]]
        for energies in family.log_energies(extractor, waveforms):
            values = np.asarray(energies, np.float64)
            total, squares = total + values.sum(axis=0), squares + np.square(values).sum(axis=0)
            num_frames += len(values)
    mean = total / num_frames
    overall = float(mean.mean())
    # Differences of squares of float64 are exact enough for values of this size.
    std = np.sqrt(np.maximum(squares / num_frames - np.square(mean), 0.0))
    overall_std = float(np.sqrt(max((squares / num_frames).mean() - overall**2, 0.0)))
    return EnergyStatistics(mean, std, overall, overall_std, len(chosen), num_frames)
