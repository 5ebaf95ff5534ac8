"""Streams of crops: what each reader gives out, in which order, and that it goes on from any position."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import soundfile

from audioformer.data.audio import ReadingSettings
from audioformer.data.audio.stream import CropStream, Place, StreamPosition
from audioformer.data.listing import ListedClip, Listing
from audioformer.data.shards import shards_of_listing

RATE = 8000


def clip(name: str, seconds: float) -> ListedClip:
    waveform = np.random.default_rng(len(name)).uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)
    return ListedClip(name, {"array": waveform, "sampling_rate": RATE})


def stream_of(clips: list[ListedClip], block_size: int = 4, clips_per_shard: int = 2, **options) -> CropStream:
    shards = shards_of_listing(Listing("sounds", "test", "nowhere", clips, [], False), clips_per_shard)
    reading = ReadingSettings(max_length_s=0.5)
    return CropStream(shards, range(shards.num_shards), RATE, reading, block_size=block_size, **options)


@pytest.fixture(scope="module")
def clips() -> list[ListedClip]:
    """Of one to 40 windows: more than are read at once."""
    return [clip(f"clip{index}", seconds) for index, seconds in enumerate((0.5, 1.5, 20.0, 0.3, 1.0, 0.5, 2.0, 0.5))]


def names(stream: CropStream, count: int, reader=(0, 1)) -> list[tuple[int, str]]:
    return [(crop.epoch, crop.id) for crop, _ in islice(stream.read(*reader, StreamPosition()), count)]


NUM_CROPS = 1 + 3 + 40 + 1 + 2 + 1 + 4 + 1


def test_long_clips_become_consecutive_crops(clips):
    stream = stream_of(clips, block_size=1)
    ids = [name for _, name in names(stream, NUM_CROPS)]
    long = [name for name in ids if name.startswith("clip2#")]
    assert [float(name.partition("#")[2]) for name in long] == list(np.arange(0, 20, 0.5))
    first = next(iter(stream.read(0, 1, StreamPosition())))[0]
    assert first.waveform.dtype == np.float32 and len(first.waveform) <= RATE // 2


def test_every_pass_has_every_crop_once_in_another_order(clips):
    given = names(stream_of(clips), 3 * NUM_CROPS)
    passes = [[name for epoch, name in given if epoch == number] for number in range(3)]
    assert [epoch for epoch, _ in given] == [0] * NUM_CROPS + [1] * NUM_CROPS + [2] * NUM_CROPS
    assert all(Counter(one) == Counter(passes[0]) and len(set(one)) == NUM_CROPS for one in passes)
    assert passes[0] != passes[1] != passes[2]
    assert names(stream_of(clips, seed=1), NUM_CROPS) != given[:NUM_CROPS]


def test_readers_share_the_shards_of_a_pass(clips):
    stream = stream_of(clips)
    given = [names(stream, 4 * NUM_CROPS, (reader, 3)) for reader in range(3)]
    for epoch in range(2):
        of_pass = Counter(name for one in given for number, name in one if number == epoch)
        assert len(of_pass) == NUM_CROPS and set(of_pass.values()) == {1}


@pytest.mark.parametrize("block_size", [1, 4, 100])
def test_a_stream_goes_on_from_any_position(clips, block_size):
    stream = stream_of(clips, block_size)
    whole = list(islice(stream.read(1, 2, StreamPosition()), 90))
    for taken in (1, 5, 37, 38, 60, 89):
        position = StreamPosition.from_list(whole[taken - 1][1].to_list())
        crop, after = next(stream.read(1, 2, position))
        assert (crop.epoch, crop.id, after) == (whole[taken][0].epoch, whole[taken][0].id, whole[taken][1])
        np.testing.assert_array_equal(crop.waveform, whole[taken][0].waveform)


def test_a_position_costs_no_more_than_its_block(clips):
    opened = []
    stream = stream_of(clips, block_size=2)
    place = Place(epoch=5, shard=3)
    original = stream.shards.open_shard
    object.__setattr__(stream.shards, "open_shard", lambda number: opened.append(number) or original(number))
    next(stream.read(0, 1, StreamPosition(place)))
    assert len(opened) == 1


def test_neighbours_are_shuffled_in_blocks():
    stream = stream_of([clip(f"clip{index}", 0.5) for index in range(40)], block_size=10, clips_per_shard=40)
    numbers = [int(name.removeprefix("clip")) for _, name in names(stream, 40)]
    for block in range(4):
        part = numbers[10 * block : 10 * block + 10]
        assert sorted(part) == list(range(10 * block, 10 * block + 10)) and part != sorted(part)


def test_what_cannot_be_read_is_left_out_up_to_a_share(clips, tmp_path, caplog):
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    soundfile.write(tmp_path / "silent.wav", np.zeros(4000), RATE)
    bad = [ListedClip(name, str(tmp_path / f"{name}.wav")) for name in ("broken", "silent")]
    assert {name for _, name in names(stream_of([*bad, clips[0]]), 3)} == {"clip0"}
    assert "broken.wav is left out" in caplog.text and "silent" not in caplog.text
    with pytest.raises(ValueError, match="no clip of 1 shards can be used"):
        names(stream_of(bad), 1)
    many = [clip(f"clip{index}", 0.1) for index in range(20)]
    stream = stream_of([*many, bad[0]], block_size=1, clips_per_shard=21)
    with pytest.raises(ValueError, match="`max_rejected_share` allows 1.0%"):
        names(stream, 2000)
