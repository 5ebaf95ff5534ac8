"""Encoding a data set once: what is stored, what survives a kill, what is rejected, what is encoded anew."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audioformer.data.audio import ReadingSettings, windows
from audioformer.data.codes import EncodingSettings, encode_shards, shards_of_listing
from audioformer.data.codes.cache import cache_folder_name, encode_listing
from audioformer.data.codes.encoded import load_codes
from audioformer.data.listing import ListedClip, Listing
from audioformer.data.readers import read_listing
from audioformer.feature_extraction import AudioFormerFeatureExtractor, codes_fingerprint
from audioformer.feature_extraction.codec import codec_fingerprint
from audioformer.model_cards import TINY_CODEC

from ...feature_extraction.common import make_codec
from ...training.processes import run_on_two_processes


@pytest.fixture(scope="module")
def extractor() -> AudioFormerFeatureExtractor:
    return AudioFormerFeatureExtractor(codec=str(TINY_CODEC))


def make_folder(folder: Path, num_clips: int = 8) -> Path:
    """Clips of two classes, 0.05 to 0.4 s, 8 or 24 kHz, mono or stereo."""
    for index in range(num_clips):
        path = folder / ("noise" if index % 2 else "tone") / f"{index:02d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        rate = 8000 if index % 3 else 24000
        samples = np.random.default_rng(index).standard_normal((round(rate * (0.05 + 0.05 * index)), 1 + index % 2))
        soundfile.write(path, 0.1 * samples, rate)
    return folder


def test_codes_are_those_of_the_extractor(tmp_path, extractor):
    listing = read_listing(make_folder(tmp_path / "sounds"))
    data = encode_listing(listing, extractor, tmp_path / "cache", clips_per_shard=3)
    assert len(data) == 8 and data.labels == ["noise", "tone"] and not data.multi_label
    assert len(list((tmp_path / "cache").glob("*/codes-*.parquet"))) == 3
    by_row = AudioFormerFeatureExtractor(codec=str(TINY_CODEC), codebooks=[0, 1, 2, 3])
    for index, clip in enumerate(listing.clips):
        samples, rate = soundfile.read(clip.audio, dtype="float32", always_2d=True)
        ids = np.asarray(by_row(samples.mean(axis=1), sampling_rate=rate)["input_ids"][0])
        codes = data.codes[index]
        assert codes.dtype == np.uint16 and codes.shape == (4, len(ids) - 2)
        # Long or short neighbours in a batch may turn a tie of two entries, no more.
        assert (ids[1:-1] == codes.T + 3).mean() > 0.99
        row = data.dataset[index]
        assert np.array_equal(np.array(row["codes"]), codes) and row["n_frames"] == codes.shape[1]
        assert row["sampling_rate"] == rate and row["duration_s"] == pytest.approx(len(samples) / rate)
    assert data.targets.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    part = data.select([6, 1])
    assert np.array_equal(part.codes[0], data.codes[6]) and part.targets.tolist() == [1, 0]
    assert part.codes.lengths.tolist() == [data.codes[6].shape[1], data.codes[1].shape[1]]


def test_what_was_encoded_is_not_encoded_again(tmp_path, extractor):
    folder = make_folder(tmp_path / "sounds", 4)
    first = encode_listing(read_listing(folder), extractor, tmp_path / "cache")
    (manifest,) = (tmp_path / "cache").glob("*/codes.json")
    written = manifest.stat().st_mtime_ns
    encode_listing(read_listing(folder), extractor, tmp_path / "cache")
    assert manifest.stat().st_mtime_ns == written
    soundfile.write(folder / "tone" / "00.wav", np.zeros(4000), 24000)
    changed = encode_listing(read_listing(folder), extractor, tmp_path / "cache")
    assert len(list((tmp_path / "cache").glob("*/codes.json"))) == 2
    assert changed.codes[2].shape != first.codes[2].shape
    encode_listing(read_listing(folder), extractor, tmp_path / "cache", ReadingSettings(max_length_s=0.1))
    encode_listing(read_listing(folder), extractor, tmp_path / "cache", num_codebooks=2)
    assert len(list((tmp_path / "cache").glob("*/codes.json"))) == 4


def test_unreadable_clips_are_reported_and_do_not_stop_the_run(tmp_path, extractor):
    folder = make_folder(tmp_path / "sounds", 10)
    (folder / "tone" / "00.wav").write_text("no audio")
    soundfile.write(folder / "tone" / "02.wav", np.full(500, np.nan), 24000, subtype="FLOAT")
    data = encode_listing(
        read_listing(folder), extractor, tmp_path / "cache", max_rejected_share=0.2, clips_per_shard=4
    )
    assert len(data) == 8 and data.report.found == 8 and data.report.listed == 10
    reasons = {Path(entry["path"]).name: entry["reason"] for entry in data.report.rejected}
    assert set(reasons) == {"00.wav", "02.wav"} and "NaN" in reasons["02.wav"] and "00.wav" in reasons["00.wav"]
    assert "00.wav" in data.report.to_text() and "8 windows and clips of 10 listed" in data.report.to_text()
    assert data.report.clips_per_label == {"noise": 5, "tone": 3}


def test_clips_without_a_file_are_listed_and_missing(tmp_path, extractor):
    listing = read_listing(make_folder(tmp_path / "sounds", 4))
    listing.missing = ["gone.wav", "lost.wav"]
    report = encode_listing(listing, extractor, tmp_path / "cache").report
    assert (report.listed, report.found, report.missing) == (6, 4, 2)
    assert report.missing_names == ["gone.wav", "lost.wav"] and "4 windows and clips of 6 listed" in report.to_text()


def test_too_many_unreadable_clips_stop_the_run_with_their_list(tmp_path, extractor):
    folder = make_folder(tmp_path / "sounds", 10)
    for index in (0, 2):
        (folder / "tone" / f"{index:02d}.wav").write_text("no audio")
    with pytest.raises(ValueError, match=r"2 of 10 clips cannot be read.*10.0%.*\n.*00.wav.*\n.*02.wav"):
        encode_listing(read_listing(folder), extractor, tmp_path / "cache", max_rejected_share=0.1)
    (listed,) = (tmp_path / "cache").glob("*/rejected.jsonl")
    assert len(listed.read_text().splitlines()) == 2


def test_what_an_earlier_run_rejected_counts_in_the_next(tmp_path, extractor):
    """One unreadable clip in each of the first two shards is one too many: the second run stops at once."""
    folder, codes = make_folder(tmp_path / "sounds", 8), tmp_path / "codes"
    for name in ("01", "05"):
        (folder / "noise" / f"{name}.wav").write_text("no audio")
    shards = shards_of_listing(read_listing(folder), 2)
    many, few = (EncodingSettings(clips_per_shard=2, max_rejected_share=share) for share in (0.5, 0.2))
    assert encode_shards(shards, extractor, codes, many, progress=False) == 0
    for file in (codes / "codes.json", *codes.glob("codes-0000[123]-*")):
        file.unlink()
    with pytest.raises(ValueError, match="2 of 8 clips cannot be read"):
        encode_shards(shards, extractor, codes, few, progress=False)
    assert [path.name for path in codes.glob("codes-*")] == ["codes-00000-0000.parquet"]


def test_a_folder_that_was_not_finished_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no codes.json"):
        load_codes(tmp_path)
    (tmp_path / "codes-00000-0000.parquet").write_bytes(b"")
    with pytest.raises(ValueError, match="not finished"):
        load_codes(tmp_path)


def test_part_of_a_file_bytes_and_samples(tmp_path, extractor):
    path = tmp_path / "a.wav"
    samples = np.random.default_rng(0).standard_normal(24000).astype(np.float32) * 0.1
    soundfile.write(path, samples, 24000, subtype="FLOAT")
    listing = read_listing(make_folder(tmp_path / "sounds", 2))
    listing.clips = [
        ListedClip("part", str(path), ("tone",), start_s=0.25, end_s=0.5),
        ListedClip("bytes", {"bytes": path.read_bytes(), "path": None}, ("tone",)),
        ListedClip("samples", {"array": samples[6000:12000], "sampling_rate": 24000}, ("tone",)),
    ]
    data = encode_listing(listing, extractor, tmp_path / "cache", ReadingSettings(max_length_s=0.5, long_files="cut"))
    assert [row.shape[1] for row in data.codes] == [19, 38, 19]
    assert np.array_equal(data.codes[0], data.codes[2])
    assert data.report.truncated == 1 and "1 clips are longer than 0.5 s" in data.report.to_text()


KILLED = """
import os, signal, sys
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_CODEC
from audioformer.data.codes.cache import encode_listing
from audioformer.data.readers import read_listing

from audioformer.data.codes.shard_writer import ShardWriter

encode, calls = ShardWriter._encode, 0
def encode_and_die(self, clips):
    global calls
    calls += 1
    if calls == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(self, clips)
ShardWriter._encode = encode_and_die
encode_listing(read_listing(sys.argv[1]), AudioFormerFeatureExtractor(codec=str(TINY_CODEC)), sys.argv[2],
               clips_per_shard=3, max_rejected_share=0.2)
"""


@pytest.mark.slow
def test_a_killed_run_loses_the_open_shard_only(tmp_path, extractor):
    folder = make_folder(tmp_path / "sounds", 12)
    (folder / "noise" / "01.wav").write_text("no audio")
    command = [sys.executable, "-c", KILLED, str(folder), str(tmp_path / "cache")]
    assert subprocess.run(command, capture_output=True, timeout=120).returncode == -signal.SIGKILL
    (cache,) = (tmp_path / "cache").iterdir()
    finished = {path.name: path.stat().st_mtime_ns for path in cache.glob("codes-*.parquet")}
    assert len(finished) == 2 and not (cache / "codes.json").exists()
    settings = dict(clips_per_shard=3, max_rejected_share=0.2, progress=False)
    resumed = encode_listing(read_listing(folder), extractor, tmp_path / "cache", **settings)
    whole = encode_listing(read_listing(folder), extractor, tmp_path / "whole", **settings)
    assert all((cache / name).stat().st_mtime_ns == when for name, when in finished.items())
    assert resumed.dataset.to_list() == whole.dataset.to_list()
    assert resumed.report == whole.report and len(resumed.report.rejected) == 1


@pytest.mark.slow
def test_two_processes_share_the_work(tmp_path, extractor):
    folder = make_folder(tmp_path / "sounds", 10)
    script = tmp_path / "encode.py"
    script.write_text(
        "from accelerate import PartialState\nPartialState(cpu=True)\n"
        + KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "pass")
    )
    run_on_two_processes(script, str(folder), str(tmp_path / "cache"))
    (cache,) = (tmp_path / "cache").iterdir()
    whole = encode_listing(read_listing(folder), extractor, tmp_path / "whole", clips_per_shard=3, progress=False)
    assert load_codes(cache).dataset.to_list() == whole.dataset.to_list()


def in_memory_listing() -> Listing:
    """A listing whose fingerprint is the same on every machine."""

    def sound(num_samples: int) -> dict:
        return {"array": (np.arange(num_samples, dtype=np.float32) % 100 - 50) / 128, "sampling_rate": 24000}

    clips = [
        ListedClip("a", sound(6000), ("x",), fold=1),
        ListedClip("b", sound(9000), ("y",), split="train", group="g", start_s=0.125),
    ]
    return Listing("pinned", "datasets", "memory", clips, ["x", "y"], False)


RELEASED = [
    (
        EncodingSettings(long_files="cut", keep_silent=True),
        "pinned-34ed32af035829ad",
        "f4ba37d2d47b2789f49ca85da508c54b18cd9cbe961ee80158e711b2634dd815",
        """{
  "num_codebooks": 4,
  "max_length_s": 10.0,
  "long_files": "cut",
  "max_duration_s": null,
  "keep_silent": true,
  "clips_per_shard": 500
}""",
    ),
    (
        EncodingSettings(
            num_codebooks=2,
            max_length_s=0.25,
            long_files="cut",
            keep_silent=True,
            max_rejected_share=0.5,
            clips_per_shard=1,
        ),
        "pinned-eb0a67210a33f115",
        "5bd3264d88a4006f8dfecbdf1d4dea6822af86b72aa6f4b6b08a8141db064e57",
        """{
  "num_codebooks": 2,
  "max_length_s": 0.25,
  "long_files": "cut",
  "max_duration_s": null,
  "keep_silent": true,
  "clips_per_shard": 1
}""",
    ),
]
"""Settings, and what version 0.1.0 made of them for `in_memory_listing` and its bundled codec: the name of the folder
in the cache, the fingerprint of the clips, and the settings in `encoding.json`."""
CODEC = "ab6ef2bdfb42d573a96baac2db5ab9dca2097d58199d659acae690b89e62596b"


@pytest.mark.parametrize("settings, name, clips, stored", RELEASED)
def test_folders_of_earlier_versions_are_still_found_and_continued(
    tmp_path, monkeypatch, settings, name, clips, stored
):
    # As if the codec that is bundled now had been the one of that version; tests of the codec compare fingerprints.
    extractor = AudioFormerFeatureExtractor(codec=str(TINY_CODEC))
    monkeypatch.setattr(codes_fingerprint, "accepted_fingerprints", lambda codec: [codec_fingerprint(codec), CODEC])
    shards = shards_of_listing(in_memory_listing(), settings.clips_per_shard)
    assert shards.fingerprint == clips
    assert cache_folder_name(shards, settings, CODEC) == name
    (tmp_path / name).mkdir()
    begun = json.dumps({"clips": clips, "codec": CODEC, **json.loads(stored)}, indent=2) + "\n"
    (tmp_path / name / "encoding.json").write_text(begun)
    reading = ReadingSettings(
        max_length_s=settings.max_length_s, long_files=settings.long_files, keep_silent=settings.keep_silent
    )
    data = encode_listing(
        in_memory_listing(),
        extractor,
        tmp_path,
        reading,
        num_codebooks=settings.num_codebooks,
        max_rejected_share=settings.max_rejected_share,
        clips_per_shard=settings.clips_per_shard,
        progress=False,
    )
    assert [path.name for path in tmp_path.iterdir()] == [name] and data.ids == ["a", "b"]
    assert (tmp_path / name / "encoding.json").read_text() == begun
    info = json.loads((tmp_path / name / "codes.json").read_text())
    assert info["settings"] == {**json.loads(stored), "max_rejected": settings.max_rejected_share}


def test_every_setting_but_the_share_of_rejected_clips_gives_another_folder():
    shards = shards_of_listing(in_memory_listing(), 500)
    changes = [
        {"hop_s": 5.0},
        {"num_codebooks": 3},
        {"max_length_s": 5.0},
        {"long_files": "cut"},
        {"max_duration_s": 60.0},
        {"keep_silent": True},
        {"clips_per_shard": 7},
    ]
    names = {cache_folder_name(shards, EncodingSettings(**change), CODEC) for change in [{}, *changes]}
    assert len(names) == 8 and cache_folder_name(shards, EncodingSettings(hop_s=10.0), CODEC) in names
    assert cache_folder_name(shards, EncodingSettings(max_rejected_share=0.5), CODEC) in names
    assert cache_folder_name(shards, EncodingSettings(), "other") not in names


def two_sounds(seconds: float) -> Listing:
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(24000 * seconds)).astype(np.float32)
    clips = [ListedClip(name, {"array": samples, "sampling_rate": 24000}, (name,)) for name in "ab"]
    return Listing("pinned", "datasets", "memory", clips, ["a", "b"], False)


def make_earlier(folder: Path, extractor, monkeypatch, seconds: float, **settings) -> Path:
    """Codes as they were written when the last window was as short as what remained; gives the name of the folder."""
    earlier = EncodingSettings.to_stored
    with monkeypatch.context() as patch:
        patch.setattr(
            EncodingSettings,
            "to_stored",
            lambda self: {name: value for name, value in earlier(self).items() if name != "hop_s"},
        )
        patch.setattr(windows, "window_starts", lambda start, end, length, *_: range(start, end, length))
        encode_listing(two_sounds(seconds), extractor, folder, progress=False, **settings)
    (made,) = folder.iterdir()
    return made


def test_earlier_caches_without_windows_are_used(tmp_path, extractor, monkeypatch):
    folder = make_earlier(tmp_path, extractor, monkeypatch, seconds=0.5)
    data = encode_listing(two_sounds(0.5), extractor, tmp_path, progress=False)
    assert data.ids == ["a", "b"] and list(tmp_path.iterdir()) == [folder]
    # A hop that the earlier rule did not know is another data set.
    encode_listing(two_sounds(0.5), extractor, tmp_path, ReadingSettings(hop_s=5.0), progress=False)
    assert len(list(tmp_path.iterdir())) == 2


def test_earlier_caches_with_windows_stay_readable_and_are_not_used(tmp_path, extractor, monkeypatch):
    folder = make_earlier(tmp_path, extractor, monkeypatch, 2.4, reading=ReadingSettings(max_length_s=1.0))
    assert load_codes(folder).ids == ["a#0", "a#1", "a#2", "b#0", "b#1", "b#2"]
    data = encode_listing(two_sounds(2.4), extractor, tmp_path, ReadingSettings(max_length_s=1.0))
    assert data.ids == ["a#0", "a#1", "a#1.4", "b#0", "b#1", "b#1.4"] and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("seconds", [0.5, 2.4])
def test_an_earlier_folder_is_never_continued_with_other_windows(tmp_path, extractor, monkeypatch, seconds):
    settings = EncodingSettings(max_length_s=1.0)
    folder = make_earlier(tmp_path, extractor, monkeypatch, seconds, reading=ReadingSettings(max_length_s=1.0))
    shards = shards_of_listing(two_sounds(seconds), settings.clips_per_shard)
    if seconds == 0.5:
        assert encode_shards(shards, extractor, folder, settings, progress=False) == 0
    else:
        with pytest.raises(ValueError, match=r"begun with other settings: hop_s \(then None, now 1.0\)"):
            encode_shards(shards, extractor, folder, settings, progress=False)
    (folder / "codes.json").unlink()
    with pytest.raises(ValueError, match=r"begun with other settings: hop_s \(then None, now 1.0\)"):
        encode_shards(shards, extractor, folder, settings, progress=False)


def test_codes_of_another_codec_are_refused(tmp_path, extractor):
    data = encode_listing(read_listing(make_folder(tmp_path / "sounds", 2)), extractor, tmp_path / "cache")
    data.check_codec(extractor)
    with pytest.raises(ValueError, match="another codec"):
        data.check_codec(AudioFormerFeatureExtractor(codec=make_codec()))


def test_labels_of_clips_must_be_known(tmp_path, extractor):
    data = encode_listing(read_listing(make_folder(tmp_path / "sounds", 4)), extractor, tmp_path / "cache")
    wider = data.with_labels(["bird", "tone", "noise"])
    assert wider.targets.tolist() == [2, 2, 1, 1]
    assert data.with_labels(data.labels, multi_label=True).targets.tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    with pytest.raises(ValueError, match="noise/01.wav.*not among.*noise"):
        _ = data.with_labels(["tone"]).targets


def test_reading_codes_is_fast(tmp_path, extractor):
    """Not a measurement: a data set that builds lists of Python numbers takes a hundred times as long."""
    data = encode_listing(read_listing(make_folder(tmp_path / "sounds", 4)), extractor, tmp_path / "cache")
    codes = data.codes
    started = time.perf_counter()
    for _ in range(500):
        codes[2]
    assert time.perf_counter() - started < 0.5
