"""The result of a run: for the terminal, for people who open the folder, and for programs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from audioformer.files import CLASSES_PICTURE, EVAL_RESULTS, PREDICTIONS, SUMMARY, TRAINING_PICTURE

from .figures import save_average_precisions, save_confusion_matrix, save_training_curves
from .metrics import bootstrap_interval, compute_metric, metric_name, per_class_table

NUM_SHOWN = 15
"""Best and worst classes that are listed where there are too many to list all."""


@dataclass(frozen=True)
class GainResult:
    """The metric of the test clips after their waveforms were amplified.

    Args:
        gain_db (`float`): By how many dB; less than 0 for softer clips.
        value (`float`): The metric.
        interval (`tuple[float, float]`): Its 95 % bootstrap interval.
        difference (`float`): The metric less that of 0 dB.
    """

    gain_db: float
    value: float
    interval: tuple[float, float]
    difference: float


@dataclass
class EvaluationSummary:
    """A metric and everything needed to interpret it.

    Args:
        ids (sequence of `str`): Names of the test clips.
        scores (`np.ndarray` of shape `(num_clips, num_labels)`): Logits.
        targets (`np.ndarray`): `(num_clips,)` classes, or `(num_clips, num_labels)` zeros and ones.
        labels (sequence of `str`): Names of the classes.
        multi_label (`bool`): Whether a clip can have several labels: the metric is mAP, otherwise accuracy.
        tested_on (`str`): What the test clips are, as in "80 test clips".
        selection (`str`, *optional*): The clips that the checkpoint was selected on.
        groups (sequence, *optional*): Recording that each clip comes from, for the interval.
        grouped (`bool`, *optional*): Of clips that were drawn at random from the training clips, whether all have a
            group, so that no recording or speaker among them trained; `None` for other clips.
        settings (mapping): Settings of the run.
        data (mapping, *optional*): The data report as a dict.
        data_text (`str`, *optional*): The data report as text.
        notes (sequence of `str`): Anything else a reader has to know.
        log_history (sequence of mappings): Log of the training, for its curves.
        seconds (mapping): Duration of each part of the run in seconds.
        peak_memory_gb (`float`, *optional*): Peak memory of the process in GB.
        gains (sequence of [`GainResult`]): The metric of the same clips at other levels, if they were measured.
    """

    ids: Sequence[str]
    scores: np.ndarray
    targets: np.ndarray
    labels: Sequence[str]
    multi_label: bool
    tested_on: str
    selection: str | None = None
    groups: Sequence[str | None] | None = None
    grouped: bool | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] | None = None
    data_text: str | None = None
    notes: Sequence[str] = ()
    log_history: Sequence[Mapping[str, float]] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    peak_memory_gb: float | None = None
    gains: Sequence[GainResult] = ()

    def __post_init__(self) -> None:
        self.metric = metric_name(self.multi_label)
        result = compute_metric(self.scores, self.targets, self.multi_label)
        self.value: float = result[self.metric]
        self.without_positives: int = result.get("num_classes_without_positives", 0)
        self.interval = bootstrap_interval(self.scores, self.targets, self.multi_label, groups=self.groups)
        self.table = per_class_table(self.scores, self.targets, self.labels, self.multi_label, result.get("per_class"))

    def headline(self) -> str:
        """The metric in one line, with its interval and the test clips."""
        low, high = self.interval
        text = f"{self.metric} {self.value:.1%} (95 % interval {low:.1%} to {high:.1%})"
        text += f" on {len(self.ids):,} {self.tested_on}"
        if self.without_positives:
            text += f"; {self.without_positives} of {len(self.labels)} classes have no positive and are left out"
        return text

    def to_text(self) -> str:
        """The summary for the terminal."""
        # What changes the meaning of a number precedes it.
        lines = ["", *(f"note: {note}" for note in self.notes), self.headline()]
        if self.selection is not None:
            lines.append(f"checkpoint selected on: {self.selection}")
        lines += ["", *_columns(self._shown_rows())]
        if self.gains:
            lines += ["", *self._gain_table()]
        if self.seconds or self.peak_memory_gb is not None:
            lines.append("")
        lines += [f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items()]
        if self.peak_memory_gb is not None:
            lines.append(f"peak memory {self.peak_memory_gb:.2f} GB")
        return "\n".join(lines)

    def _shown_rows(self) -> list[Mapping[str, Any]]:
        rows: list[Mapping[str, Any]] = sorted(self.table, key=_order, reverse=True)
        if len(rows) <= 2 * NUM_SHOWN:
            return rows
        left_out = {"label": f"... {len(rows) - 2 * NUM_SHOWN} more in {EVAL_RESULTS}"}
        return [*rows[:NUM_SHOWN], left_out, *rows[-NUM_SHOWN:]]

    def _gain_table(self) -> list[str]:
        lines = [f"{'gain':>9}{self.metric:>12}{'95 % interval':>20}{'against 0 dB':>16}"]
        for result in self.gains:
            interval = f"{result.interval[0]:.1%} to {result.interval[1]:.1%}"
            difference = f"{100 * result.difference:+.1f} points" if result.gain_db else ""
            gain = f"{result.gain_db:+g} dB" if result.gain_db else "0 dB"
            lines.append(f"{gain:>9}{result.value:>12.1%}{interval:>20}{difference:>16}".rstrip())
        return lines

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain values, for programs."""
        results = {
            self.metric: self.value,
            "interval_95": list(self.interval),
            "num_clips": len(self.ids),
            "num_classes_without_positives": self.without_positives,
            "tested_on": self.tested_on,
            "selection": self.selection,
            "grouped": self.grouped,
            "notes": list(self.notes),
            "per_class": self.table,
            "seconds": dict(self.seconds),
            "peak_memory_gb": self.peak_memory_gb,
            "settings": dict(self.settings),
            "data": self.data,
        }
        if self.gains:
            results["gains"] = [
                {
                    "gain_db": result.gain_db,
                    self.metric: result.value,
                    "interval_95": list(result.interval),
                    "difference": result.difference,
                }
                for result in self.gains
            ]
        return results

    def save(self, folder: str | Path) -> None:
        """
        Write the summary into a folder.

        Writes `eval_results.json`, `summary.md`, the figures, and `predictions.npz` (ids, scores, targets, labels and
        groups, which are empty where a clip has none), from which anyone can compute metric and interval again.

        Args:
            folder (`str` or `Path`): Folder to write into. It is created if needed.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False, default=str)
        (folder / EVAL_RESULTS).write_text(text + "\n", encoding="utf-8")
        np.savez_compressed(
            folder / PREDICTIONS,
            ids=np.array(list(self.ids)),
            scores=self.scores,
            targets=self.targets,
            labels=np.array(list(self.labels)),
            groups=np.array([group or "" for group in self.groups or [None] * len(self.ids)]),
        )
        pictures = [CLASSES_PICTURE]
        if self.multi_label:
            save_average_precisions(self.table, f"mAP {self.value:.1%}", folder / pictures[0])
        else:
            title = f"accuracy {self.value:.1%} on {len(self.ids):,} clips"
            save_confusion_matrix(self.scores, self.targets, self.labels, title, folder / pictures[0])
        if any("loss" in record for record in self.log_history):
            pictures.append(TRAINING_PICTURE)
            (folder / TRAINING_PICTURE).parent.mkdir(exist_ok=True)
            save_training_curves(self.log_history, "Training", folder / pictures[-1])
        (folder / SUMMARY).write_text(self._markdown(pictures), encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> "EvaluationSummary":
        """Read what [`~EvaluationSummary.save`] wrote, except the log and the data report as text.

        Args:
            folder (`str` or `Path`): Folder of a finished run.

        Returns:
            `EvaluationSummary`: The summary, with the interval that was computed with the groups.

        Raises:
            ValueError: If the folder lacks one of the files.
        """
        folder = Path(folder)
        missing = [name for name in (EVAL_RESULTS, PREDICTIONS) if not (folder / name).is_file()]
        if missing:
            raise ValueError(f"{folder} holds no finished run: {' and '.join(missing)} is missing.")
        saved = json.loads((folder / EVAL_RESULTS).read_text(encoding="utf-8"))
        with np.load(folder / PREDICTIONS) as file:
            arrays = {name: file[name] for name in ("ids", "scores", "targets", "labels")}
            # Earlier versions did not write them.
            groups = [group or None for group in file["groups"].tolist()] if "groups" in file else None
        names = ("tested_on", "selection", "notes", "seconds", "peak_memory_gb", "settings", "data")
        summary = cls(
            ids=arrays["ids"].tolist(),
            scores=arrays["scores"],
            targets=arrays["targets"],
            labels=arrays["labels"].tolist(),
            multi_label=metric_name(True) in saved,
            groups=groups,
            # Earlier versions did not record it.
            grouped=saved.get("grouped"),
            **{name: saved[name] for name in names},
        )
        low, high = saved["interval_95"]
        summary.interval = (low, high)
        summary.gains = [
            GainResult(entry["gain_db"], entry[summary.metric], tuple(entry["interval_95"]), entry["difference"])
            for entry in saved.get("gains", [])
        ]
        return summary

    def _markdown(self, pictures: Sequence[str]) -> str:
        blocks = ["# Results", *self.notes, f"{self.headline()}."]
        if self.selection is not None:
            blocks.append(f"Checkpoint selected on: {self.selection}.")
        blocks += [f"![{Path(name).stem}]({name})" for name in pictures]
        blocks.append("## Classes\n\n```\n" + "\n".join(_columns(self._shown_rows())) + "\n```")
        if self.gains:
            blocks.append("## Level\n\n```\n" + "\n".join(self._gain_table()) + "\n```")
        if self.data_text:
            blocks.append(f"## Data\n\n```\n{self.data_text}\n```")
        listing = "\n".join(f"{name}: {value}" for name, value in self.settings.items())
        blocks.append(f"## Settings\n\n```\n{listing}\n```")
        costs = [f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items()]
        if self.peak_memory_gb is not None:
            costs.append(f"peak memory {self.peak_memory_gb:.2f} GB")
        blocks.append("## Cost\n\n" + ", ".join(costs))
        return "\n\n".join(blocks) + "\n"


def _order(row: Mapping[str, Any]) -> float:
    value = row.get("average_precision", row.get("f1"))
    return -1.0 if value is None else float(value)


def _columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = list(rows[0])
    width = max(len(str(row["label"])) for row in rows)
    lines = [f"{'class':<{width}}" + "".join(f"{name.replace('_', ' '):>20}" for name in names[1:])]
    for row in rows:
        cells = [_cell(row[name]) if name in row else "" for name in names[1:]]
        lines.append((f"{row['label']:<{width}}" + "".join(f"{cell:>20}" for cell in cells)).rstrip())
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
