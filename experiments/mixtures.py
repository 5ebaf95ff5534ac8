"""Two-label mixtures of a single-label data set, for trying multi-label training on little data.

    python -m audioformer.experiments.mixtures --data path/to/esc10 --output mixtures --num 600

Both clips of a mixture come from one fold, so that a fold of mixtures holds out what the fold of clips holds out.
"""

import argparse
import csv
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
import soundfile
from tqdm.auto import tqdm

from audioformer.data.audio import load_audio
from audioformer.data.listing import ListedClip
from audioformer.data.progress import hides_bars
from audioformer.data.readers import read_listing
from audioformer.files import write_whole

MANIFEST = "manifest.csv"
MAX_GAIN_DB = 6.0
PEAK = 0.9


def mix(first: np.ndarray, second: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add two clips and scale the sum to a fixed peak.

    The second clip is 6 dB softer to 6 dB louder than the first by RMS. The shorter of the two begins at a random
    position.

    Args:
        first, second (`np.ndarray` of shape `(num_samples,)`): Waveforms of one sampling rate. Lengths may differ.
        rng (`np.random.Generator`): Draws gain and position.

    Returns:
        `np.ndarray` of shape `(num_samples,)`: float32, as long as the longer clip.
    """
    length = max(len(first), len(second))
    gain = 10 ** (rng.uniform(-MAX_GAIN_DB, MAX_GAIN_DB) / 20)
    gain *= np.sqrt(np.mean(first**2) + 1e-12) / np.sqrt(np.mean(second**2) + 1e-12)
    mixture = np.zeros(length)
    for waveform, factor in ((first, 1.0), (second, gain)):
        start = int(rng.integers(length - len(waveform) + 1))
        mixture[start : start + len(waveform)] += factor * waveform
    return (PEAK * mixture / max(np.abs(mixture).max(), 1e-9)).astype(np.float32)


def draw_pairs(clips: list[ListedClip], num: int, seed: int) -> list[tuple[ListedClip, ListedClip]]:
    """Draw `num` pairs of clips. Both clips of a pair are from one fold and have different labels.

    Folds take turns, so that each has as many pairs as any other, give or take one.
    """
    by_fold: dict[int | None, list[ListedClip]] = defaultdict(list)
    for clip in clips:
        by_fold[clip.fold].append(clip)
    rng = np.random.default_rng(seed)
    folds = sorted(by_fold, key=str)
    pairs = []
    for number in range(num):
        fold = by_fold[folds[number % len(folds)]]
        first = fold[rng.integers(len(fold))]
        others = [clip for clip in fold if clip.labels != first.labels]
        pairs.append((first, others[rng.integers(len(others))]))
    return pairs


def make_mixtures(data: str | Path, output: str | Path, num: int, seed: int = 0, sampling_rate: int = 24_000) -> Path:
    """Write mixtures as FLAC files, and a manifest with the columns `path`, `labels`, `fold`.

    Args:
        data (`str` or `Path`): A single-label data set with folds, in any layout that [`read_listing`] detects.
        output (`str` or `Path`): Folder to write. Files that exist are kept.
        num (`int`): Number of mixtures.
        seed (`int`, defaults to 0): Seed of clips, gains and positions.
        sampling_rate (`int`, defaults to 24000): Sampling rate of the mixtures in Hz.

    Returns:
        `Path`: The manifest.

    Raises:
        ValueError: If a fold has clips of one class only.
    """
    listing = read_listing(data)
    clips = list(listing.clips)
    for fold in {clip.fold for clip in clips}:
        if len({clip.labels for clip in clips if clip.fold == fold}) < 2:
            raise ValueError(f"{data}: fold {fold} has clips of one class only, which cannot be mixed.")
    output = Path(output)
    output.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, pair in enumerate(
        tqdm(draw_pairs(clips, num, seed), desc="mixing", unit="clip", disable=hides_bars())
    ):
        name = f"mixture-{number:05d}.flac"
        if not (output / name).is_file():
            first, second = (load_audio(str(clip.audio), sampling_rate)[0] for clip in pair)
            mixture = mix(first, second, np.random.default_rng([seed, number]))
            write_whole(output / name, partial(soundfile.write, data=mixture, samplerate=sampling_rate))
        labels = ";".join(sorted(label for clip in pair for label in clip.labels))
        rows.append({"path": name, "labels": labels, "fold": pair[0].fold})
    manifest = output / MANIFEST
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["path", "labels", "fold"])
        writer.writeheader()
        writer.writerows(rows)
    return manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="single-label data set with folds")
    parser.add_argument("--output", type=Path, required=True, help="folder to write")
    parser.add_argument("--num", type=int, default=600, help="number of mixtures (default: 600)")
    parser.add_argument("--seed", type=int, default=0, help="seed of all draws (default: 0)")
    arguments = parser.parse_args()
    print(make_mixtures(arguments.data, arguments.output, arguments.num, arguments.seed))


if __name__ == "__main__":
    main()
