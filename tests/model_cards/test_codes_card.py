"""The card of a folder of codes: written from `codes.json` alone, once, whole, and again where it is missing."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from huggingface_hub import DatasetCard

from audioformer.cli import main
from audioformer.model_cards.codes_card import read_codes_manifest, render_codes_card, write_codes_card


@pytest.fixture(scope="module")
def encoded(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("encoded")
    for index in range(6):
        path = root / "sounds" / ("tone", "noise")[index % 2] / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = 0.1 * np.random.default_rng(index).standard_normal(4000 * (index + 1))
        soundfile.write(path, samples, 16000)
    assert main(["encode", str(root / "sounds"), "--output", str(root / "codes")]) == 0
    return root / "codes"


def copy_of(folder: Path, manifest: dict, parts: bool = False) -> Path:
    """A folder with nothing but a manifest, and the codes if asked for."""
    folder.mkdir()
    (folder / "codes.json").write_text(json.dumps(manifest))
    if parts:
        (folder / "codes-00000-0000.parquet").write_bytes(b"x" * 3210)
    return folder


def test_the_card_needs_the_manifest_alone(encoded, tmp_path):
    folder = copy_of(tmp_path / "codes", json.loads((encoded / "codes.json").read_text()))
    write_codes_card(folder)
    for name in ("README.md", "histogram.png"):
        assert (folder / name).read_bytes() == (encoded / name).read_bytes(), name
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "codes.json", "histogram.png"]


def test_the_manifest_records_durations_and_size(encoded):
    manifest = json.loads((encoded / "codes.json").read_text())
    histogram = manifest["duration_histogram"]
    assert sum(histogram["num_clips"]) == 6 and len(histogram["edges_s"]) == len(histogram["num_clips"]) + 1
    assert (histogram["edges_s"][0], histogram["edges_s"][-1]) == (0.25, 1.5)
    assert manifest["num_bytes"] == sum(path.stat().st_size for path in encoded.glob("codes-*.parquet"))


def test_folders_of_earlier_versions_get_a_card(encoded, tmp_path):
    manifest = json.loads((encoded / "codes.json").read_text())
    del manifest["duration_histogram"], manifest["num_bytes"]
    folder = copy_of(tmp_path / "codes", manifest, parts=True)
    write_codes_card(folder)
    text = (folder / "README.md").read_text()
    assert "| size | 3.21 kB" in text and "durations of the clips" not in text and "![use of the codes]" in text
    assert (folder / "histogram.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("missing", [["README.md"], ["histogram.png"], ["README.md", "histogram.png"]])
def test_the_command_restores_what_a_killed_run_did_not_write(encoded, missing):
    before = {path.name: path.read_bytes() for path in encoded.iterdir() if path.is_file()}
    for name in missing:
        (encoded / name).unlink()
    assert main(["encode", str(encoded.parent / "sounds"), "--output", str(encoded)]) == 0
    assert {path.name: path.read_bytes() for path in encoded.iterdir() if path.is_file()} == before


def test_a_card_that_somebody_edited_stays(encoded, tmp_path):
    folder = copy_of(tmp_path / "codes", json.loads((encoded / "codes.json").read_text()))
    (folder / "README.md").write_text("# Mine\n")
    write_codes_card(folder)
    assert (folder / "README.md").read_text() == "# Mine\n" and (folder / "histogram.png").is_file()


def test_many_writers_at_once_leave_one_whole_card(encoded, tmp_path):
    folder = copy_of(tmp_path / "codes", json.loads((encoded / "codes.json").read_text()))
    # Matplotlib is imported before the threads start: concurrent first imports of it are not what is tested.
    write_codes_card(copy_of(tmp_path / "first", json.loads((encoded / "codes.json").read_text())))
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write_codes_card, [folder] * 8))
    assert (folder / "README.md").read_bytes() == (encoded / "README.md").read_bytes()


def test_the_licence_is_stated_or_asked_for(encoded):
    manifest = read_codes_manifest(encoded)
    without, stated = render_codes_card(manifest), render_codes_card(manifest, license="cc-by-4.0")
    assert without.data["license"] == "other" and "not stated yet" in without.text
    assert stated.data["license"] == "cc-by-4.0" and "Licence: cc-by-4.0." in stated.text
    assert "not stated yet" not in stated.text
    assert str(DatasetCard(str(stated))) == str(stated)


def test_what_is_no_manifest_is_refused(tmp_path):
    with pytest.raises(ValueError, match="has no codes.json"):
        write_codes_card(tmp_path)
    (tmp_path / "codes.json").write_text('{"source": "x", "settings": {}}')
    with pytest.raises(ValueError, match="frame_rate, report, statistics missing"):
        write_codes_card(tmp_path)
