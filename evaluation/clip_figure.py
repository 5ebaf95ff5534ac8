"""Figure of one classified clip. matplotlib is imported when a figure is drawn."""

from os import PathLike

import numpy as np


def save_classification_figure(
    path: str | PathLike[str],
    waveform: np.ndarray,
    sampling_rate: int,
    codes: np.ndarray,
    scores: dict[str, float],
    title: str,
) -> None:
    """Draw the waveform, the codes and the scores of a clip, one above the other, and write them to an image file.

    Args:
        path (`str` or `PathLike`): Image file to write. The suffix determines the format.
        waveform (`np.ndarray` of shape `(num_samples,)`): Mono samples.
        sampling_rate (`int`): Sampling rate of `waveform` in Hz.
        codes (`np.ndarray` of shape `(num_codebooks, num_frames)`): Codes of the codebooks C1 to CN.
        scores (`dict[str, float]`): Score of each label.
        title (`str`): Title of the figure.
    """
    from matplotlib.figure import Figure

    duration_s = len(waveform) / sampling_rate
    # Without pyplot, which would choose a backend for the whole process.
    figure = Figure(figsize=(9, 8), layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, height_ratios=[1.2, 1.2, 1.6])
    figure.suptitle(title)
    top.plot(np.arange(len(waveform)) / sampling_rate, waveform, linewidth=0.5, color="tab:blue")
    top.set(xlim=(0, duration_s), ylabel="waveform")
    codebooks = range(1, len(codes) + 1)
    extent = (0, duration_s, len(codes) + 0.5, 0.5)
    image = middle.imshow(codes, aspect="auto", interpolation="nearest", cmap="viridis", extent=extent)
    middle.set(xlim=(0, duration_s), xlabel="time (s)", ylabel="codes")
    middle.set_yticks(codebooks, [f"C{codebook}" for codebook in codebooks])
    figure.colorbar(image, ax=middle, label="code", pad=0.01)
    ranked = sorted(scores.items(), key=lambda item: item[1])
    bars = bottom.barh([label for label, _ in ranked], [score for _, score in ranked], color="tab:orange")
    bottom.bar_label(bars, fmt="%.3f", padding=3)
    bottom.set(xlim=(0, 1.1), xlabel="score")
    figure.savefig(path, dpi=120)
