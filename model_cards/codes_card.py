"""The card of a folder of codes, rendered from its `codes.json` alone."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData

from audioformer.files import CARD, CODES_MANIFEST, CODES_PATTERN, HISTOGRAM_PICTURE, REJECTED, write_whole

from .facts import describe_level
from .templating import fill_template

TEMPLATE = "codes_card.md"
MAX_CLASSES = 50
UNKNOWN_LICENSE = "other"
"""Licence in the metadata until one is stated: the Hub requires an identifier that it knows."""


def write_codes_card(folder: str | Path) -> None:
    """Write `README.md` and `histogram.png` into a complete folder of codes, unless they exist.

    Any process may call this, several at the same time included: each file is written under a name of its own and
    renamed. A card that exists is never touched, whoever wrote it.

    Args:
        folder (`str` or `Path`): A folder with `codes.json`.

    Raises:
        ValueError: If `codes.json` is missing or is not the manifest of a folder of codes.
    """
    folder = Path(folder)
    card, picture = folder / CARD, folder / HISTOGRAM_PICTURE
    if card.is_file() and picture.is_file():
        return
    manifest = read_codes_manifest(folder)
    if not picture.is_file():
        # Imported here because only drawing needs matplotlib.
        from .codes_figure import draw_codes_figure

        write_whole(picture, lambda path: draw_codes_figure(path, manifest))
    if not card.is_file():
        write_whole(card, render_codes_card(manifest).save)


def read_codes_manifest(folder: Path) -> dict[str, Any]:
    """Read `codes.json`, and add what folders written by earlier versions do not record.

    Raises:
        ValueError: If the file is missing or is not the manifest of a folder of codes.
    """
    file = folder / CODES_MANIFEST
    if not file.is_file():
        raise ValueError(f"{folder} has no {CODES_MANIFEST}, so it is not a complete folder of codes.")
    manifest = json.loads(file.read_text(encoding="utf-8"))
    missing = {"source", "settings", "report", "statistics", "frame_rate"} - set(manifest)
    if missing:
        raise ValueError(f"{file} is not the manifest of a folder of codes: {', '.join(sorted(missing))} missing.")
    if "num_bytes" not in manifest:
        manifest["num_bytes"] = sum(part.stat().st_size for part in folder.glob(CODES_PATTERN))
    return manifest


def render_codes_card(manifest: Mapping[str, Any], *, license: str | None = None) -> DatasetCard:
    """Render the card of a folder of codes.

    Args:
        manifest (`Mapping[str, Any]`): From [`read_codes_manifest`].
        license (`str`, *optional*): Licence of the codes, an identifier of the Hub such as `"cc-by-4.0"`.

    Returns:
        `huggingface_hub.DatasetCard`: The card. The same arguments always give the same text.
    """
    report, statistics, settings = manifest["report"], manifest["statistics"], manifest["settings"]
    encoded_s = sum(statistics["counts"][0]) / manifest["frame_rate"]
    left_out = {"missing": report["missing"], **report["rejected_counts"]}
    card_data = DatasetCardData(
        license=license or UNKNOWN_LICENSE,
        task_categories=["audio-classification"],
        tags=["audio", "codec-tokens", "audioformer"],
        pretty_name=f"Codes of {manifest['source']}",
        size_categories=_size_category(report["found"]),
        configs=[{"config_name": "default", "data_files": CODES_PATTERN}],
    )
    text = fill_template(
        TEMPLATE,
        card_data,
        name=manifest["source"],
        license=license,
        report=report,
        left_out={kind: number for kind, number in left_out.items() if number},
        codec=_codec(manifest),
        codec_fingerprint=manifest["codec_fingerprint"],
        level=describe_level(manifest),
        num_codebooks=manifest["num_codebooks"],
        codebook_size=manifest["codebook_size"],
        frame_rate=manifest["frame_rate"],
        size=_size(manifest["num_bytes"]),
        size_of_ten_s=_size(10 * manifest["num_bytes"] / encoded_s) if encoded_s else "-",
        long_files=_long_files(settings),
        codebooks=[
            {"entries_used": used, "entropy_bits": bits, "perplexity": 2**bits}
            for used, bits in zip(statistics["entries_used"], statistics["entropy_bits"], strict=True)
        ],
        max_entropy_bits=math.log2(manifest["codebook_size"]),
        classes=sorted(report["clips_per_label"].items(), key=lambda entry: -entry[1]),
        max_classes=MAX_CLASSES,
        has_durations="duration_histogram" in manifest,
        picture=HISTOGRAM_PICTURE,
        pattern=CODES_PATTERN,
        manifest_name=CODES_MANIFEST,
        rejected_name=REJECTED,
    )
    return DatasetCard(text)


def _codec(manifest: Mapping[str, Any]) -> str:
    if manifest["codec"] is None:
        return "a local one, identified by its SHA-256"
    revision = manifest["codec_revision"]
    return f"`{manifest['codec']}`" + (f", revision `{revision}`" if revision else "")


def _long_files(settings: Mapping[str, Any]) -> str:
    seconds = f"{settings['max_length_s']:g} s"
    if settings["long_files"] != "windows":
        return f"only the first {seconds}"
    hop_s = settings.get("hop_s", settings["max_length_s"])
    return f"cut into windows of {seconds}" + (f", one every {hop_s:g} s" if hop_s != settings["max_length_s"] else "")


def _size(num_bytes: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if num_bytes < 1000:
            return f"{num_bytes:.3g} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:.3g} GB"


def _size_category(num_clips: int) -> str:
    limits = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}
    return next((name for limit, name in limits.items() if num_clips < limit), "1M<n<10M")
