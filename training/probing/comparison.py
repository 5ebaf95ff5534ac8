"""What probes of several models got right, compared clip by clip."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from audioformer.evaluation.metrics import (
    LARGE_SIZE,
    NUM_RESAMPLES_OF_LARGE,
    compute_metric,
    draw_resamples,
    metric_name,
    percentile_interval,
    resampled_metric,
)

NUM_RESAMPLES = 1000
TITLES = {"knn": "k-NN", "mlp": "MLP", "linear": "linear"}


@dataclass(frozen=True)
class ProbeRow:
    """One probe on the vectors of one model.

    Args:
        model (`str`): Name of the model.
        family (`str`): Name of its family.
        probe (`str`): `"knn"`, `"mlp"` or `"linear"`.
        by_seed (mapping of `int` or `None` to `float`): The metric for each seed; `None` for probes without one.
        by_part (mapping of `str` to `float`): The metric of each part, such as a fold, the mean over the seeds; parts
            in which no class has a positive are left out.
        value (`float`): The mean over the seeds of the metric of all test clips.
        interval (`tuple[float, float]`): Its 95 % bootstrap interval over the clips or their groups.
        difference (`float`, *optional*): To the first model with the same probe.
        difference_interval (`tuple[float, float]`, *optional*): Its 95 % interval, over the same resamples.
    """

    model: str
    family: str
    probe: str
    by_seed: Mapping[int | None, float]
    by_part: Mapping[str, float]
    value: float
    interval: tuple[float, float]
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None

    def to_dict(self, metric: str) -> dict[str, Any]:
        """The row as plain values, for programs."""
        return {
            "model": self.model,
            "family": self.family,
            "probe": self.probe,
            metric: self.value,
            "interval_95": list(self.interval),
            "by_seed": [{"seed": seed, metric: value} for seed, value in self.by_seed.items()],
            "by_part": dict(self.by_part),
            "difference": self.difference,
            "difference_interval_95": None if self.difference_interval is None else list(self.difference_interval),
        }


@dataclass(frozen=True)
class Scores:
    """The scores of one probe on the vectors of one model.

    Args:
        model, family, probe (`str`): As in [`ProbeRow`].
        by_seed (mapping of `int` or `None` to `np.ndarray` of shape `(num_clips, num_labels)`): Scores of all test
            clips for each seed.
    """

    model: str
    family: str
    probe: str
    by_seed: Mapping[int | None, np.ndarray]


@dataclass(frozen=True)
class ProbeResults:
    """The results of a run.

    Args:
        rows (sequence of [`ProbeRow`]): Probe by probe, with the models in the order in which they were given.
        multi_label (`bool`): Whether the metric is mAP; otherwise accuracy.
        num_clips (`int`): Number of test clips.
        tested_on (`str`): What they are.
        notes (sequence of `str`): What a reader has to know.
        fitted (sequence of `str`): How each probe was fitted, in words.
        settings (mapping): Settings of the run, and versions.
        data (mapping): The data report.
        data_text (`str`): The data report as text.
        seconds (mapping): Duration of each part of the run in seconds.
    """

    rows: Sequence[ProbeRow]
    multi_label: bool
    num_clips: int
    tested_on: str
    notes: Sequence[str] = ()
    fitted: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    data_text: str = ""
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def metric(self) -> str:
        """`"accuracy"` or `"mAP"`."""
        return metric_name(self.multi_label)

    def to_dict(self) -> dict[str, Any]:
        """The results as plain values, for programs."""
        return {
            "metric": self.metric,
            "rows": [row.to_dict(self.metric) for row in self.rows],
            "num_clips": self.num_clips,
            "tested_on": self.tested_on,
            "notes": list(self.notes),
            "seconds": dict(self.seconds),
            "settings": dict(self.settings),
            "data": dict(self.data),
        }

    def table(self) -> str:
        """The results as a Markdown table."""
        first = self.rows[0].model
        compares = any(row.difference is not None for row in self.rows)
        has_seeds = any(len(row.by_seed) > 1 for row in self.rows)
        header = ["model", "probe", self.metric, "95 %", *(["by seed"] if has_seeds else [])]
        if compares:
            header += [f"against {first}", "95 %"]
        lines = [header, ["---"] * len(header)]
        for row in self.rows:
            cells = [row.model, TITLES[row.probe], f"{row.value:.1%}", _range(row.interval, "{:.1%}")]
            if has_seeds:
                values = row.by_seed.values() if len(row.by_seed) > 1 else ()
                cells.append(", ".join(f"{value:.1%}" for value in values))
            if row.difference is not None and row.difference_interval is not None:
                ends = (100 * row.difference_interval[0], 100 * row.difference_interval[1])
                cells += [f"{100 * row.difference:+.1f}", _range(ends, "{:+.1f}")]
            elif compares:
                cells += ["", ""]
            lines.append(cells)
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

    def to_text(self) -> str:
        """The results for the terminal."""
        notes = [f"note: {note}" for note in self.notes]
        return "\n".join(["", *notes, f"{self.num_clips:,} {self.tested_on}", "", self.table()])

    def to_markdown(self) -> str:
        """The results as a page."""
        metric = self.metric[:1].upper() + self.metric[1:] if self.metric.islower() else self.metric
        explained = (
            f"{metric} on {self.num_clips:,} {self.tested_on}. Intervals are bootstrap intervals over clips, whole "
            "groups where clips have groups; differences, in points, are paired by clip."
        )
        listing = "\n".join(f"{name}: {value}" for name, value in self.settings.items())
        blocks = ["# Probes of frozen encoders", explained, *self.notes, self.table()]
        blocks.append("\n".join(f"- {line}" for line in self.fitted))
        blocks += [f"## Data\n\n```\n{self.data_text}\n```", f"## Settings\n\n```\n{listing}\n```"]
        return "\n\n".join(blocks) + "\n"


def compare(
    scores: Sequence[Scores],
    targets: np.ndarray,
    parts: Mapping[str, np.ndarray],
    groups: Sequence[str | None] | None = None,
) -> list[ProbeRow]:
    """Compute the rows of the table.

    Args:
        scores (sequence of [`Scores`]): Of every model and probe, on the same clips; the model of the first is the one
            that others are compared with.
        targets (`np.ndarray`): `(num_clips,)` classes, or `(num_clips, num_labels)` zeros and ones.
        parts (mapping of `str` to `np.ndarray`): Positions of the clips of each part, such as a fold.
        groups (sequence, *optional*): Recording or speaker of each clip; whole groups are drawn.

    Returns:
        `list[ProbeRow]`: Probe by probe.
    """
    multi_label = targets.ndim == 2
    metric = metric_name(multi_label)
    num_resamples = NUM_RESAMPLES_OF_LARGE if targets.size > LARGE_SIZE else NUM_RESAMPLES
    weights = draw_resamples(len(targets), groups=groups, num_resamples=num_resamples)
    references: dict[str, tuple[float, np.ndarray]] = {}
    rows = []
    for entry in scores:
        by_seed = {
            seed: float(compute_metric(values, targets, multi_label)[metric]) for seed, values in entry.by_seed.items()
        }
        value = float(np.mean(list(by_seed.values())))
        resampled = np.mean(
            [resampled_metric(values, targets, multi_label, weights) for values in entry.by_seed.values()], axis=0
        )
        compared: dict[str, Any] = {}
        if entry.model == scores[0].model:
            references[entry.probe] = (value, resampled)
        else:
            other_value, other = references[entry.probe]
            compared = {
                "difference": value - other_value,
                "difference_interval": percentile_interval(resampled - other),
            }
        by_part = {
            name: float(
                np.mean(
                    [
                        compute_metric(values[rows_of], targets[rows_of], multi_label)[metric]
                        for values in entry.by_seed.values()
                    ]
                )
            )
            for name, rows_of in parts.items()
            if targets[rows_of].any() or not multi_label
        }
        interval = percentile_interval(resampled)
        rows.append(ProbeRow(entry.model, entry.family, entry.probe, by_seed, by_part, value, interval, **compared))
    order = list(dict.fromkeys(entry.probe for entry in scores))
    return sorted(rows, key=lambda row: order.index(row.probe))


def _range(ends: tuple[float, float], form: str) -> str:
    return " to ".join(form.format(end) for end in ends)
