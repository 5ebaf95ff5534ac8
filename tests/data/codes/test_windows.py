"""Long files become windows with the codes of the cut-out audio; what cannot be used is told with its reason."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from audioformer.data.audio.clip_reading import WINDOWS_AT_ONCE, read_clip
from audioformer.data.codes import EncodingSettings, encode_shards, shards_of_listing
from audioformer.data.codes.encoded import load_codes
from audioformer.data.codes.read_ahead import read_ahead
from audioformer.data.listing import ListedClip, Listing
from audioformer.data.readers import read_listing
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_CODEC

RATE = 24000
WINDOWS = EncodingSettings(max_length_s=1.0, long_files="windows", keep_silent=False, clips_per_shard=4)


def write_noise(path, seconds: float, rate: int = RATE, **options) -> np.ndarray:
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * rate)).astype(np.float32)
    soundfile.write(path, samples, rate, subtype="FLOAT", **options)
    return samples


def encode_folder(folder, output, settings: EncodingSettings = WINDOWS, **options):
    extractor = AudioFormerFeatureExtractor(codec=str(TINY_CODEC))
    shards = shards_of_listing(read_listing(folder, "audio_files"), settings.clips_per_shard)
    assert encode_shards(shards, extractor, output, settings, progress=False, **options) == 0
    return load_codes(output)


def test_windows_have_the_codes_of_what_was_cut_out(tmp_path):
    (tmp_path / "sounds").mkdir()
    samples = write_noise(tmp_path / "sounds" / "long.wav", 6.7)
    short = write_noise(tmp_path / "sounds" / "short.wav", 0.4)
    data = encode_folder(tmp_path / "sounds", tmp_path / "codes")
    starts = [0, 1, 2, 3, 4, 5, 5.7]
    assert data.dataset["id"][:] == [*(f"long.wav#{start:g}" for start in starts), "short.wav"]
    assert data.dataset["group"][:] == ["long.wav"] * len(starts) + [None]
    assert data.dataset["duration_s"][:] == pytest.approx([1.0] * 7 + [0.4])
    extractor = AudioFormerFeatureExtractor(codec=str(TINY_CODEC), codebooks=[0, 1, 2, 3])
    cut = [samples[round(start * RATE) :][:RATE] for start in starts]
    for codes, waveform in zip(data.codes, [*cut, short], strict=True):
        ids = np.asarray(extractor(waveform, sampling_rate=RATE)["input_ids"][0])
        # Neighbours in a batch may turn a tie of two entries, no more.
        assert (ids[1:-1] == codes.T + 3).mean() > 0.99


def test_windows_of_a_clip_stay_in_its_group(tmp_path):
    """A speaker or a recording is never divided, and so are its windows; a clip without a group is one of its own."""
    listing = Listing(
        name="takes",
        layout="samples",
        source=str(tmp_path),
        clips=[
            ListedClip(name, str(tmp_path / f"{name}.wav"), group=group)
            for name, group in (("long", "speaker 1"), ("short", "speaker 1"), ("alone", None))
        ],
        labels=[],
        multi_label=False,
    )
    for name, seconds in (("long", 2.0), ("short", 0.5), ("alone", 2.0)):
        write_noise(tmp_path / f"{name}.wav", seconds)
    shards = shards_of_listing(listing, WINDOWS.clips_per_shard)
    extractor = AudioFormerFeatureExtractor(codec=str(TINY_CODEC))
    assert encode_shards(shards, extractor, tmp_path / "codes", WINDOWS, progress=False) == 0
    data = load_codes(tmp_path / "codes").dataset
    assert dict(zip(data["id"][:], data["group"][:], strict=True)) == {
        **dict.fromkeys(("long#0", "long#1", "short"), "speaker 1"),
        **dict.fromkeys(("alone#0", "alone#1"), "alone"),
    }


def test_a_file_of_codes_ends_when_it_has_as_many_windows_as_a_shard_has_clips(tmp_path):
    (tmp_path / "sounds").mkdir()
    for name, seconds in (("a", 2.0), ("b", 2.0), ("c", 3.0), ("d", 3.0)):
        write_noise(tmp_path / "sounds" / f"{name}.wav", seconds)
    encode_folder(tmp_path / "sounds", tmp_path / "codes")
    rows = [pq.read_metadata(path).num_rows for path in sorted((tmp_path / "codes").glob("codes-*"))]
    assert rows == [4, 6]


@pytest.mark.parametrize("seconds, expected", [(2.05, ["a#0", "a#1"]), (2.4, ["a#0", "a#1", "a#1.4"]), (1.0, ["a"])])
def test_a_short_rest_is_left_out(tmp_path, seconds, expected):
    write_noise(tmp_path / "a.wav", seconds)
    read, following = read_clip(ListedClip("a", str(tmp_path / "a.wav")), RATE, WINDOWS)
    assert [clip.id for clip in read] == expected and following is None


def test_windows_of_a_part_of_a_file_and_of_another_rate(tmp_path):
    samples = write_noise(tmp_path / "a.wav", 5.0, rate=8000)
    clip = ListedClip("a", str(tmp_path / "a.wav"), start_s=1.25, end_s=3.25)
    read, _ = read_clip(clip, 8000, WINDOWS)
    assert [window.id for window in read] == ["a#1.25", "a#2.25"]
    assert np.array_equal(read[1].waveform, samples[18000:26000]) and read[1].sampling_rate == 8000
    resampled, _ = read_clip(clip, RATE, WINDOWS)
    assert [len(window.waveform) for window in resampled] == [RATE, RATE]


def test_a_long_file_is_read_in_parts_in_order(tmp_path):
    samples = write_noise(tmp_path / "long.wav", 70.0, rate=1000)
    write_noise(tmp_path / "short.wav", 0.5, rate=1000)
    clips = [ListedClip(name, str(tmp_path / f"{name}.wav")) for name in ("short", "long", "short", "gone")]
    with ThreadPoolExecutor(2) as pool:
        parts = list(read_ahead(clips, pool, 2, 1000, WINDOWS))
    assert [len(part.clips) for part in parts] == [1, WINDOWS_AT_ONCE, WINDOWS_AT_ONCE, 70 - 2 * WINDOWS_AT_ONCE, 1, 1]
    assert [part.is_whole for part in parts] == [True, False, False, True, True, True]
    assert [part.is_last for part in parts] == [False] * 5 + [True]
    windows = [clip.waveform for part in parts[1:4] for clip in part.clips]
    assert np.array_equal(np.concatenate(windows), samples)
    assert parts[-1].clips[0].rejection["kind"] == "unreadable"


def test_what_is_left_out_is_listed_with_its_kind(tmp_path):
    folder = tmp_path / "sounds"
    (folder / "deep" / "er").mkdir(parents=True)
    samples = write_noise(folder / "deep" / "er" / "good.wav", 3.0)
    samples[RATE : 2 * RATE] = 0
    soundfile.write(folder / "hole.flac", samples, RATE)
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(folder / "empty.wav", np.zeros(0), RATE)
    write_noise(folder / "long.wav", 8.0)
    (folder / "broken.wav").write_bytes(b"RIFF, or not")
    settings = EncodingSettings(
        max_length_s=1.0, long_files="windows", keep_silent=False, max_duration_s=5.0, max_rejected_share=0.4
    )
    data = encode_folder(folder, tmp_path / "codes", settings)
    assert data.dataset["id"][:] == [
        *(f"deep/er/good.wav#{start}" for start in range(3)),
        *("hole.flac#0", "hole.flac#2"),
    ]
    lines = [json.loads(line) for line in (tmp_path / "codes" / "rejected.jsonl").read_text().splitlines()]
    assert {(line["id"], line["kind"]) for line in lines} == {
        ("broken.wav", "unreadable"),
        ("empty.wav", "empty"),
        ("hole.flac#1", "silent"),
        ("long.wav", "too long"),
        ("silent.wav", "silent"),
    }
    # Nothing of the machine's folders goes where the codes go.
    assert not any(str(tmp_path) in path.read_text() for path in (tmp_path / "codes").glob("*.json*"))
    assert data.report.rejected_counts == {"empty": 1, "silent": 2, "too long": 1, "unreadable": 1}
    assert "5 windows and clips of 6 listed" in data.report.to_text() and "2 silent" in data.report.to_text()


def test_silence_that_was_asked_for_does_not_stop_a_run_and_unreadable_files_do(tmp_path):
    folder = tmp_path / "sounds"
    folder.mkdir()
    for index in range(4):
        soundfile.write(folder / f"{index}.wav", np.zeros(RATE), RATE)
    write_noise(folder / "4.wav", 0.5)
    assert len(encode_folder(folder, tmp_path / "codes")) == 1
    (folder / "3.wav").write_text("no audio")
    with pytest.raises(ValueError, match=r"1 of 5 clips cannot be read.*1.0%.*\n.*3.wav"):
        encode_folder(folder, tmp_path / "other")
    assert len((tmp_path / "other" / "rejected.jsonl").read_text().splitlines()) == 1
    for name in ("3.wav", "4.wav"):
        (folder / name).unlink()
    with pytest.raises(ValueError, match="None of the 3 clips was encoded"):
        encode_folder(folder, tmp_path / "nothing")


def test_cut_keeps_the_beginning(tmp_path):
    (tmp_path / "sounds").mkdir()
    write_noise(tmp_path / "sounds" / "a.wav", 2.0)
    data = encode_folder(tmp_path / "sounds", tmp_path / "codes", EncodingSettings(max_length_s=0.5, long_files="cut"))
    assert data.dataset["id"][:] == ["a.wav"] and data.codes[0].shape == (4, 38)
    assert data.dataset["duration_s"][0] == 2.0 and data.report.truncated == 1


def test_two_channels_and_compressed_files(tmp_path):
    noise = 0.1 * np.random.default_rng(0).standard_normal((RATE * 2, 2))
    for name in ("a.flac", "a.ogg", "a.mp3"):
        soundfile.write(tmp_path / name, noise, RATE)
        read, _ = read_clip(ListedClip(name, str(tmp_path / name)), RATE, WINDOWS)
        whole, _ = soundfile.read(tmp_path / name, dtype="float32")
        mono = whole.mean(axis=1)
        assert [clip.id for clip in read][:2] == [f"{name}#0", f"{name}#1"]
        for number, clip in enumerate(read[:2]):
            expected = mono[number * RATE : (number + 1) * RATE]
            np.testing.assert_allclose(clip.waveform, expected, atol=1e-6, err_msg=name)


def test_wrong_settings_are_named():
    for wrong, message in (
        ({"num_codebooks": 0}, "`num_codebooks` must be at least 1, got 0"),
        ({"max_length_s": 0.0}, "`max_length_s` must be more than 0 seconds, got 0.0"),
        ({"long_files": "drop"}, "`long_files` must be 'windows' or 'cut', got 'drop'"),
        ({"max_rejected_share": 1.5}, r"`max_rejected_share` must be in \[0, 1\], got 1.5"),
    ):
        with pytest.raises(ValueError, match=message):
            EncodingSettings(**wrong)


def test_a_listing_of_samples_needs_no_files(tmp_path):
    clips = [ListedClip("a", {"array": np.zeros(RATE, np.float32) + 0.1, "sampling_rate": RATE}, ("x",))]
    listing = Listing("memory", "datasets", "memory", clips, ["x"], False)
    extractor = AudioFormerFeatureExtractor(codec=str(TINY_CODEC))
    encode_shards(shards_of_listing(listing, 4), extractor, tmp_path, WINDOWS, progress=False)
    assert load_codes(tmp_path).codes[0].shape == (4, 75)
