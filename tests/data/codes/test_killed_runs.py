"""Processes that are killed at any moment, started again, or started twice, end with the rows of one quiet run."""

import json
import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from tqdm.auto import tqdm

from audioformer.data.codes import EncodingSettings, encode_shards, shards_of_listing
from audioformer.data.readers import read_listing
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_CODEC

SETTINGS = EncodingSettings(
    max_length_s=0.4, long_files="windows", keep_silent=False, max_rejected_share=0.2, clips_per_shard=4
)
NUM_CLIPS = 64


@pytest.fixture(scope="module")
def extractor() -> AudioFormerFeatureExtractor:
    extractor = AudioFormerFeatureExtractor(codec=str(TINY_CODEC))
    # Loaded once, for all the processes that are forked from this one.
    assert extractor.codec is not None
    # tqdm's own lock is shared by forked processes: one that is killed while it holds it would stop all others.
    tqdm.set_lock(threading.RLock())
    return extractor


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """Clips of 0.2 to 1.1 s, which gives one to three windows; two cannot be read and one is silent."""
    folder = tmp_path_factory.mktemp("sounds")
    for index in range(NUM_CLIPS):
        path = folder / ("ab"[index % 2]) / f"{index:02d}.wav"
        path.parent.mkdir(exist_ok=True)
        samples = 0.1 * np.random.default_rng(index).standard_normal(round(8000 * (0.2 + 0.1 * (index % 10))))
        soundfile.write(path, samples if index != 30 else 0 * samples, 8000)
    (folder / "a" / "10.wav").write_text("no audio")
    (folder / "b" / "63.wav").write_text("no audio")
    return folder


@pytest.fixture(scope="module")
def whole(tmp_path_factory, sounds, extractor) -> Path:
    """What a run makes that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")
    assert encode(sounds, folder, extractor) == 0
    return folder


def encode(sounds: Path, output: Path, extractor: AudioFormerFeatureExtractor) -> int:
    shards = shards_of_listing(read_listing(sounds), SETTINGS.clips_per_shard)
    return encode_shards(shards, extractor, output, SETTINGS, num_workers=2, batch_size=3, progress=False)


def fork_encoding(rank: int, world_size: int, *arguments) -> int:
    """Start a process that encodes, without the seconds of importing torch; returns its number."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.environ.update(RANK=str(rank), WORLD_SIZE=str(world_size))
        encode(*arguments)
        status = 0
    finally:
        os._exit(status)


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def assert_same(folder: Path, whole: Path) -> None:
    names = {path.name for path in whole.iterdir()}
    assert {path.name for path in folder.iterdir()} == names
    for name in names:
        if name.endswith(".parquet"):
            assert pq.read_table(folder / name).equals(pq.read_table(whole / name), check_metadata=True), name
        elif name.endswith((".json", ".jsonl")):
            assert (folder / name).read_text() == (whole / name).read_text(), name


@pytest.mark.parametrize("world_size", [1, 2])
def test_killed_at_random_moments_until_done(tmp_path, sounds, extractor, whole, world_size):
    moments = random.Random(world_size)
    kills, progress = 0, []
    for attempt in range(40):
        children = [fork_encoding(rank, world_size, sounds, tmp_path, extractor) for rank in range(world_size)]
        # Sooner and later, whatever the speed of the machine: before the first file, and after ever more of them.
        time.sleep(0.03 * 1.15**attempt * moments.uniform(0.5, 1.5))
        for child in children:
            os.kill(child, signal.SIGKILL)
        statuses = [status_of(child) for child in children]
        assert set(statuses) <= {0, -signal.SIGKILL}
        kills += statuses.count(-signal.SIGKILL)
        if (tmp_path / "codes.json").exists():
            break
        progress.append(len(list(tmp_path.glob("codes-*"))))
    assert kills >= 2 and len(set(progress)) >= 2, f"killed {kills} times, with {progress} files: not in the middle"
    assert encode(sounds, tmp_path, extractor) == 0
    assert_same(tmp_path, whole)


def test_a_process_that_died_alone_is_started_again_alone(tmp_path, sounds, extractor, whole):
    assert status_of(fork_encoding(1, 2, sounds, tmp_path, extractor)) == 0
    assert not (tmp_path / "codes.json").exists()
    assert status_of(fork_encoding(0, 2, sounds, tmp_path, extractor)) == 0
    assert_same(tmp_path, whole)


def test_a_second_run_on_the_same_folder_is_harmless(tmp_path, sounds, extractor, whole):
    children = [fork_encoding(0, 1, sounds, tmp_path, extractor) for _ in range(2)]
    assert [status_of(child) for child in children] == [0, 0]
    assert_same(tmp_path, whole)


def test_nothing_is_dropped_and_nothing_comes_twice(whole):
    files = sorted(whole.glob("codes-*.parquet"))
    ids = pa.concat_tables([pq.read_table(file, columns=["id"]) for file in files])["id"].to_pylist()
    rejected = [json.loads(line) for line in (whole / "rejected.jsonl").read_text().splitlines()]
    assert len(set(ids)) == len(ids)
    clips = {name.split("#")[0] for name in [*ids, *(entry["id"] for entry in rejected)]}
    assert len(clips) == NUM_CLIPS
    assert {(entry["id"], entry["kind"]) for entry in rejected} == {
        ("a/10.wav", "unreadable"),
        ("b/63.wav", "unreadable"),
        ("a/30.wav", "silent"),
    }


def test_other_settings_and_other_clips_are_refused(tmp_path, sounds, extractor):
    shards = shards_of_listing(read_listing(sounds), 4)
    os.environ.update(RANK="1", WORLD_SIZE="16")
    try:
        assert encode_shards(shards, extractor, tmp_path, SETTINGS, progress=False) == 15
    finally:
        del os.environ["RANK"], os.environ["WORLD_SIZE"]
    other = EncodingSettings(max_length_s=0.5, long_files="windows", keep_silent=False, clips_per_shard=4)
    with pytest.raises(ValueError, match=r"begun with other settings: max_length_s \(then 0.4, now 0.5\)"):
        encode_shards(shards, extractor, tmp_path, other, progress=False)
    fewer = read_listing(sounds)
    fewer.clips = fewer.clips[:-1]
    with pytest.raises(ValueError, match="begun with other settings: clips"):
        encode_shards(shards_of_listing(fewer, 4), extractor, tmp_path, SETTINGS, progress=False)
    (tmp_path / "encoding.json").unlink()
    with pytest.raises(ValueError, match="codes of another origin"):
        encode_shards(shards, extractor, tmp_path, SETTINGS, progress=False)
