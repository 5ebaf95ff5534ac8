"""Figure of spectrograms and what a masked autoencoder makes of them. matplotlib is imported when it is drawn."""

from collections.abc import Sequence
from os import PathLike

import numpy as np

TITLES = ("spectrogram", "what the encoder sees", "prediction where it does not")


def save_reconstruction_figure(
    path: str | PathLike[str], rows: Sequence[Sequence[np.ndarray]], frame_rate: float
) -> None:
    """Draw clips below each other, each with its spectrogram, the part that was seen, and the prediction.

    Args:
        path (`str` or `PathLike`): Image file to write. The suffix determines the format.
        rows (sequence): For each clip three arrays of shape `(num_mel_bins, num_frames)` in dB, of which the second is
            NaN where the clip was masked.
        frame_rate (`float`): Frames per second.
    """
    from matplotlib.figure import Figure

    # Without pyplot, which would choose a backend for the whole process.
    figure = Figure(figsize=(12, 0.6 + 2 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(TITLES), squeeze=False, sharey=True)
    for line, spectrograms in zip(axes, rows, strict=True):
        # One scale per clip, that of the spectrogram itself.
        low, high = spectrograms[0].min(), spectrograms[0].max()
        for axis, values in zip(line, spectrograms, strict=True):
            extent = (0, values.shape[1] / frame_rate, 0, len(values))
            axis.set_facecolor("lightgray")
            axis.imshow(values, aspect="auto", origin="lower", cmap="magma", extent=extent, vmin=low, vmax=high)
    for axis, title in zip(axes[0], TITLES, strict=True):
        axis.set_title(title)
    for axis in axes[-1]:
        axis.set_xlabel("time (s)")
    for line in axes:
        line[0].set_ylabel("mel bin")
    figure.savefig(path, dpi=120)
