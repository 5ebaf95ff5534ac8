"""What a data set actually contains: printed before a run, and stored with every metric."""

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .rejections import Rejection

SHOWN = 10
KEPT = 100
"""Number of rejected clips that a report lists; `rejected.jsonl` in a folder of codes lists all."""


@dataclass
class DataReport:
    """Counts and durations of a data set.

    Copies of AudioSet or FSD50K differ in which clips are still available, and metrics differ accordingly.

    Args:
        source (`str`): Name of the data set.
        layout (`str`): Name of the reader that read it.
        listed (`int`): Number of clips that the data set lists.
        found (`int`): Number of clips and windows that are used.
        missing (`int`): Number of clips that have no file.
        missing_names (`list[str]`): The first ten of them.
        max_length_s (`float`): Length of the longest clip or window in seconds.
        windows (`bool`, defaults to `False`): Whether longer clips are divided into windows of `max_length_s`.
        hop_s (`float`, *optional*): Seconds from one window to the next. Without it they were made by an earlier
            rule: the last one is shorter.
        rejected (`list[Rejection]`): Clips and windows that are left out, the first hundred.
        rejected_counts (`dict[str, int]`): Number of rejected clips and windows of each kind.
        truncated (`int`): Number of clips of which only the first `max_length_s` seconds are used.
        hours (`float`): Total duration in hours, before clips are cut.
        duration_quantiles_s (`dict[str, float]`): Shortest clip, quartiles, and longest clip, in seconds.
        sampling_rates (`dict[str, int]`): Number of clips of each sampling rate (of the file, in Hz).
        clips_per_label (`dict[str, int]`): Number of clips of each class.
        splits (`dict[str, int]`): Number of clips of each split.
        grouped (`dict[str, int]`, *optional*): Number of `clips` (the windows of one count once), of those
            `with_group`, and of `groups`; `None` where it was not counted.
        group_pattern (`str`, *optional*): The pattern that gave clips their groups.
        group_pattern_matches (`int`, *optional*): Number of clips that it matches.
        group_proposal (`dict`, *optional*): A `pattern` for data without groups that keeps `sharing` of the listed
            `clips` together, in `groups`.
    """

    source: str
    layout: str
    listed: int
    found: int
    missing: int
    max_length_s: float
    windows: bool = False
    hop_s: float | None = None
    rejected: list[Rejection] = field(default_factory=list)
    rejected_counts: dict[str, int] = field(default_factory=dict)
    truncated: int = 0
    hours: float = 0.0
    duration_quantiles_s: dict[str, float] = field(default_factory=dict)
    sampling_rates: dict[str, int] = field(default_factory=dict)
    clips_per_label: dict[str, int] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    missing_names: list[str] = field(default_factory=list)
    grouped: dict[str, int] | None = None
    group_pattern: str | None = None
    group_pattern_matches: int | None = None
    group_proposal: dict[str, Any] | None = None

    def measure(
        self,
        durations_s: Sequence[float],
        sampling_rates: Sequence[int],
        labels: Sequence[Sequence[str]],
        splits: Sequence[str | None],
        all_labels: Sequence[str],
    ) -> "DataReport":
        """Fill in the statistics of the clips that are used.

        Args:
            durations_s (sequence of `float`, length `num_clips`): Length of each clip in seconds.
            sampling_rates (sequence of `int`, length `num_clips`): Sampling rate of each file in Hz.
            labels (sequence of sequences of `str`, length `num_clips`): Class names of each clip.
            splits (sequence of `str`, length `num_clips`): Split of each clip; `None` where it has none.
            all_labels (sequence of `str`): All class names, in order.
        """
        durations = np.asarray(durations_s, dtype=float)
        self.truncated = int((durations > self.max_length_s).sum())
        self.hours = float(durations.sum() / 3600)
        if len(durations):
            names = ("shortest", "quarter", "median", "three quarters", "longest")
            values = np.quantile(durations, [0, 0.25, 0.5, 0.75, 1])
            self.duration_quantiles_s = {
                name: round(float(value), 3) for name, value in zip(names, values, strict=True)
            }
        self.sampling_rates = {str(rate): count for rate, count in sorted(Counter(sampling_rates).items())}
        counts = Counter(label for clip in labels for label in clip)
        self.clips_per_label = {label: counts[label] for label in all_labels}
        self.splits = dict(sorted(Counter(str(split) for split in splits if split is not None).items()))
        return self

    def count_rejected(self, rejected: Sequence[Rejection]) -> "DataReport":
        """Fill in the clips and windows that are left out."""
        self.rejected = list(rejected[:KEPT])
        self.rejected_counts = dict(sorted(Counter(entry["kind"] for entry in rejected).items()))
        return self

    def to_text(self) -> str:
        """Format the report for the terminal."""
        lines = [
            f"Data: {self.source} ({self.layout})",
            self._counts_line(),
            f"  duration    {self.hours:.2f} h; "
            + ", ".join(f"{name} {value:g} s" for name, value in self.duration_quantiles_s.items()),
            f"  cut         {self._cut()}",
            "  rates       " + ", ".join(f"{rate} Hz: {count:,}" for rate, count in self.sampling_rates.items()),
        ]
        if self.splits:
            lines.append("  splits      " + ", ".join(f"{name}: {count:,}" for name, count in self.splits.items()))
        lines += self._groups_lines()
        ranked = sorted(self.clips_per_label.items(), key=lambda entry: -entry[1])
        if len(ranked) <= 2 * SHOWN:
            lines.append("  classes     " + ", ".join(f"{label}: {count:,}" for label, count in ranked))
        else:
            for title, part in (("most frequent", ranked[:SHOWN]), ("rarest", ranked[-SHOWN:])):
                listing = ", ".join(f"{label}: {count:,}" for label, count in part)
                lines.append(f"  {title:<11} {listing} (of {len(ranked)} classes)")
        empty = [label for label, count in ranked if not count]
        if empty:
            more = f", and {len(empty) - SHOWN} more" if len(empty) > SHOWN else ""
            lines.append(f"  without clips: {', '.join(empty[:SHOWN])}{more}")
        if self.missing_names:
            more = (
                f", and {self.missing - len(self.missing_names):,} more"
                if self.missing > len(self.missing_names)
                else ""
            )
            lines.append(f"  missing     {', '.join(self.missing_names)}{more}")
        lines += [f"  {entry['kind']:<11} {entry['path']}: {entry['reason']}" for entry in self.rejected[:SHOWN]]
        num_hidden = sum(self.rejected_counts.values()) - SHOWN
        if num_hidden > 0:
            lines.append(f"  ... and {num_hidden:,} more")
        return "\n".join(lines)

    def _cut(self) -> str:
        if self.windows:
            overlap = "" if self.hop_s in (None, self.max_length_s) else f", one every {self.hop_s:g} s"
            return f"longer clips are divided into windows of {self.max_length_s:g} s{overlap}"
        return f"{self.truncated:,} clips are longer than {self.max_length_s:g} s: only their beginning is used"

    def _groups_lines(self) -> list[str]:
        if self.grouped is None:
            return []
        given = ""
        if self.group_pattern is not None:
            matches = f"{self.group_pattern_matches:,}" if self.group_pattern_matches else "none"
            given = f" (--group-pattern {shlex.quote(self.group_pattern)} matches {matches})"
        if self.grouped["with_group"]:
            counts = f"{self.grouped['groups']:,}; {self.grouped['with_group']:,} of {self.grouped['clips']:,} clips"
            return [f"  groups      {counts} have one{given}"]
        if given:
            return [f"  groups      none{given}"]
        lines = ["  groups      none: clips held out at random may be of recordings and speakers that also train"]
        if self.group_proposal is not None:
            shared = "{sharing:,} of {clips:,} clips share a part of their names".format(**self.group_proposal)
            pattern = shlex.quote(self.group_proposal["pattern"])
            lines.append(f"              {shared}: --group-pattern {pattern} keeps those together")
        return lines

    def _counts_line(self) -> str:
        counts = {"unreadable": 0, **self.rejected_counts}
        left_out = ", ".join(f"{count:,} {kind}" for kind, count in counts.items())
        of = f"{self.found:,} windows and clips of" if self.windows else f"{self.found:,} of"
        return f"  clips       {of} {self.listed:,} listed ({self.missing:,} missing, {left_out})"

    def save(self, path: str | Path) -> None:
        """Write the report as JSON."""
        Path(path).write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
