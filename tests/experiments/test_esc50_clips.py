"""The reader of the layout of ESC-50."""

import numpy as np
import pytest
import soundfile

from audioformer.experiments.esc50_clips import read_esc50


@pytest.fixture
def folder(tmp_path):
    """Three clips in the layout of ESC-50, one of them under another licence."""
    (tmp_path / "audio").mkdir()
    (tmp_path / "meta").mkdir()
    rows = ["filename,fold,target,category,esc10,src_file,take"]
    licenses = ["filename,license,author,title,source"]
    for index, (label, terms) in enumerate([("dog", "CC0"), ("rain", "CC-BY"), ("dog", "CC-Sampling+")]):
        name = f"{index + 1}-{index}-A.wav"
        soundfile.write(tmp_path / "audio" / name, np.full(4410 * (index + 1), 0.1), 44100)
        rows.append(f"{name},{index + 1},0,{label},True,{index},A")
        licenses.append(f"{name},{terms},someone,title,https://example.org")
    (tmp_path / "meta" / "esc50.csv").write_text("\n".join(rows))
    (tmp_path / "meta" / "attribution.csv").write_text("\n".join(licenses))
    return tmp_path


def test_every_listed_clip_comes_with_label_fold_and_rate(folder):
    clips = read_esc50(folder)
    assert [(clip.id, clip.label, clip.fold) for clip in clips] == [
        ("1-0-A.wav", "dog", 1),
        ("2-1-A.wav", "rain", 2),
        ("3-2-A.wav", "dog", 3),
    ]
    assert [len(clip.waveform) for clip in clips] == [4410, 8820, 13230]
    assert {clip.sampling_rate for clip in clips} == {44100}


def test_clips_are_resampled_and_chosen_by_licence(folder):
    clips = read_esc50(folder, licenses=["CC0", "CC-BY"], sampling_rate=24000)
    assert [clip.id for clip in clips] == ["1-0-A.wav", "2-1-A.wav"]
    assert [len(clip.waveform) for clip in clips] == [2400, 4800]


def test_what_does_not_fit_is_named(folder, tmp_path_factory):
    with pytest.raises(ValueError, match="GPL"):
        read_esc50(folder, licenses=["GPL"])
    (folder / "audio" / "2-1-A.wav").unlink()
    with pytest.raises(ValueError, match="1 of 3 clips .* 2-1-A.wav"):
        read_esc50(folder)
    (folder / "audio" / "2-1-A.wav").write_text("this is not audio")
    with pytest.raises(ValueError, match="2-1-A.wav"):
        read_esc50(folder)
    with pytest.raises(ValueError, match="not in the layout of ESC-50"):
        read_esc50(tmp_path_factory.mktemp("empty"))
