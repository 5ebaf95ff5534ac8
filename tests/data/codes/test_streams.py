"""Tar shards and streamed data sets: the same clips whenever a shard is opened, and the same codes as files have."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from datasets import Audio, ClassLabel, Features

from audioformer.data.codes import EncodingSettings, encode_shards, shards_of_listing
from audioformer.data.codes.encoded import load_codes
from audioformer.data.readers import read_listing
from audioformer.data.readers.streams import is_tar_source, read_stream
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_CODEC

SETTINGS = EncodingSettings(max_length_s=1.0, clips_per_shard=2)


def sound(seed: int, kind: str = "FLAC") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, 0.1 * np.random.default_rng(seed).standard_normal(4000), 16000, format=kind)
    return file.getvalue()


def write_tars(folder: Path, num_tars: int = 2, clips: int = 5, labels=None) -> Path:
    """Tar files whose keys are the same in each, as WebDataset writers number them."""
    folder.mkdir()
    for tar_number in range(num_tars):
        with tarfile.open(folder / f"{tar_number:03d}.tar", "w") as tar:
            for index in range(clips):
                files = {"flac": sound(10 * tar_number + index)}
                if labels is not None:
                    files["json"] = json.dumps({"tags": labels[index % len(labels)], "other": index}).encode()
                for suffix, content in files.items():
                    info = tarfile.TarInfo(f"{index:06d}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    return folder


def encode(shards, folder: Path, settings: EncodingSettings = SETTINGS):
    extractor = AudioFormerFeatureExtractor(codec=str(TINY_CODEC))
    assert encode_shards(shards, extractor, folder, settings, progress=False) == 0
    return load_codes(folder)


def test_tar_shards(tmp_path):
    folder = write_tars(tmp_path / "tars", labels=[["dog"], ["bird", "dog"]])
    assert is_tar_source(folder) and is_tar_source(folder / "000.tar") and not is_tar_source(tmp_path)
    data = encode(read_stream(folder), tmp_path / "codes")
    assert data.dataset["id"][:] == [f"{tar:03d}/{index:06d}" for tar in range(2) for index in range(5)]
    assert data.labels == ["bird", "dog"] and data.multi_label
    assert data.targets[:2].tolist() == [[0, 1], [1, 1]]
    # Five clips of a tar in files of two.
    assert len(list((tmp_path / "codes").glob("codes-*.parquet"))) == 6
    for tar in range(2):
        for index in range(5):
            path = tmp_path / "files" / f"{tar:03d}" / f"{index:06d}.flac"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(sound(10 * tar + index))
    files = shards_of_listing(read_listing(tmp_path / "files", "audio_files"), 5)
    from_files = encode(files, tmp_path / "other")
    for codes, expected in zip(data.codes, from_files.codes, strict=True):
        assert (codes == expected).mean() > 0.99


def test_a_stream_goes_on_behind_the_parts_that_are_there(tmp_path):
    folder = write_tars(tmp_path / "tars")
    whole = encode(read_stream(folder), tmp_path / "whole")
    begun = encode(read_stream(folder), tmp_path / "begun")
    assert begun.dataset["labels"][:] == [[]] * 10 and begun.labels == []
    for name in ("codes.json", "codes-00000-0001.parquet", "codes-00000-0002.parquet"):
        (tmp_path / "begun" / name).unlink()
    kept = (tmp_path / "begun" / "codes-00000-0000.parquet").stat().st_mtime_ns
    again = encode(read_stream(folder), tmp_path / "begun")
    assert again.dataset.to_list() == whole.dataset.to_list()
    assert (tmp_path / "begun" / "codes-00000-0000.parquet").stat().st_mtime_ns == kept


def test_a_changed_tar_is_another_source(tmp_path):
    folder = write_tars(tmp_path / "tars")
    first = read_stream(folder).fingerprint
    assert read_stream(folder).fingerprint == first
    write_tars(tmp_path / "more", num_tars=1)
    (tmp_path / "more" / "000.tar").rename(folder / "002.tar")
    assert read_stream(folder).fingerprint != first


def test_a_streamed_data_set_of_parquet_files(tmp_path):
    source = tmp_path / "data"
    source.mkdir()
    features = Features({"audio": Audio(), "label": ClassLabel(names=["dog", "bird"])})
    for number in range(2):
        rows = [
            {"audio": {"bytes": sound(2 * number + index, "WAV"), "path": None}, "label": index} for index in range(2)
        ]
        table = pa.Table.from_pylist(rows, schema=features.arrow_schema)
        pq.write_table(table, source / f"train-{number}.parquet")
    shards = read_stream(source)
    assert shards.num_shards == 2 and shards.labels == ["dog", "bird"] and not shards.multi_label
    data = encode(shards, tmp_path / "codes")
    assert data.dataset["id"][:] == [f"train-{shard:05d}/{index}" for shard in range(2) for index in range(2)]
    assert data.targets.tolist() == [0, 1, 0, 1] and data.dataset["split"][:] == ["train"] * 4
    with pytest.raises(
        ValueError, match=r"`audio_column` 'sound' is not an audio column; the columns are \['audio', 'label'\]"
    ):
        read_stream(source, audio_column="sound")
