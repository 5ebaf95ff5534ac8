"""Picture of one classified clip. matplotlib is imported only when it is drawn."""

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
    """Draw the waveform, codes and scores of one clip, one above the other, and write the picture to `path`.

    Args:
        path (`str` or `PathLike`): Image file to write; the suffix gives the format.
        waveform (`np.ndarray` of shape `(num_samples,)`): Mono samples.
        sampling_rate (`int`): Sampling rate of `waveform` in Hz.
        codes (`np.ndarray` of shape `(num_codebooks, num_frames)`): Codes, labelled C1 to CN as in the paper.
        scores (`dict[str, float]`): Score of each label.
        title (`str`): Title of the picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    duration_s = len(waveform) / sampling_rate
    figure, (top, middle, bottom) = plt.subplots(
        3, 1, figsize=(9, 8), height_ratios=[1.2, 1.2, 1.6], constrained_layout=True
    )
    figure.suptitle(title)
    top.plot(np.arange(len(waveform)) / sampling_rate, waveform, linewidth=0.5, color="tab:blue")
    top.set(xlim=(0, duration_s), ylabel="waveform")
    num_codebooks = len(codes)
    image = middle.imshow(
        codes, aspect="auto", interpolation="nearest", cmap="viridis", extent=(0, duration_s, num_codebooks + 0.5, 0.5)
    )
    middle.set(xlim=(0, duration_s), xlabel="time (s)", ylabel="codes", yticks=range(1, num_codebooks + 1))
    middle.set_yticklabels([f"C{number}" for number in range(1, num_codebooks + 1)])
    figure.colorbar(image, ax=middle, label="code", pad=0.01)
    ranked = sorted(scores.items(), key=lambda item: item[1])
    bars = bottom.barh([label for label, _ in ranked], [score for _, score in ranked], color="tab:orange")
    bottom.bar_label(bars, fmt="%.3f", padding=3)
    bottom.set(xlim=(0, 1.1), xlabel="score")
    figure.savefig(path, dpi=120)
    plt.close(figure)
