"""Clips as audio: the same clips as encoding gives, from headers alone, decoded when they are asked for."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset, Features, Value
from torch.utils.data import DataLoader

from audioformer.data import ReadingSettings, encode_listing, list_audio_clips, read_listing
from audioformer.data.listing import Listing
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_CODEC

RATE = 8000
SETTINGS = ReadingSettings(max_length_s=1.0)


def list_sounds(folder: Path, lengths_s=(0.4, 2.7, 1.0, 3.2), broken: int = 0) -> Listing:
    """A manifest of noise of two classes with splits, folds and groups, and of files that are not audio."""
    folder.mkdir(exist_ok=True)
    rows = ["path,label,split,fold,group"]
    for index, seconds in enumerate(lengths_s):
        samples = 0.1 * np.random.default_rng(index).standard_normal(round(seconds * RATE))
        soundfile.write(folder / f"{index}.wav", samples, RATE, subtype="FLOAT")
        rows.append(f"{index}.wav,{'xy'[index % 2]},{'train' if index else 'test'},{index % 3},{'g' * (index == 3)}")
    for index in range(broken):
        (folder / f"broken{index}.wav").write_text("not audio")
        rows.append(f"broken{index}.wav,x,train,0,")
    (folder / "list.csv").write_text("\n".join(rows) + "\n")
    return read_listing(folder / "list.csv")


def test_clips_are_those_that_encoding_gives(tmp_path):
    listing = list_sounds(tmp_path / "sounds", broken=1)
    clips = list_audio_clips(listing, SETTINGS, max_rejected_share=0.5, num_threads=2)
    extractor = AudioFormerFeatureExtractor(codec=str(TINY_CODEC))
    encoded = encode_listing(listing, extractor, tmp_path / "cache", SETTINGS, max_rejected_share=0.5, progress=False)
    names = [name for name in encoded.dataset.column_names if name not in ("codes", "n_frames")]
    assert clips.dataset.select_columns(names).to_list() == encoded.dataset.select_columns(names).to_list()
    assert clips.report == encoded.report
    assert clips.report.rejected[0]["path"] == "broken0.wav" and clips.report.rejected_counts == {"unreadable": 1}
    assert clips.targets.tolist() == encoded.targets.tolist() and clips.groups == encoded.groups
    assert (
        clips.ids
        == encoded.ids
        == ["0.wav", "1.wav#0", "1.wav#1", "1.wav#1.7", "2.wav", "3.wav#0", "3.wav#1", "3.wav#2", "3.wav#2.2"]
    )
    assert clips.groups == [None, "1.wav", "1.wav", "1.wav", None, "g", "g", "g", "g"]


def test_a_clip_is_decoded_when_it_is_read(tmp_path):
    listing = list_sounds(tmp_path / "sounds")
    clips = list_audio_clips(listing, SETTINGS)
    samples, _ = soundfile.read(tmp_path / "sounds" / "1.wav", dtype="float32")
    np.testing.assert_array_equal(clips.read(2, RATE), samples[RATE : 2 * RATE])
    np.testing.assert_array_equal(clips.read(3, RATE), samples[-RATE:])
    assert len(clips.read(3, 16000)) == 16000
    some = clips.select([6, 2])
    assert len(some) == 2 and some.ids == ["3.wav#1", "1.wav#1"]
    np.testing.assert_array_equal(some.read(1, RATE), clips.read(2, RATE))
    (tmp_path / "sounds" / "1.wav").write_text("not audio any more")
    with pytest.raises(ValueError, match="1.wav#1: "):
        clips.read(2, RATE)


class Waveforms:
    """What a `DataLoader` hands to its workers."""

    def __init__(self, clips):
        self.clips = clips

    def __len__(self):
        return len(self.clips)

    def __getitem__(self, index):
        return self.clips.read(index, RATE)


def test_workers_read_clips(tmp_path):
    clips = list_audio_clips(list_sounds(tmp_path / "sounds"), SETTINGS).select([5, 0, 3])
    copy = pickle.loads(pickle.dumps(clips))
    assert copy.ids == clips.ids and copy.report == clips.report
    loader = DataLoader(
        Waveforms(clips), batch_size=None, num_workers=1, multiprocessing_context="spawn", collate_fn=np.asarray
    )
    for index, waveform in enumerate(loader):
        np.testing.assert_array_equal(waveform, clips.read(index, RATE))
        np.testing.assert_array_equal(waveform, copy.read(index, RATE))


def test_long_clips_are_cut_if_asked_for(tmp_path):
    clips = list_audio_clips(list_sounds(tmp_path / "sounds"), ReadingSettings(max_length_s=1.0, long_files="cut"))
    assert clips.ids == ["0.wav", "1.wav", "2.wav", "3.wav"] and clips.report.truncated == 2
    assert [len(clips.read(index, RATE)) for index in range(4)] == [3200, 8000, 8000, 8000]


def test_labels_of_a_model_can_be_more(tmp_path):
    clips = list_audio_clips(list_sounds(tmp_path / "sounds", (0.4, 0.4)), SETTINGS)
    assert clips.with_labels(["z", "y", "x"]).targets.tolist() == [2, 1]
    assert clips.with_labels(["x", "y"], multi_label=True).targets.tolist() == [[1, 0], [0, 1]]
    assert clips.with_labels(["x", "y"]).read(0, RATE).shape == (3200,)


def test_a_data_set_of_bytes_is_read_row_by_row(tmp_path):
    listing = list_sounds(tmp_path / "sounds", (0.4, 2.7))
    rows = [
        {"audio": {"bytes": Path(str(clip.audio)).read_bytes(), "path": None}, "label": clip.labels[0]}
        for clip in listing.clips
    ]
    features = Features({"audio": {"bytes": Value("binary"), "path": Value("string")}, "label": Value("string")})
    table = Dataset.from_list(rows, features=features).cast_column("audio", Audio())
    (tmp_path / "parquet").mkdir()
    table.to_parquet(tmp_path / "parquet" / "train-00000.parquet")
    clips = list_audio_clips(read_listing(tmp_path / "parquet"), SETTINGS)
    expected = list_audio_clips(listing, SETTINGS)
    assert clips.ids == ["train/0", "train/1#0", "train/1#1", "train/1#1.7"]
    for index in range(4):
        np.testing.assert_array_equal(clips.read(index, RATE), expected.read(index, RATE))


def test_too_many_unreadable_clips_are_an_error_that_lists_them(tmp_path):
    listing = list_sounds(tmp_path / "sounds", (0.4,) * 8, broken=2)
    assert len(list_audio_clips(listing, max_rejected_share=0.2)) == 8
    with pytest.raises(ValueError, match=r"(?s)2 of 10 clips cannot be read; .* allows 10.0%.*broken0.*broken1"):
        list_audio_clips(listing, max_rejected_share=0.1)
    with pytest.raises(ValueError, match=r"(?s)None of the 8 clips can be used.*longer than 0.1 s"):
        list_audio_clips(list_sounds(tmp_path / "sounds", (0.4,) * 8), ReadingSettings(max_duration_s=0.1))


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"max_rejected_share": 2}, r"`max_rejected_share` must be in \[0, 1\], got 2"),
        ({"num_threads": 0}, "`num_threads` must be at least 1, got 0"),
    ],
)
def test_wrong_settings_are_named(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        list_audio_clips(list_sounds(tmp_path / "sounds", (0.4,)), **wrong)
