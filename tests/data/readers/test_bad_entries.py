"""One bad entry is rejected and named; everything else is read."""

import io
import json
import math
import os
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audioformer.data.audio import ReadingSettings, list_audio_clips, load_audio
from audioformer.data.audio.clip_reading import read_clip
from audioformer.data.audio.folder import find_audio
from audioformer.data.listing import ListedClip, listing_fingerprint
from audioformer.data.readers import read_listing
from audioformer.data.readers.streams import is_tar_source, read_stream

RATE = 8000


def sound(seconds: float = 0.2, name: str = "FLAC") -> bytes:
    file = io.BytesIO()
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * RATE))
    soundfile.write(file, samples, RATE, format=name)
    return file.getvalue()


def write_tar(path: Path, num_clips: int, labels: list | None = None) -> bytes:
    with tarfile.open(path, "w") as tar:
        for index in range(num_clips):
            label = "x" if labels is None else labels[index]
            for suffix, content in (("flac", sound()), ("json", json.dumps({"label": label}).encode())):
                member = tarfile.TarInfo(f"{index:04d}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return path.read_bytes()


@settings(derandomize=True, deadline=None, max_examples=40)
@given(start_s=st.none() | st.floats(), end_s=st.none() | st.floats())
def test_any_part_of_a_file_is_read_or_rejected(start_s, end_s):
    clip = ListedClip("a", {"bytes": sound()}, start_s=start_s, end_s=end_s)
    (read,), _ = read_clip(clip, RATE, ReadingSettings())
    if read.rejection is not None:
        assert read.rejection["kind"] in ("empty", "unreadable")
        assert not (start_s in (None, 0.0) and (end_s is None or end_s > 0.01))
    else:
        first, last = start_s or 0.0, math.inf if end_s is None else end_s
        assert 0 <= first < last and len(read.waveform) <= 1600


def test_what_is_no_file_does_not_stop_the_others(tmp_path):
    (tmp_path / "good.flac").write_bytes(sound())
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nowhere.wav")
    (tmp_path / "noise.wav").write_bytes(bytes(range(256)))
    strange = os.fsdecode(b"caf\xe9.flac")
    (tmp_path / strange).write_bytes(sound())
    listing = read_listing(tmp_path, "audio_files")
    assert len(listing_fingerprint(listing)) == 64
    clips = list_audio_clips(listing, max_rejected_share=1, progress=False)
    assert clips.ids == ["caf\ufffd.flac", "good.flac"]
    rejected = {entry["path"]: entry["reason"] for entry in clips.report.rejected}
    assert set(rejected) == {"pipe.wav", "gone.wav", "noise.wav"}
    assert "is not a file" in rejected["pipe.wav"] and "There is no audio file" in rejected["gone.wav"]
    assert "noise.wav" in rejected["noise.wav"]
    assert len(find_audio(tmp_path)) == 5


@pytest.mark.parametrize("suffix", [".tar", ".parquet"])
def test_special_files_in_place_of_shards_are_not_opened(tmp_path, suffix):
    os.mkfifo(tmp_path / f"pipe{suffix}")
    (tmp_path / "dog").mkdir()
    (tmp_path / "dog" / "a.flac").write_bytes(sound())
    if suffix == ".tar":
        assert is_tar_source(tmp_path)
        with pytest.raises(ValueError, match=r"none of the 1 tar files can be read:\n  pipe.tar: not a file"):
            read_stream(tmp_path)
    else:
        assert read_listing(tmp_path).layout == "folder"


def test_a_table_may_not_be_a_pipe(tmp_path):
    (tmp_path / "meta").mkdir()
    os.mkfifo(tmp_path / "meta" / "esc50.csv")
    with pytest.raises(ValueError, match="esc50.csv is not a file"):
        read_listing(tmp_path, "esc50")


@settings(derandomize=True, deadline=None, max_examples=30)
@given(rate=st.one_of(st.integers(0, 99), st.integers(10_000_001, 2**31 - 1)))
def test_rates_that_no_sound_has_are_refused_before_they_take_memory(rate):
    content = bytearray(sound(name="WAV"))
    at = content.index(b"fmt ") + 12
    content[at : at + 4] = struct.pack("<I", rate)
    (read,), _ = read_clip(ListedClip("a", {"bytes": bytes(content), "path": "a.wav"}), 24000, ReadingSettings())
    assert read.rejection["kind"] == "unreadable" and "a.wav" in read.rejection["reason"]
    # libsndfile itself refuses 0 Hz and negative rates.
    if 0 < rate < 100 or rate > 10_000_000:
        assert "from 100 Hz to 10 MHz" in read.rejection["reason"] or "cannot be read" in read.rejection["reason"]


def test_windows_have_a_shortest_length():
    assert ReadingSettings(max_length_s=0.1).max_length_s == 0.1
    for length_s in (0.001, 0.09):
        with pytest.raises(ValueError, match=rf"`max_length_s` must be at least 0.1 seconds, got {length_s}"):
            ReadingSettings(max_length_s=length_s)


def test_what_is_wrong_with_a_sound_names_its_file(tmp_path):
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan] * 100), RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"nan.wav' holds NaN or infinite samples"):
        load_audio(tmp_path / "nan.wav")
    with pytest.raises(ValueError, match="audio in memory cannot be read by soundfile") as error:
        load_audio({"bytes": b"no sound at all"})
    assert "0x" not in str(error.value)
    with pytest.raises(FileNotFoundError) as error:
        load_audio("x" * 10_000 + ".wav")
    assert len(str(error.value)) < 300


@settings(derandomize=True, deadline=None, max_examples=10)
@given(share=st.floats(0, 1), garbage=st.binary(max_size=600))
def test_damaged_tar_files_are_named_and_the_others_read(tmp_path_factory, share, garbage):
    folder = tmp_path_factory.mktemp("tars")
    whole = write_tar(folder / "b.tar", 3)
    (folder / "c.tar").write_bytes(whole[: int(share * len(whole))])
    (folder / "a.tar").write_bytes(garbage)
    shards = read_stream(folder)
    assert shards.num_shards == 3
    first, second, third = (list(shards.open_shard(number)) for number in range(3))
    assert [clip.id for clip in first] == ["a"] and first[0].error
    assert [clip.id for clip in second] == ["b/0000", "b/0001", "b/0002"]
    *good, last = third or [None]
    assert [clip.id for clip in good] == [f"c/{index:04d}" for index in range(len(good))]
    # Without its last blocks, which are empty, an archive is whole.
    assert len(good) < 3 or last.error is None or "damaged" in last.error
    (read,), _ = read_clip(first[0], RATE, ReadingSettings())
    assert read.rejection["kind"] == "unreadable" and read.rejection["path"].endswith("a.tar")


def test_a_label_that_is_none_rejects_its_clip(tmp_path):
    write_tar(tmp_path / "a.tar", 3, labels=["x", "", "y"])
    clips = list(read_stream(tmp_path).open_shard(0))
    assert [clip.labels for clip in clips] == [("x",), (), ("y",)]
    assert [clip.error for clip in clips] == [None, "the label must be a name or a list of names, got ''", None]
