"""The page's pictures of a sound: its waveform, its spectrogram, what the model receives, and labels over time."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure  # not pyplot, which keeps every figure and is not for threads
from transformers.audio_utils import hertz_to_mel, mel_filter_bank, power_to_db, spectrogram, window_function

from audioformer.evaluation import scores_over_time
from audioformer.training.families import ClipView

from ..classify import WindowScores
from .sound_classifier import HeardWindow

WIDTH, HEIGHT = 9.0, 2.4
"""Size of a picture in inches."""

MAX_COLUMNS = 2000
"""Points of a drawn waveform or spectrogram; more cannot be told apart."""

NUM_MEL_BANDS = 64
"""Rows of a spectrogram."""


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


def mel_spectrogram(waveform: np.ndarray, sampling_rate: int) -> np.ndarray:
    """Compute the levels of a sound in bands that are evenly spaced on the mel scale, from 0 Hz to half the rate.

    Args:
        waveform (`np.ndarray` of shape `(num_samples,)`): Mono samples, at least one.
        sampling_rate (`int`): Their rate in Hz.

    Returns:
        `np.ndarray` of shape `(64, num_frames)`: Decibels relative to the loudest value, 80 below it at the least.
    """
    hop_length = max(sampling_rate // 100, len(waveform) // MAX_COLUMNS, 1)
    # A power of two, and at least two hops: no sample is left out.
    frame_length = 2 ** int(np.ceil(np.log2(max(sampling_rate / 25, 2 * hop_length, 2 * NUM_MEL_BANDS))))
    filters = mel_filter_bank(frame_length // 2 + 1, NUM_MEL_BANDS, 0.0, sampling_rate / 2, sampling_rate)
    power = spectrogram(
        waveform,
        window_function(frame_length, "hann"),
        frame_length,
        hop_length,
        power=2.0,
        pad_mode="constant",
        mel_filters=filters,
    )
    return power_to_db(power, reference=max(float(power.max()), 1e-10), db_range=80.0)


def draw_window(window: HeardWindow) -> Figure:
    """Draw the mel spectrogram of a window, and below it what a model receives of it, one row of pixels per channel.

    Args:
        window (`HeardWindow`): The window.
    """
    num_rows = 1 if window.view is None else 2
    figure = Figure(figsize=(WIDTH, HEIGHT * num_rows), dpi=100, layout="constrained")
    above, *below = figure.subplots(num_rows, sharex=True, squeeze=False)[:, 0]
    times = f"{window.start_s:.2f} to {window.end_s:.2f} s"
    levels = mel_spectrogram(window.waveform, window.sampling_rate)
    extent = (window.start_s, window.end_s)
    above.set_title(f"Mel spectrogram; {times}", loc="left", fontsize="medium")
    image = above.imshow(levels, aspect="auto", origin="lower", cmap="magma", extent=(*extent, 0, NUM_MEL_BANDS))
    shown = [hz for hz in (250, 1000, 2000, 4000, 8000, 16000) if hz <= window.sampling_rate / 2]
    # The triangles of the bands lie between `NUM_MEL_BANDS + 2` edges; the lowest band is centred at the second one.
    positions = [hertz_to_mel(hz) / hertz_to_mel(window.sampling_rate / 2) * (NUM_MEL_BANDS + 1) for hz in shown]
    above.set_yticks(np.array(positions) - 0.5, [f"{hz:,} Hz" for hz in shown])
    figure.colorbar(image, ax=above, label="dB", pad=0.01)
    if window.view is not None:
        _draw_view(figure, below[0], window.view, f"{window.view.title}; {times}", extent)
    figure.axes[num_rows - 1].set(xlim=extent, xlabel="time (s)")
    return figure


def _draw_view(figure: Figure, axes: Axes, view: ClipView, title: str, extent: tuple[float, float]) -> None:
    num_channels = len(view.values)
    values = view.values if view.channel_names is not None else view.values[::-1]
    axes.set_title(title, loc="left", fontsize="medium")
    image = axes.imshow(
        values,
        aspect="auto",
        interpolation="nearest",
        cmap="viridis",
        extent=(*extent, num_channels + 0.5, 0.5),
    )
    if view.channel_names is None:
        axes.set_yticks([])
    else:
        axes.set_yticks(range(1, num_channels + 1), view.channel_names)
    figure.colorbar(image, ax=axes, pad=0.01)


def draw_labels_over_time(windows: list[WindowScores], labels: list[str]) -> Figure:
    """Draw the scores of some labels over time as an image; where windows overlap, their mean.

    Args:
        windows (`list[WindowScores]`): Scores of each window, in order of time.
        labels (`list[str]`): Labels to show, from top to bottom.
    """
    edges, scores = scores_over_time(
        np.array([window.start_s for window in windows]),
        np.array([window.end_s for window in windows]),
        np.array([[window.scores[label] for label in labels] for window in windows]),
    )
    figure, axes = _axes("Labels over time", height=1.2 + 0.32 * len(labels))
    image = axes.pcolormesh(edges, np.arange(len(labels) + 1), scores.T, cmap="magma", vmin=0, vmax=1)
    axes.set(xlabel="time (s)", yticks=np.arange(len(labels)) + 0.5, yticklabels=labels)
    axes.invert_yaxis()
    figure.colorbar(image, ax=axes, label="score", pad=0.01)
    return figure
