"""Pictures of a result: confusion matrix, average precision per class, and training curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

COLOR = "#4063d8"
MANY = 30
"""If there are more classes than this, only the best and the worst are shown."""


def _pyplot() -> Any:
    """Import matplotlib, only when a picture is drawn and without a display."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    return pyplot


def save_confusion_matrix(
    scores: np.ndarray, targets: np.ndarray, labels: Sequence[str], title: str, path: str | Path
) -> None:
    """Draw the confusion matrix; rows are the true classes and sum to 1.

    Args:
        scores (`np.ndarray` of shape `(num_clips, num_labels)`): Scores.
        targets (`np.ndarray` of shape `(num_clips,)`): Classes.
        labels (sequence of `str`): Their names.
        title (`str`): Above the picture.
        path (`str` or `Path`): PNG file to write.
    """
    plt = _pyplot()
    size = len(labels)
    counts = np.zeros((size, size))
    np.add.at(counts, (targets, scores.argmax(axis=1)), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(4.5, 0.42 * size + 2.5) if size <= MANY else 12
    figure, axes = plt.subplots(figsize=(side + 1, side), layout="constrained")
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    if size <= MANY:
        axes.set_xticks(range(size), labels, rotation=45, ha="right")
        axes.set_yticks(range(size), labels)
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{int(counts[row, column])}", ha="center", va="center", color=color, fontsize=8)
    axes.set(xlabel="predicted class", ylabel="true class", title=title)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def save_average_precisions(table: Sequence[Mapping[str, Any]], title: str, path: str | Path) -> None:
    """Draw the average precision of each class, best first; if there are many classes, only the best and the worst.

    Args:
        table (sequence of mappings): Rows with `label`, `clips` and `average_precision`, which may be `None`.
        title (`str`): Above the picture.
        path (`str` or `Path`): PNG file to write.
    """
    plt = _pyplot()
    rows = sorted((row for row in table if row["average_precision"] is not None), key=lambda r: r["average_precision"])
    half = MANY // 2
    cut = len(rows) > MANY
    shown = rows[:half] + rows[-half:] if cut else rows
    figure, axes = plt.subplots(figsize=(7, 1.4 + 0.27 * len(shown)), layout="constrained")
    axes.barh(range(len(shown)), [row["average_precision"] for row in shown], color=COLOR)
    axes.set_yticks(range(len(shown)), [f"{row['label']} ({row['clips']})" for row in shown])
    if cut:
        axes.axhline(half - 0.5, color="black", linewidth=0.8, linestyle="--")
        title += f"\nbest and worst {half} of {len(rows)} classes"
    axes.set(xlim=(0, 1), xlabel="average precision", title=title)
    axes.margins(y=0.01)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def save_training_curves(log_history: Sequence[Mapping[str, float]], title: str, path: str | Path) -> None:
    """Draw each loss, and the metric of each evaluation, over the epochs.

    Args:
        log_history (sequence of mappings): As in `trainer.state.log_history`.
        title (`str`): Above the picture.
        path (`str` or `Path`): PNG file to write.
    """
    plt = _pyplot()
    curves: dict[str, list[tuple[float, float]]] = {}
    for record in log_history:
        for name, value in record.items():
            if name.endswith("loss") and name != "train_loss" or name in ("eval_mAP", "eval_accuracy"):
                curves.setdefault(name, []).append((record["epoch"], value))
    metrics = [name for name in curves if not name.endswith("loss")]
    losses = [name for name in curves if name.endswith("loss")]
    figure, panels = plt.subplots(
        1, 2 if metrics else 1, figsize=(10 if metrics else 6, 3.8), layout="constrained", squeeze=False
    )
    for axes, names, label in zip(panels[0], (losses, metrics), ("loss", "metric"), strict=False):
        for name in names:
            epochs, values = zip(*curves[name], strict=True)
            axes.plot(
                epochs, values, label=name.replace("eval_", "selection "), marker="." if len(epochs) < 40 else None
            )
        axes.set(xlabel="epoch", ylabel=label)
        axes.grid(alpha=0.3)
        if names:
            axes.legend(frameon=False)
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    plt.close(figure)
