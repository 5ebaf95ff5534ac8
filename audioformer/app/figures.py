"""The page's pictures of a sound: its waveform, what the model receives, and labels over time."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # not pyplot, which keeps every figure and is not for threads

from audioformer.training.families import ClipView

from ..classify import WindowScores

WIDTH, HEIGHT = 9.0, 2.4
"""Size of a picture in inches."""

MAX_COLUMNS = 2000
"""Points of a drawn waveform; more cannot be told apart."""


def _axes(title: str, height: float = HEIGHT) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize="medium")
    return figure, axes


def draw_waveform(waveform: np.ndarray, sampling_rate: int) -> Figure:
    """Draw a waveform as the band between the lowest and the highest sample of each stretch.

    Args:
        waveform (`np.ndarray` of shape `(num_samples,)`): Mono samples, at least one.
        sampling_rate (`int`): Their rate in Hz.
    """
    columns = min(len(waveform), MAX_COLUMNS)
    starts = np.linspace(0, len(waveform), columns, endpoint=False).astype(int)
    figure, axes = _axes("Waveform")
    axes.fill_between(
        starts / sampling_rate,
        np.minimum.reduceat(waveform, starts),
        np.maximum.reduceat(waveform, starts),
        linewidth=0.7,
        color="tab:blue",
    )
    axes.set(xlim=(0, len(waveform) / sampling_rate), xlabel="time (s)")
    return figure


def draw_view(view: ClipView, duration_s: float) -> Figure:
    """Draw what a model receives of a clip as an image, one row of pixels per channel.

    Args:
        view (`ClipView`): The values.
        duration_s (`float`): Duration of the clip in seconds.
    """
    num_channels = len(view.values)
    figure, axes = _axes(f"{view.title}; 0 to {duration_s:.2f} s")
    extent = (0, duration_s, num_channels + 0.5, 0.5)
    values = view.values if view.channel_names is not None else view.values[::-1]
    image = axes.imshow(values, aspect="auto", interpolation="nearest", cmap="viridis", extent=extent)
    axes.set(xlabel="time (s)")
    if view.channel_names is None:
        axes.set_yticks([])
    else:
        axes.set_yticks(range(1, num_channels + 1), view.channel_names)
    figure.colorbar(image, ax=axes, pad=0.01)
    return figure


def draw_labels_over_time(windows: list[WindowScores], labels: list[str]) -> Figure:
    """Draw the scores of some labels in each window as an image.

    Args:
        windows (`list[WindowScores]`): Scores of each window, in order of time.
        labels (`list[str]`): Labels to show, from top to bottom.
    """
    edges = [window.start_s for window in windows] + [windows[-1].end_s]
    scores = np.array([[window.scores[label] for window in windows] for label in labels])
    figure, axes = _axes("Labels over time", height=1.2 + 0.32 * len(labels))
    image = axes.pcolormesh(edges, np.arange(len(labels) + 1), scores, cmap="magma", vmin=0, vmax=1)
    axes.set(xlabel="time (s)", yticks=np.arange(len(labels)) + 0.5, yticklabels=labels)
    axes.invert_yaxis()
    figure.colorbar(image, ax=axes, label="score", pad=0.01)
    return figure
