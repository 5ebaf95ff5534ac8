"""The card of a folder of codes: counts, codec, statistics and a picture, as the Hub shows them."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import DatasetCard, DatasetCardData
from matplotlib.figure import Figure

from audioformer.data.codes.code_statistics import CodeStatistics
from audioformer.data.report import DataReport
from audioformer.files import CARD, CODES_PATTERN, HISTOGRAM_PICTURE

from . import CODES_DATASET_CARD

SHOWN_CLASSES = 50


def write_card(
    folder: Path,
    manifest: dict[str, Any],
    report: DataReport,
    statistics: CodeStatistics,
    durations_s: Sequence[float],
) -> None:
    """Write `README.md` and `histogram.png` into a folder of codes.

    Args:
        folder (`Path`): The folder, with all its files of codes.
        manifest (`dict`): Content of `codes.json`.
        report (`DataReport`): What was found.
        statistics (`CodeStatistics`): How the codes are used.
        durations_s (sequence of `float`): Duration of each clip.
    """
    draw_histogram(folder / HISTOGRAM_PICTURE, statistics, durations_s)
    size = sum(file.stat().st_size for file in folder.glob(CODES_PATTERN))
    encoded_s = statistics.num_frames / manifest["frame_rate"]
    card = DatasetCard.from_template(
        DatasetCardData(
            license="other",
            task_categories=["audio-classification"],
            tags=["audio", "codec-tokens", "audioformer"],
            pretty_name=f"Codes of {manifest['source']}",
            size_categories=_size_category(report.found),
            configs=[{"config_name": "default", "data_files": CODES_PATTERN}],
        ),
        template_path=str(CODES_DATASET_CARD),
        name=manifest["source"],
        found=f"{report.found:,}",
        listed=f"{report.listed:,}",
        left_out=_left_out(report),
        hours=f"{report.hours:,.2f}",
        codec=_codec(manifest),
        fingerprint=manifest["codec_fingerprint"],
        num_codebooks=manifest["num_codebooks"],
        codebook_size=f"{manifest['codebook_size']:,}",
        frame_rate=f"{manifest['frame_rate']:g}",
        size=_bytes(size),
        size_of_ten_s=_bytes(10 * size / encoded_s) if encoded_s else "-",
        long_files=_long_files(manifest["settings"]),
        statistics=_statistics_rows(statistics),
        classes=_classes(report),
    )
    card.save(folder / CARD)


def draw_histogram(path: Path, statistics: CodeStatistics, durations_s: Sequence[float]) -> None:
    """Draw how evenly the entries of each row are used, and how long the clips are."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    usage, durations = figure.subplots(1, 2)
    for row, counts in enumerate(statistics.counts):
        shares = np.sort(np.asarray(counts, dtype=float))[::-1]
        shares = shares[shares > 0] / max(shares.sum(), 1)
        usage.plot(np.arange(1, len(shares) + 1), shares, label=f"C{row + 1}")
    usage.axhline(1 / statistics.codebook_size, color="grey", linestyle=":", label="even use")
    usage.set(xscale="log", yscale="log", xlabel="entry of the codebook, commonest first", ylabel="share of the codes")
    usage.legend()
    durations.hist(durations_s, bins=50, color="tab:orange")
    durations.set(xlabel="duration (s)", ylabel="clips", yscale="log" if len(durations_s) else "linear")
    figure.savefig(path, dpi=110)


def _statistics_rows(statistics: CodeStatistics) -> str:
    rows = zip(statistics.entries_used, statistics.entropy_bits, statistics.perplexity, strict=True)
    return "\n".join(
        f"| C{row + 1} | {used:,} of {statistics.codebook_size:,} | "
        f"{bits:.2f} of {math.log2(statistics.codebook_size):.2f} | {perplexity:,.1f} entries |"
        for row, (used, bits, perplexity) in enumerate(rows)
    )


def _left_out(report: DataReport) -> str:
    counts = {"not there": report.missing, **report.rejected_counts}
    told = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count)
    return f" ({told})" if told else ""


def _codec(manifest: dict[str, Any]) -> str:
    if manifest["codec"] is None:
        return "a local one, known by its SHA-256"
    revision = manifest["codec_revision"]
    return f"`{manifest['codec']}`" + (f", revision `{revision}`" if revision else "")


def _long_files(settings: dict[str, Any]) -> str:
    seconds = f"{settings['max_length_s']:g} s"
    if settings["long_files"] == "windows":
        return f"cut into windows of {seconds}"
    return f"their first {seconds}"


def _classes(report: DataReport) -> str:
    ranked = sorted(report.clips_per_label.items(), key=lambda entry: -entry[1])
    if not ranked:
        return ""
    shown = ", ".join(f"{label} ({count:,})" for label, count in ranked[:SHOWN_CLASSES])
    more = f", and {len(ranked) - SHOWN_CLASSES} more" if len(ranked) > SHOWN_CLASSES else ""
    return f"\n## Classes\n\n{len(ranked)}, with their clips: {shown}{more}."


def _bytes(size: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} GB"


def _size_category(num_clips: int) -> str:
    limits = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
    return next((name for limit, name in limits.items() if num_clips < limit), "1M<n<10M")
