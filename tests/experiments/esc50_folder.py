"""A small data set in the layout of ESC-50, with licences."""

from pathlib import Path

import numpy as np
import soundfile

LABELS = ("hum", "hiss", "clicks")
RATE = 16_000


def write_esc50(
    folder: Path,
    num_folds: int,
    clips_per_class_and_fold: int,
    duration_s: float = 0.5,
    *,
    is_one_missing: bool = False,
) -> Path:
    """Write clips of three classes that are easy to tell apart. Two takes in a row are of one recording.

    All clips are under CC0 or CC-BY.

    Args:
        folder (`Path`): Folder to write `audio/` and `meta/` to.
        num_folds (`int`): Number of folds, from 1.
        clips_per_class_and_fold (`int`): Number of clips of each class in each fold.
        duration_s (`float`, defaults to 0.5): Length of the clips in seconds.
        is_one_missing (`bool`, defaults to `False`): Whether an additional clip under CC-Sampling+ is listed that has
            no file.
    """
    (folder / "audio").mkdir(parents=True)
    (folder / "meta").mkdir()
    rows, licenses = [], []
    for fold in range(1, num_folds + 1):
        for target, label in enumerate(LABELS):
            for take in range(clips_per_class_and_fold):
                recording = f"{fold}{target}{take // 2}"
                name = f"{fold}-{recording}-{'AB'[take % 2]}-{target}.wav"
                rng = np.random.default_rng([fold, target, take])
                soundfile.write(folder / "audio" / name, _sound(label, rng, int(duration_s * RATE)), RATE)
                rows.append(f"{name},{fold},{target},{label},True,{recording},{'AB'[take % 2]}")
                licenses.append(f"{name},{('CC0', 'CC-BY')[take % 2]},somebody,a {label},https://example.org/{name}")
    if is_one_missing:
        rows.append(f"1-999-A-0.wav,1,0,{LABELS[0]},True,999,A")
        licenses.append("1-999-A-0.wav,CC-Sampling+,somebody,a sample,https://example.org/999")
    tables = {
        "esc50.csv": ["filename,fold,target,category,esc10,src_file,take", *rows],
        "attribution.csv": ["filename,license,author,title,source", *licenses],
    }
    for name, lines in tables.items():
        (folder / "meta" / name).write_text("\n".join(lines) + "\n")
    return folder


def _sound(label: str, rng: np.random.Generator, num_samples: int) -> np.ndarray:
    if label == "hum":
        return 0.3 * np.sin(2 * np.pi * rng.uniform(150, 400) * np.arange(num_samples) / RATE)
    if label == "hiss":
        return 0.1 * rng.standard_normal(num_samples)
    waveform = np.zeros(num_samples)
    waveform[rng.integers(1000) :: rng.integers(1500, 2500)] = 0.9
    return waveform
