"""Folders of audio: what is read, resampled, chosen and refused."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from audioformer.data.audio.folder import copy_attribution, find_audio, load_audio_files, names_with_license


def tone(rate: int, duration_s: float = 0.5) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(rate * duration_s)) / rate)


def test_other_rates_and_channels_become_mono_at_the_rate_asked_for(tmp_path: Path) -> None:
    stereo = np.stack([tone(44100), np.zeros(22050)], axis=1)
    soundfile.write(tmp_path / "a.flac", stereo, 44100)
    (audio,) = load_audio_files([tmp_path / "a.flac"], 24000)
    assert audio.dtype == np.float32
    assert audio.shape == (12000,)
    middle = slice(2000, 10000)
    np.testing.assert_allclose(audio[middle], 0.5 * tone(24000)[middle], atol=2e-3)


def test_files_are_found_in_subfolders_in_a_fixed_order(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    for name in ("c.wav", "b/a.OGG", "a.flac", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in find_audio(tmp_path)] == ["a.flac", "a.OGG", "c.wav"]
    assert [path.name for path in find_audio(tmp_path, exclude=["c.wav"])] == ["a.flac", "a.OGG"]
    assert [path.name for path in find_audio(tmp_path, allowed={"c.wav", "other.wav"})] == ["c.wav"]


def test_nothing_to_use_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No audio"):
        find_audio(tmp_path)
    with pytest.raises(ValueError, match="not a folder"):
        find_audio(tmp_path / "absent")
    (tmp_path / "a.wav").touch()
    with pytest.raises(ValueError, match="1 files"):
        find_audio(tmp_path, allowed=set())
    with pytest.raises(ValueError, match=r"b\.wav"):
        find_audio(tmp_path, exclude=["b.wav"])


def test_licences_choose_files(tmp_path: Path) -> None:
    table = tmp_path / "attribution.csv"
    table.write_text('filename,license,author\na.wav,CC0,x\nb.wav,CC-BY,"y, z"\nc.wav,CC-BY-NC,w\n')
    assert names_with_license(table, ["CC0", "CC-BY"]) == {"a.wav", "b.wav"}
    with pytest.raises(ValueError, match=r"\['CC-0'\].*CC-BY-NC"):
        names_with_license(table, ["CC-0"])
    copy_attribution(table, [tmp_path / "more" / "b.wav"], tmp_path / "used.csv")
    assert (tmp_path / "used.csv").read_text() == 'filename,license,author\nb.wav,CC-BY,"y, z"\n'
    table.write_text("name,license\na.wav,CC0\n")
    with pytest.raises(ValueError, match="`filename`"):
        names_with_license(table, ["CC0"])


def test_all_bad_files_are_counted_and_the_first_ten_named(tmp_path: Path) -> None:
    for index in range(12):
        (tmp_path / f"{index:02}.wav").write_bytes(b"RIFF")
    soundfile.write(tmp_path / "good.wav", tone(24000), 24000)
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan]), 24000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"(?s)13 of 14 files.*09\.wav") as error:
        load_audio_files(find_audio(tmp_path), 24000)
    assert "10.wav" not in str(error.value)
    with pytest.raises(ValueError, match="NaN"):
        load_audio_files([tmp_path / "nan.wav"], 24000)
