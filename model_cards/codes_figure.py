"""The picture on the card of a folder of codes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure


def draw_codes_figure(path: Path, manifest: Mapping[str, Any]) -> None:
    """Draw how evenly the entries of each codebook are used, and how long the clips are.

    Args:
        path (`Path`): File to write, a PNG.
        manifest (`Mapping[str, Any]`): Content of `codes.json`. If it has no `duration_histogram`, which earlier
            versions did not record, only the use of the codebooks is drawn.
    """
    histogram = manifest.get("duration_histogram")
    figure = Figure(figsize=(10 if histogram else 5, 4), layout="constrained")
    axes = figure.subplots(1, 2 if histogram else 1, squeeze=False)[0]
    for codebook, counts in enumerate(manifest["statistics"]["counts"]):
        shares = np.sort(np.asarray(counts, dtype=float))[::-1]
        shares = shares[shares > 0] / max(shares.sum(), 1)
        axes[0].plot(np.arange(1, len(shares) + 1), shares, label=f"C{codebook + 1}")
    axes[0].axhline(1 / manifest["codebook_size"], color="grey", linestyle=":", label="even use")
    axes[0].set(xscale="log", yscale="log", xlabel="entry of the codebook, by rank", ylabel="share of the codes")
    axes[0].legend()
    if histogram:
        axes[1].stairs(histogram["num_clips"], histogram["edges_s"], fill=True, color="tab:orange")
        axes[1].set(xlabel="duration in seconds", ylabel="clips", yscale="log")
    figure.savefig(path, dpi=110)
