"""Damage in a folder of codes: readers refuse it, `verify` names it, and `encode` makes the same files again."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audioformer.cli import main
from audioformer.data.codes import EncodingSettings, encode_shards, shards_of_listing
from audioformer.data.codes.encoded import load_codes
from audioformer.data.codes.integrity import FOREIGN, unrecorded_damage
from audioformer.data.codes.parquet_parts import read_part_metadata, write_part
from audioformer.data.codes.verify import verify_codes
from audioformer.data.readers import read_listing
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_CODEC

SETTINGS = EncodingSettings(max_rejected_share=0.5, clips_per_shard=2)
FILES = [*(f"codes-{shard:05d}-0000.parquet" for shard in (0, 1, 3)), "empty-00002-0000.parquet"]
"""Of eight clips in shards of two; no clip of the third can be read."""


@pytest.fixture(scope="module")
def extractor() -> AudioFormerFeatureExtractor:
    return AudioFormerFeatureExtractor(codec=str(TINY_CODEC))


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for index in range(8):
        path = folder / "class" / f"{index}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, 0.1 * np.random.default_rng(index).standard_normal(1000 + 250 * index), 8000)
    for index in (4, 5):
        (folder / "class" / f"{index}.wav").write_text("no audio")
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory, sounds, extractor) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "codes"
    assert encode(sounds, folder, extractor) == 0
    return folder


def encode(sounds: Path, folder: Path, extractor: AudioFormerFeatureExtractor, checksums: bool = True) -> int:
    shards = shards_of_listing(read_listing(sounds), SETTINGS.clips_per_shard)
    return encode_shards(shards, extractor, folder, SETTINGS, progress=False, num_workers=1, checksums=checksums)


@pytest.fixture
def codes(whole, tmp_path) -> Path:
    return shutil.copytree(whole, tmp_path / "codes")


def forget_checksums(folder: Path) -> None:
    """Make a folder one of an earlier version."""
    manifest = json.loads((folder / "codes.json").read_text())
    del manifest["files"]
    (folder / "codes.json").write_text(json.dumps(manifest))


def assert_same(folder: Path, other: Path) -> None:
    for name in (*FILES, "codes.json", "rejected.jsonl", "dataset_info.json"):
        assert (folder / name).read_bytes() == (other / name).read_bytes(), name


def delete(folder: Path, name: str) -> None:
    (folder / name).unlink()


def truncate(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes()[:-100])


def flip(folder: Path, name: str) -> None:
    column = pq.read_metadata(folder / name).row_group(0).column(1)
    assert column.path_in_schema.startswith("codes")
    content = bytearray((folder / name).read_bytes())
    content[(column.dictionary_page_offset or column.data_page_offset) + column.total_compressed_size - 1] ^= 16
    (folder / name).write_bytes(content)


def replace(folder: Path, name: str) -> None:
    shutil.copy(folder / FILES[-2], folder / name)


def replace_by_other_table(folder: Path, name: str) -> None:
    pq.write_table(pq.read_table(folder / name).select(["id", "labels"]), folder / name)


@pytest.mark.parametrize("damage", [delete, truncate, replace, replace_by_other_table])
@pytest.mark.parametrize("checksums", [True, False])
def test_readers_refuse_a_damaged_file_by_name(codes, capsys, damage, checksums):
    if not checksums:
        forget_checksums(codes)
    damage(codes, FILES[1])
    # A folder without checksums tells only that rows are missing, and whether files can be read.
    named = "codes.json counts 6 rows" if not checksums and damage is delete else FILES[1]
    if checksums or damage is not replace:
        with pytest.raises(ValueError, match=f"codes' are damaged: {named}"):
            load_codes(codes)
    if checksums or damage is not replace:
        assert main(["verify", str(codes)]) == 1
        said = capsys.readouterr()
        assert named in said.out and named in said.err and "Traceback" not in said.err


def test_flipped_bytes_are_named_by_verify_and_when_the_codes_are_unpacked(codes, capsys):
    flip(codes, FILES[0])
    assert main(["verify", str(codes)]) == 1
    assert f"{FILES[0]} has other content than it was written with" in capsys.readouterr().out
    with pytest.raises(ValueError, match=f"damaged: {FILES[0]} cannot be read"):
        load_codes(codes)


def test_a_file_that_does_not_belong_is_refused_and_set_aside(codes, whole, sounds, extractor, caplog):
    for name in (
        *("codes-00000-0001.parquet", "codes-00004-0000.parquet", "codes-00009-0000.parquet"),
        "codes-copy.parquet",
    ):
        shutil.copy(codes / FILES[1], codes / name)
        with pytest.raises(ValueError, match=f"{name} does not belong there"):
            load_codes(codes)
        assert encode(sounds, codes, extractor) == 0
        assert f"{name} does not belong to these codes" in caplog.text and (codes / f"{name}.foreign").is_file()
        assert len(load_codes(codes)) == 6
    assert_same(codes, whole)


@pytest.mark.parametrize(
    ("damage", "unfinished"),
    [(delete, False), (flip, False), (flip, True), (truncate, True), (replace, True), (replace_by_other_table, True)],
)
def test_encode_makes_damaged_files_again_and_keeps_the_others(
    codes, whole, sounds, extractor, caplog, damage, unfinished
):
    if unfinished:
        (codes / "codes.json").unlink()
    kept = {name: (codes / name).stat().st_mtime_ns for name in FILES if name != FILES[1]}
    damage(codes, FILES[1])
    assert encode(sounds, codes, extractor) == 0
    assert_same(codes, whole)
    assert {name: (codes / name).stat().st_mtime_ns for name in kept} == kept
    assert damage is delete or f"{FILES[1]} " in caplog.text
    assert not verify_codes(codes).damaged and len(load_codes(codes)) == 6


def test_what_needs_no_reading_is_repaired_without_checksums_too(codes, whole, sounds, extractor):
    truncate(codes, FILES[0])
    delete(codes, FILES[-1])
    assert encode(sounds, codes, extractor, checksums=False) == 0
    assert_same(codes, whole)


def test_files_that_record_no_origin_are_of_an_earlier_version_and_not_foreign(codes):
    path = codes / FILES[0]
    assert unrecorded_damage(path, contents=True, origin="of other clips") == FOREIGN
    rows = [{**row, "codes": np.array(row["codes"], dtype=np.uint16)} for row in pq.read_table(path).to_pylist()]
    write_part(path, rows, dataclasses.replace(read_part_metadata(path), origin=""))
    assert unrecorded_damage(path, contents=True, origin="of other clips") is None


def test_the_rest_of_a_shard_is_made_again_behind_a_damaged_part(tmp_path, sounds, extractor):
    shards = shards_of_listing(read_listing(sounds), 8)
    windows = EncodingSettings(max_length_s=0.1, long_files="windows", max_rejected_share=0.5, clips_per_shard=3)
    folders = [tmp_path / name for name in ("whole", "codes")]
    for folder in folders:
        assert encode_shards(shards, extractor, folder, windows, progress=False, num_workers=1) == 0
    parts = sorted(path.name for path in folders[0].glob("*.parquet"))
    assert len(parts) > 3
    flip(folders[1], parts[1])
    delete(folders[1], parts[2])
    assert encode_shards(shards, extractor, folders[1], windows, progress=False, num_workers=1, checksums=True) == 0
    for name in (*parts, "codes.json"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes(), name


def test_folders_of_earlier_versions_are_read_and_checked_as_far_as_that_is_possible(codes, capsys):
    forget_checksums(codes)
    before = {path.name: path.stat().st_mtime_ns for path in codes.iterdir()}
    assert main(["verify", str(codes)]) == 0
    said = capsys.readouterr().out
    assert "4 files, 6 rows" in said and "nothing to compare" in said
    assert len(load_codes(codes)) == 6
    # A file of the same number of rows that counts other codes.
    table = pq.read_table(codes / FILES[0])
    metadata = pq.read_metadata(codes / FILES[1]).metadata[b"audioformer"].decode()
    with pq.ParquetWriter(codes / FILES[0], table.schema.remove_metadata(), store_schema=False) as writer:
        writer.write_table(table)
        writer.add_key_value_metadata({"audioformer": metadata})
    (damage,) = verify_codes(codes).damaged
    assert str(damage) == f"{FILES[0]} has other codes than its footer counts"
    assert before.keys() <= {path.name for path in codes.iterdir()}


def test_encode_leaves_a_whole_folder_of_an_earlier_version_as_it_is(codes, sounds, extractor):
    forget_checksums(codes)
    before = {path.name: path.stat().st_mtime_ns for path in codes.iterdir()}
    assert encode(sounds, codes, extractor) == 0
    assert {path.name: path.stat().st_mtime_ns for path in codes.iterdir()} == before


def test_a_part_without_rows_is_missed_where_it_was_written(codes, whole, sounds, extractor):
    """It says which clips were rejected; only a download may lack it."""
    delete(codes, FILES[-1])
    with pytest.raises(ValueError, match=f"damaged: {FILES[-1]} is missing"):
        load_codes(codes)
    assert encode(sounds, codes, extractor, checksums=False) == 0
    assert_same(codes, whole)


def test_a_download_lacks_the_parts_without_rows(codes):
    for name in (FILES[-1], "encoding.json"):
        (codes / name).unlink()
    assert not verify_codes(codes).damaged and len(load_codes(codes)) == 6


@pytest.mark.parametrize("content", [b'{"labels": ["a"', b"\xff\xfe", b"{}", b"[]"])
def test_a_damaged_manifest_is_named_and_written_again(codes, whole, sounds, extractor, content, capsys):
    (codes / "codes.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"codes/codes.json is (damaged|not the manifest)"):
        load_codes(codes)
    assert main(["verify", str(codes)]) == 1 and "codes.json" in capsys.readouterr().err
    assert encode(sounds, codes, extractor) == 0
    assert_same(codes, whole)


def test_verify_refuses_what_is_no_finished_folder(codes, tmp_path, capsys):
    assert main(["verify", str(tmp_path / "none")]) == 1
    assert "has no codes.json" in capsys.readouterr().err
    (codes / "codes.json").unlink()
    assert main(["verify", str(codes)]) == 1
    assert "was not finished" in capsys.readouterr().err


@st.composite
def changes(draw):
    """A file, and what becomes of its bytes: anything that leaves others than before."""
    name = draw(st.sampled_from(FILES[:3]))
    kind = draw(st.sampled_from(["flip", "cut", "append", "overwrite"]))
    where = draw(st.floats(0, 1, exclude_max=True))
    mask = draw(st.integers(1, 255))
    return name, kind, where, mask


def apply(content: bytes, kind: str, where: float, mask: int) -> bytes:
    place = int(where * len(content))
    if kind == "flip":
        return content[:place] + bytes([content[place] ^ mask]) + content[place + 1 :]
    if kind == "cut":
        return content[:place]
    if kind == "append":
        return content + bytes([mask])
    return content[:place] + bytes(mask for _ in content[place:])


@given(change=changes())
@settings(
    derandomize=True, deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_no_change_of_any_byte_is_read_as_other_codes(whole, tmp_path, change):
    name, *how = change
    folder = tmp_path / "codes"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder, ignore=shutil.ignore_patterns("arrow"))
    before = (folder / name).read_bytes()
    (folder / name).write_bytes(apply(before, *how))
    if (folder / name).read_bytes() == before:
        return
    assert [damage.file for damage in verify_codes(folder).damaged] == [name]
    try:
        read = load_codes(folder).dataset.to_list()
    except ValueError as error:
        assert "damaged" in str(error) and name in str(error)
    else:
        assert read == load_codes(whole).dataset.to_list()


def test_the_digest_of_codes_follows_their_content_alone(codes, whole):
    digest = load_codes(codes).contents
    assert digest == load_codes(whole).contents
    forget_checksums(codes)
    counted = load_codes(codes).contents
    assert counted == load_codes(codes).contents
    shutil.copy(codes / FILES[0], codes / FILES[1])
    assert load_codes(codes).contents != counted


def test_the_digest_of_a_download_is_that_of_the_folder(codes, whole):
    """A download lacks the parts without rows; a run on it continues what was begun on the folder."""
    for name in (FILES[-1], "encoding.json"):
        (codes / name).unlink()
    assert load_codes(codes).contents == load_codes(whole).contents
