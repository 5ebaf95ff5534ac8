"""Several classifiers on the same labelled clips: one table, paired differences, one picture, and their average."""

import json
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, logit, softmax

from audioformer.files import COMPARISON, COMPARISON_PICTURE, COMPARISON_TABLE

from .figures import COLOR, new_figure
from .metrics import bootstrap_values, compute_metric, metric_name, percentile_interval
from .summary import EvaluationSummary
from .windows import LIMIT

ENSEMBLE = "average of all"
SHOWN = 5


@dataclass(frozen=True)
class ModelCost:
    """What a classifier takes to run.

    Args:
        parameters (`int`): Weights of the classifier.
        front_end_parameters (`int`): Learned weights of its feature extractor, those of a codec for example.
        speed_clips (`int`): Number of clips of the next two; longer ones count as their windows.
        clips_per_second (`float`): From waveforms in memory to scores.
        real_time_factor (`float`): Seconds that it computes for a second of sound: below 1 it keeps up.
        peak_memory_gb (`float`, *optional*): What the process needed beyond what it held before, in GB; `None` where
            the system does not tell.
        device (`str`): Where it ran, `"cpu"` or `"cuda"`.
    """

    parameters: int
    front_end_parameters: int
    speed_clips: int
    clips_per_second: float
    real_time_factor: float
    peak_memory_gb: float | None
    device: str


@dataclass(frozen=True)
class ComparedModel:
    """A classifier of a comparison.

    Args:
        name (`str`): Its name in the table.
        family (`str`): Name of its family.
        loss (`str`): What it was trained with, see [`classification_loss_name`].
        summary ([`EvaluationSummary`]): Its scores, in the order of its own labels.
        cost ([`ModelCost`]): What it takes to run.
    """

    name: str
    family: str
    loss: str
    summary: EvaluationSummary
    cost: ModelCost

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Logits as the probabilities that the loss stands for: their softmax or their sigmoids.

        Raises:
            ValueError: If the loss gives none.
        """
        check_gives_probabilities(self.name, self.loss)
        scores = scores.astype(np.float64)
        return softmax(scores, axis=1) if self.loss == "cross_entropy" else expit(scores)


def check_gives_probabilities(name: str, loss: str) -> None:
    """Check that the scores of a model can be averaged with those of others.

    Raises:
        ValueError: If the model was trained by a regression.
    """
    if loss == "regression":
        raise ValueError(f"`ensemble` averages probabilities, but `models` {name} was trained by a regression.")


def check_same_labels(labels: Mapping[str, Sequence[str]]) -> None:
    """Check that all models know the labels of the first, in any order.

    Args:
        labels (mapping): The labels of each model.

    Raises:
        ValueError: If a model has others; the message names them.
    """
    (first, known), *others = labels.items()
    for name, own in others:
        if set(own) == set(known):
            continue
        parts = []
        for these, those, holder in ((own, known, name), (known, own, first)):
            only = [label for label in these if label not in set(those)]
            if only:
                more = f", and {len(only) - SHOWN} more" if len(only) > SHOWN else ""
                parts.append(f"{', '.join(only[:SHOWN])}{more} {'is' if len(only) == 1 else 'are'} only in {holder}")
        raise ValueError(f"`models` must have the same labels: {'; '.join(parts)}.")


@dataclass(frozen=True)
class ComparedRow:
    """A row of the table.

    Args:
        name (`str`): Name of the model, or of the average.
        family (`str`, *optional*): Its family; `None` for the average.
        value (`float`): The metric.
        interval (`tuple[float, float]`): Its 95 % bootstrap interval.
        difference (`float`, *optional*): The metric less that of the first model.
        difference_interval (`tuple[float, float]`, *optional*): Its 95 % interval, over the same resampled clips.
        cost ([`ModelCost`], *optional*): What it takes to run; the average was not run.
    """

    name: str
    family: str | None
    value: float
    interval: tuple[float, float]
    difference: float | None = None
    difference_interval: tuple[float, float] | None = None
    cost: ModelCost | None = None


class Comparison:
    """Classifiers on the same clips.

    Clips that not all of them could read are left out. The order of labels is that of the first.

    Args:
        models (sequence of [`ComparedModel`]): In the order of the table; the others are compared with the first.
        ensemble (`bool`, defaults to `False`): Whether the average of all is a row of its own: the mean of the
            probabilities, all models counting the same (as in Table 3 of BEATs, which does not say of what).

    Raises:
        ValueError: If the models have different labels, there is no clip that all could read, or a clip has another
            target in the test of another model.

    Attributes:
        rows (`list[ComparedRow]`): The table.
        average ([`EvaluationSummary`], *optional*): The ensemble, with logits of its probabilities as scores.
    """

    def __init__(self, models: Sequence[ComparedModel], ensemble: bool = False) -> None:
        self.models, first = list(models), models[0].summary
        check_same_labels({model.name: model.summary.labels for model in models})
        self.multi_label, self.metric = first.multi_label, metric_name(first.multi_label)
        self.labels = list(first.labels)
        rows_of = [_rows_by_clip(model.summary.ids) for model in models]
        common = [clip for clip in rows_of[0] if all(clip in rows for rows in rows_of[1:])]
        if not common:
            raise ValueError(f"`models`: no clip could be read by all of the {len(models)} models.")
        self.left_out = len(set().union(*rows_of)) - len(common)
        chosen = [[rows[clip] for clip in common] for rows in rows_of]
        self.ids = [first.ids[row] for row in chosen[0]]
        self.groups = None if first.groups is None else [first.groups[row] for row in chosen[0]]
        self.targets = first.targets[chosen[0]]
        scores = []
        for model, rows in zip(models, chosen, strict=True):
            own = list(model.summary.labels)
            columns = [own.index(label) for label in self.labels]
            targets = model.summary.targets[rows]
            if not self.multi_label:
                targets = np.array([self.labels.index(own[target]) for target in targets])
            else:
                targets = targets[:, columns]
            differ = np.flatnonzero((targets != self.targets).reshape(len(targets), -1).any(axis=1))
            if len(differ):
                raise ValueError(
                    f"`models`: {model.name} and {models[0].name} were tested on other labels of clip "
                    f"{self.ids[differ[0]]!r}."
                )
            scores.append(model.summary.scores[np.ix_(rows, columns)])
        self.average = self._average(scores) if ensemble else None
        self.rows = self._measure(scores)

    def _average(self, scores: Sequence[np.ndarray]) -> EvaluationSummary:
        parts = [model.probabilities(one) for model, one in zip(self.models, scores, strict=True)]
        mean = np.mean(parts, axis=0)
        names = ", ".join(model.name for model in self.models)
        return EvaluationSummary(
            ids=self.ids,
            scores=logit(np.clip(mean, LIMIT, 1 - LIMIT)) if self.multi_label else np.log(np.maximum(mean, LIMIT)),
            targets=self.targets,
            labels=self.labels,
            multi_label=self.multi_label,
            tested_on="clips",
            groups=self.groups,
            notes=[f"Mean of the probabilities of {len(self.models)} models: {names}."],
        )

    def _measure(self, scores: Sequence[np.ndarray]) -> list[ComparedRow]:
        named: list[tuple[str, str | None, ModelCost | None, np.ndarray]] = [
            (model.name, model.family, model.cost, one) for model, one in zip(self.models, scores, strict=True)
        ]
        if self.average is not None:
            named.append((ENSEMBLE, None, None, self.average.scores))
        rows: list[ComparedRow] = []
        reference: np.ndarray | None = None
        for name, family, cost, one in named:
            value = compute_metric(one, self.targets, self.multi_label)[self.metric]
            resampled = bootstrap_values(one, self.targets, self.multi_label, groups=self.groups)
            compared: dict[str, Any] = {}
            if reference is None:
                reference = resampled
            else:
                compared = {
                    "difference": value - rows[0].value,
                    "difference_interval": percentile_interval(resampled - reference),
                }
            rows.append(ComparedRow(name, family, value, percentile_interval(resampled), cost=cost, **compared))
        return rows

    @property
    def notes(self) -> list[str]:
        """What a reader of the table has to know, in sentences."""
        groups = len({group for group in self.groups or [] if group is not None})
        unit = f"over clips, {groups:,} groups of them drawn as wholes" if groups else "over clips"
        notes = [
            f"{self.metric} on {len(self.ids):,} clips with 95 % bootstrap intervals ({unit}). Differences, in "
            f"points, are to {self.models[0].name}, over the same resampled clips."
        ]
        if self.left_out:
            notes.append(f"{self.left_out:,} clips were left out, which not all of the models could read.")
        sizes = {model.cost.speed_clips for model in self.models}
        notes.append(
            "Speed: from waveforms in memory, at the rate of the model, to scores, with one pass over "
            f"{' or '.join(f'{size:,}' for size in sorted(sizes))} clips or windows; real-time factor: seconds of "
            "computation for a second of sound. Memory: the peak of the process beyond what it held before the model "
            "was opened, for weights, front end and batches; without processes that load batches."
        )
        if any(model.cost.front_end_parameters for model in self.models):
            notes.append("Parameters after a + are learned weights of the feature extractor, such as a codec's.")
        if self.average is not None:
            of = {"cross_entropy": "softmax", "bce": "sigmoid", "lsep": "sigmoid"}
            parts = ", ".join(f"{of[model.loss]} of {model.name}" for model in self.models)
            notes.append(f"{ENSEMBLE.capitalize()}: the mean of the probabilities ({parts}), all weighted the same.")
        return notes

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain values, for programs."""
        rows = []
        for row in self.rows:
            cost = row.cost
            rows.append(
                {
                    "name": row.name,
                    "family": row.family,
                    self.metric: row.value,
                    "interval_95": list(row.interval),
                    "difference": row.difference,
                    "difference_interval_95": None if row.difference_interval is None else [*row.difference_interval],
                    **({} if cost is None else vars(cost)),
                }
            )
        return {
            "metric": self.metric,
            "num_clips": len(self.ids),
            "num_clips_left_out": self.left_out,
            "labels": self.labels,
            "averaged": self.average is not None,
            "notes": self.notes,
            "rows": rows,
        }

    def to_markdown(self) -> str:
        """The table and its notes as Markdown."""
        header = [
            *("model", "family", self.metric, "95 %", f"against {self.models[0].name}", "95 %", "parameters"),
            *("clips/s", "real-time factor", "memory"),
        ]
        lines = ["# Comparison", "", f"| {' | '.join(header)} |", "|" + " --- |" * len(header)]
        lines += [f"| {' | '.join(_cells(row))} |" for row in self.rows]
        return "\n".join([*lines, *(f"\n{note}" for note in self.notes)]) + "\n"

    def save(self, folder: Path) -> None:
        """Write `compare.json`, `compare.md` and `compare.png` into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        (folder / COMPARISON).write_text(text + "\n", encoding="utf-8")
        (folder / COMPARISON_TABLE).write_text(self.to_markdown(), encoding="utf-8")
        self.save_picture(folder / COMPARISON_PICTURE)

    def save_picture(self, file: Path) -> None:
        """Draw the metrics, and beside them the differences to the first model, all with their intervals."""
        figure = new_figure(11 if len(self.rows) > 1 else 7, 1.4 + 0.45 * len(self.rows))
        panels = figure.subplots(1, 2 if len(self.rows) > 1 else 1, sharey=True, squeeze=False)[0]
        for position, row in enumerate(reversed(self.rows)):
            _draw(panels[0], position, row.value, row.interval, row.cost is None)
            if row.difference is not None and row.difference_interval is not None:
                _draw(panels[1], position, row.difference, row.difference_interval, row.cost is None)
        panels[0].set_yticks(range(len(self.rows)), [row.name for row in reversed(self.rows)])
        panels[0].set(xlabel=f"{self.metric} in %, with its 95 % interval", ylim=(-0.6, len(self.rows) - 0.4))
        if len(panels) > 1:
            panels[1].axvline(0, color="#888888", linewidth=1)
            panels[1].set(xlabel=f"difference to {self.models[0].name} in points, paired by clip")
        for axes in panels:
            axes.grid(axis="x", alpha=0.3)
        figure.suptitle(f"{len(self.models)} models on {len(self.ids):,} clips")
        figure.savefig(file, dpi=120)


def _rows_by_clip(ids: Sequence[str]) -> dict[Hashable, int]:
    """Row of each clip. Where a name comes more than once, as for windows with labels of their own, by its turn."""
    turns: Counter[str] = Counter()
    rows: dict[Hashable, int] = {}
    for row, name in enumerate(ids):
        rows[name, turns[name]] = row
        turns[name] += 1
    return rows


def _cells(row: ComparedRow) -> list[str]:
    def ends(interval: tuple[float, float], sign: str) -> str:
        return " to ".join(f"{100 * end:{sign}.1f}" for end in interval)

    compared = ["", ""]
    if row.difference is not None and row.difference_interval is not None:
        compared = [f"{100 * row.difference:+.1f}", ends(row.difference_interval, "+")]
    cells = [row.name, row.family or "", f"{row.value:.1%}", f"{ends(row.interval, '')} %", *compared]
    if row.cost is None:
        return [*cells, "", "", "", ""]
    cost = row.cost
    parameters = f"{cost.parameters:,}"
    if cost.front_end_parameters:
        parameters += f" + {cost.front_end_parameters:,}"
    memory = "not measured" if cost.peak_memory_gb is None else f"{cost.peak_memory_gb:.2f} GB ({cost.device})"
    return [*cells, parameters, f"{cost.clips_per_second:.3g}", f"{cost.real_time_factor:.3g}", memory]


def _draw(axes: Any, position: int, value: float, interval: tuple[float, float], is_average: bool) -> None:
    color = "#888888" if is_average else COLOR
    axes.plot([100 * end for end in interval], [position, position], color=color, linewidth=2)
    axes.plot([100 * value], [position], "o", color=color, markersize=7)
