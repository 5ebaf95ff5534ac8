"""Two-label mixtures."""

import csv

import numpy as np
import pytest
import soundfile

from audioformer.data.readers import read_listing
from audioformer.experiments.mixtures import make_mixtures, mix


def make_clips(folder):
    rows = []
    for index in range(12):
        path = folder / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(index).standard_normal(800 + 40 * index), 8000)
        rows.append({"path": path.name, "label": "abc"[index % 3], "fold": 1 + index // 6})
    with (folder / "list.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "label", "fold"])
        writer.writeheader()
        writer.writerows(rows)
    return folder / "list.csv"


def test_mixtures_have_two_classes_of_one_fold_and_are_the_same_again(tmp_path):
    source = make_clips(tmp_path / "clips")
    manifest = make_mixtures(source, tmp_path / "mixed", 10, seed=3)
    listing = read_listing(manifest)
    assert len(listing.clips) == 10 and listing.multi_label and listing.labels == ["a", "b", "c"]
    assert all(len(set(clip.labels)) == 2 for clip in listing.clips)
    assert {clip.fold for clip in listing.clips} == {1, 2}
    files = {path.name: path.read_bytes() for path in (tmp_path / "mixed").glob("*.flac")}
    (tmp_path / "mixed" / "mixture-00004.flac").unlink()
    make_mixtures(source, tmp_path / "mixed", 10, seed=3)
    assert {path.name: path.read_bytes() for path in (tmp_path / "mixed").glob("*.flac")} == files


def test_the_sum_is_of_both_clips_at_the_gain_that_was_drawn():
    time = np.arange(24000) / 24000
    low, high = np.sin(2 * np.pi * 200 * time), 0.01 * np.sin(2 * np.pi * 3000 * time[:12000])
    for seed in range(10):
        mixture = mix(low, high, np.random.default_rng(seed))
        assert len(mixture) == 24000 and np.abs(mixture).max() == pytest.approx(0.9)
        spectrum = np.abs(np.fft.rfft(mixture)) ** 2
        # Half as long at equal RMS: half the energy, before the gain of at most 6 dB.
        gain_db = 10 * np.log10(2 * spectrum[2900:3100].sum() / spectrum[190:210].sum())
        assert -6.3 < gain_db < 6.3


def test_one_class_cannot_be_mixed(tmp_path):
    source = make_clips(tmp_path)
    source.write_text(source.read_text().replace(",b,", ",a,").replace(",c,", ",a,"))
    with pytest.raises(ValueError, match="one class only"):
        make_mixtures(source, tmp_path / "mixed", 4)
