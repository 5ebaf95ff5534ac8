"""Figures of a result: confusion matrix, average precision by class, and the curves of the training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOR = "#4063d8"
MAX_CLASSES = 30
"""Of more classes only the best and the worst are shown."""


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of a size in inches. matplotlib is imported here, when a figure is drawn.

    Without pyplot, which would choose a backend for the whole process.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_confusion_matrix(
    scores: np.ndarray, targets: np.ndarray, labels: Sequence[str], title: str, path: str | Path
) -> None:
    """Draw which class is mistaken for which. Each row is a true class and sums to 1.

    Args:
        scores (`np.ndarray` of shape `(num_clips, num_labels)`): Scores.
        targets (`np.ndarray` of shape `(num_clips,)`): Classes.
        labels (sequence of `str`): Names of the classes.
        title (`str`): Title of the figure.
        path (`str` or `Path`): PNG file to write.
    """
    size = len(labels)
    counts = np.zeros((size, size))
    np.add.at(counts, (targets, scores.argmax(axis=1)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(4.5, 0.42 * size + 2.5) if size <= MAX_CLASSES else 12
    figure = new_figure(side + 1, side)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if size <= MAX_CLASSES:
        axes.set_xticks(range(size), labels, rotation=45, ha="right")
        axes.set_yticks(range(size), labels)
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{int(counts[row, column])}", ha="center", va="center", color=color, fontsize=8)
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    figure.savefig(path, dpi=120)


def save_average_precisions(table: Sequence[Mapping[str, Any]], title: str, path: str | Path) -> None:
    """Draw the average precision of each class, the best on top; of many classes only the best and the worst.

    Args:
        table (sequence of mappings): Rows with `label`, `clips` and `average_precision`, which may be `None`.
        title (`str`): Title of the figure.
        path (`str` or `Path`): PNG file to write.
    """
    rows = sorted((row for row in table if row["average_precision"] is not None), key=lambda r: r["average_precision"])
    half = MAX_CLASSES // 2
    is_cut = len(rows) > MAX_CLASSES
    shown = rows[:half] + rows[-half:] if is_cut else rows
    figure = new_figure(7, 1.4 + 0.27 * len(shown))
    axes = figure.subplots()
    axes.barh(range(len(shown)), [row["average_precision"] for row in shown], color=COLOR)
    axes.set_yticks(range(len(shown)), [f"{row['label']} ({row['clips']})" for row in shown])
    if is_cut:
        axes.axhline(half - 0.5, color="black", linewidth=0.8, linestyle="--")
        title += f"\nbest and worst {half} of {len(rows)} classes"
    axes.set(xlim=(0, 1), xlabel="average precision", title=title)
    axes.margins(y=0.01)
    figure.savefig(path, dpi=120)


def save_training_curves(log_history: Sequence[Mapping[str, float]], title: str, path: str | Path) -> None:
    """Draw every part of the loss, and the metric of the evaluations, over the epochs.

    Args:
        log_history (sequence of mappings): Records as in `trainer.state.log_history`.
        title (`str`): Title of the figure.
        path (`str` or `Path`): PNG file to write.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    for record in log_history:
        for name, value in record.items():
            if name.endswith("loss") and name != "train_loss" or name in ("eval_mAP", "eval_accuracy"):
                curves.setdefault(name, []).append((record["epoch"], value))
    metrics = [name for name in curves if not name.endswith("loss")]
    losses = [name for name in curves if name.endswith("loss")]
    panels = [("loss", losses), ("metric", metrics)] if metrics else [("loss", losses)]
    figure = new_figure(10 if metrics else 6, 3.8)
    for column, (label, names) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), column)
        for name in names:
            epochs, values = zip(*curves[name], strict=True)
            marker = "." if len(epochs) < 40 else None
            axes.plot(epochs, values, label=name.replace("eval_", "selection "), marker=marker)
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
        if names:
            axes.legend(frameon=False)
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
