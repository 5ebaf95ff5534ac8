"""Each layout in a small copy of its own, with the names and columns of the real one."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, List, Value

from audioformer.data.audio import list_audio_clips
from audioformer.data.readers import LAYOUTS, read_listing
from audioformer.data.readers.audioset import index_by_id


def tone(path: Path, duration_s: float = 0.02, rate: int = 8000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.sin(np.arange(round(duration_s * rate)) * 0.3), rate)
    return path


HEAD = "# Segments csv\n# num_ytids=2\n# YTID, start_seconds, end_seconds, positive_labels\n"


@pytest.fixture
def audioset(tmp_path) -> Path:
    (tmp_path / "class_labels_indices.csv").write_text(
        'index,mid,display_name\n0,/m/09x0r,"Speech"\n1,/m/05zppz,"Male speech, man speaking"\n'
        '2,/m/0dgw9r,"Human sounds"\n'
    )
    (tmp_path / "balanced_train_segments.csv").write_text(
        HEAD + '--PJHxphWEs, 30.000, 40.000, "/m/09x0r,/m/05zppz"\nYvGi5dEFksE, 0.000, 10.000, "/m/0dgw9r"\n'
        '_aaaaaaaaa_, 5.500, 15.500, "/m/09x0r"\n'
    )
    (tmp_path / "unbalanced_train_segments.csv").write_text(HEAD + 'goneforever, 1.000, 11.000, "/m/09x0r"\n')
    (tmp_path / "eval_segments.csv").write_text(
        HEAD + 'evalclip001, 20.000, 30.000, "/m/0dgw9r"\nevalclip001, 70.000, 80.000, "/m/09x0r"\n'
    )
    tone(tmp_path / "audio" / "balanced" / "Y--PJHxphWEs.wav")
    tone(tmp_path / "audio" / "balanced" / "YvGi5dEFksE.wav")
    tone(tmp_path / "audio" / "_aaaaaaaaa__5.500.flac")
    tone(tmp_path / "audio" / "eval" / "Yevalclip001_20.000_30.000.wav")
    tone(tmp_path / "audio" / "eval" / "evalclip001_70.000_80.000.wav")
    return tmp_path


def test_audioset(audioset):
    listing = read_listing(audioset)
    assert listing.layout == "audioset" and listing.multi_label
    assert listing.labels == ["Speech", "Male speech, man speaking", "Human sounds"]
    assert listing.label_ids["Human sounds"] == "/m/0dgw9r"
    assert listing.missing == ["goneforever_1.000_11.000"]
    found = {clip.id: (Path(clip.audio).name, clip.labels, clip.split) for clip in listing.clips}
    assert found == {
        "--PJHxphWEs_30.000_40.000": (
            "Y--PJHxphWEs.wav",
            ("Speech", "Male speech, man speaking"),
            "balanced_train",
        ),
        "YvGi5dEFksE_0.000_10.000": ("YvGi5dEFksE.wav", ("Human sounds",), "balanced_train"),
        "_aaaaaaaaa__5.500_15.500": ("_aaaaaaaaa__5.500.flac", ("Speech",), "balanced_train"),
        "evalclip001_20.000_30.000": ("Yevalclip001_20.000_30.000.wav", ("Human sounds",), "eval"),
        "evalclip001_70.000_80.000": ("evalclip001_70.000_80.000.wav", ("Speech",), "eval"),
    }


def test_audioset_names_a_class_that_the_list_lacks(audioset):
    (audioset / "eval_segments.csv").write_text(HEAD + 'evalclip001, 20.000, 30.000, "/m/unknown"\n')
    with pytest.raises(ValueError, match="evalclip001.*/m/unknown"):
        read_listing(audioset)


def test_audioset_names_a_broken_segment(audioset):
    (audioset / "eval_segments.csv").write_text(HEAD + "evalclip001, twenty, 30.000, x\n")
    with pytest.raises(ValueError, match="segment 1.*twenty"):
        read_listing(audioset)


@pytest.mark.parametrize("name", ["abcdefghijk", "Yabcdefghij", "_bcdefghi_k", "abc_1234567"])
@pytest.mark.parametrize("pattern", ["{}.wav", "Y{}.wav", "{}_30.000.wav", "{}_30.000_40.000.wav", "Y{}_30_40.wav"])
def test_youtube_ids_are_found_in_every_spelling(tmp_path, name, pattern):
    tone(tmp_path / pattern.format(name))
    assert name in index_by_id(tmp_path)


def test_fsd50k(tmp_path):
    truth = tmp_path / "FSD50K.ground_truth"
    truth.mkdir()
    (truth / "vocabulary.csv").write_text("0,Bark,/m/05tny_\n1,Dog,/m/0bt9lr\n2,Rain,/m/06mb1\n")
    (truth / "dev.csv").write_text(
        'fname,labels,mids,split\n64760,"Bark,Dog","/m/05tny_,/m/0bt9lr",train\n16399,Rain,/m/06mb1,val\n9,Rain,/m/06mb1,train\n'
    )
    (truth / "eval.csv").write_text("fname,labels,mids\n37199,Rain,/m/06mb1\n")
    for name in ("FSD50K.dev_audio/64760", "FSD50K.dev_audio/16399", "FSD50K.eval_audio/37199"):
        tone(tmp_path / f"{name}.wav")
    listing = read_listing(tmp_path, max_missing_share=1)
    assert listing.layout == "fsd50k" and listing.labels == ["Bark", "Dog", "Rain"]
    assert [(clip.id, clip.labels, clip.split) for clip in listing.clips] == [
        ("dev/64760", ("Bark", "Dog"), "train"),
        ("dev/16399", ("Rain",), "validation"),
        ("eval/37199", ("Rain",), "test"),
    ]
    assert listing.missing == ["dev/9"] and listing.label_ids["Bark"] == "/m/05tny_"


def test_openmic(tmp_path):
    (tmp_path / "partitions").mkdir()
    (tmp_path / "openmic-2018-aggregated-labels.csv").write_text(
        "sample_key,instrument,relevance,num_responses\n000046_3840,clarinet,0.17105,3\n000046_3840,flute,0.5,3\n"
        "000135_483840,voice,1.0,3\n071826_0,drums,0.9,3\n"
    )
    (tmp_path / "partitions" / "split01_train.csv").write_text("000046_3840\n071826_0\n")
    (tmp_path / "partitions" / "split01_test.csv").write_text("000135_483840\n")
    for key in ("000046_3840", "000135_483840"):
        file = tmp_path / "audio" / key[:3] / f"{key}.ogg"
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, np.sin(np.arange(8000)), 16000)
    listing = read_listing(tmp_path, max_missing_share=1)
    assert listing.layout == "openmic" and listing.labels == ["clarinet", "drums", "flute", "voice"]
    assert listing.multi_label and listing.partly_judged and listing.missing == ["071826_0"]
    assert [(clip.id, clip.labels, clip.judged, clip.split) for clip in listing.clips] == [
        ("000046_3840", ("flute",), ("clarinet", "flute"), "train"),
        ("000135_483840", ("voice",), ("voice",), "test"),
    ]
    with (tmp_path / "openmic-2018-aggregated-labels.csv").open("a") as table:
        table.write("000135_483840,flute,yes,3\n")
    with pytest.raises(ValueError, match="row 5: `relevance` must be a number from 0 to 1, got 'yes'"):
        read_listing(tmp_path, max_missing_share=1)


def test_a_manifest_may_say_which_classes_were_judged(tmp_path):
    for name in "abc":
        tone(tmp_path / f"{name}.wav")
    file = tmp_path / "list.csv"
    file.write_text("path,labels,judged\na.wav,dog,dog;cat\nb.wav,,owl\nc.wav,cat,\n")
    listing = read_listing(file)
    assert listing.partly_judged and listing.multi_label and listing.labels == ["cat", "dog", "owl"]
    assert [clip.judged for clip in listing.clips] == [("dog", "cat"), ("owl",), None]
    clips = list_audio_clips(listing, progress=False)
    assert clips.targets.tolist() == [[0, 1, -1], [-1, -1, 0], [1, 0, 0]]
    more = clips.with_labels(["owl", "fox", "dog", "cat"])
    assert more.targets.tolist() == [[-1, -1, 1, 0], [0, -1, -1, -1], [0, 0, 0, 1]]
    file.write_text(file.read_text().replace("dog;cat", "dog"))
    assert list_audio_clips(read_listing(file), progress=False).digest != clips.digest
    file.write_text("path,labels,judged\na.wav,dog,cat\n")
    with pytest.raises(ValueError, match="row 1: `judged` must name all labels of the clip, 'dog' is not in 'cat'"):
        read_listing(file)


def test_esc50(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta" / "esc50.csv").write_text(
        "filename,fold,target,category,esc10,src_file,take\n1-1-A-9.wav,1,9,zebra,True,1,A\n"
        "2-7-A-0.wav,2,0,dog,True,7,A\n2-7-B-0.wav,2,0,dog,True,7,B\n3-9-A-0.wav,3,0,dog,True,9,A\n"
    )
    for name in ("1-1-A-9", "2-7-A-0", "2-7-B-0"):
        tone(tmp_path / "audio" / f"{name}.wav")
    listing = read_listing(tmp_path, max_missing_share=1)
    assert listing.labels == ["dog", "zebra"]  # by target, not by name
    assert [(clip.fold, clip.group) for clip in listing.clips] == [(1, "1"), (2, "7"), (2, "7")]
    assert listing.missing == ["3-9-A-0.wav"]


def test_speech_commands(tmp_path):
    for name in ("yes/a1_nohash_0", "yes/a1_nohash_1", "no/b2_nohash_0", "_background_noise_/hum"):
        tone(tmp_path / f"{name}.wav")
    (tmp_path / "validation_list.txt").write_text("yes/a1_nohash_1.wav\n")
    (tmp_path / "testing_list.txt").write_text("no/b2_nohash_0.wav\nno/zz_nohash_9.wav\n")
    listing = read_listing(tmp_path, max_missing_share=1)
    assert listing.labels == ["no", "yes"] and not listing.multi_label
    assert {clip.id: (clip.split, clip.group) for clip in listing.clips} == {
        "no/b2_nohash_0": ("test", "b2"),
        "yes/a1_nohash_0": ("train", "a1"),
        "yes/a1_nohash_1": ("validation", "a1"),
    }
    assert listing.missing == ["no/zz_nohash_9.wav"]


def test_folders_of_classes_with_and_without_splits(tmp_path):
    for name in ("train/dog/1", "train/cat/2", "valid/dog/3", "test/cat/4"):
        tone(tmp_path / "a" / f"{name}.wav")
        tone(tmp_path / "b" / f"{name.split('/', 1)[1]}.wav")
    split = read_listing(tmp_path / "a")
    assert {clip.id: clip.split for clip in split.clips}["valid/dog/3.wav"] == "validation"
    assert split.labels == read_listing(tmp_path / "b").labels == ["cat", "dog"]
    assert all(clip.split is None for clip in read_listing(tmp_path / "b").clips)
    tone(tmp_path / "b" / "stray.wav")
    with pytest.raises(ValueError, match="stray.wav must be in the folder of its class"):
        read_listing(tmp_path / "b")


def test_csv_manifest(tmp_path):
    tone(tmp_path / "x" / "1.wav")
    tone(tmp_path / "x" / "2.wav")
    (tmp_path / "list.csv").write_text(
        "path,labels,fold,split,start_s,end_s\nx/1.wav,dog; rain,1,train,0.005,0.01\nx/2.wav,rain,2,test,,\n"
        "x/3.wav,dog,2,,,\n"
    )
    listing = read_listing(tmp_path / "list.csv", max_missing_share=1)
    first, second = listing.clips
    assert first.labels == ("dog", "rain") and (first.start_s, first.end_s, first.fold) == (0.005, 0.01, 1)
    assert second.start_s is None and second.split == "test"
    assert listing.multi_label and listing.missing == ["x/3.wav"] and listing.labels == ["dog", "rain"]


@pytest.mark.parametrize("lines", [False, True])
def test_json_manifest(tmp_path, lines):
    tone(tmp_path / "1.wav")
    rows = [{"file": "1.wav", "label": ["b", "a"], "id": "one", "group": 7}]
    text = "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows)
    path = tmp_path / ("list.jsonl" if lines else "list.json")
    path.write_text(text)
    (clip,) = read_listing(path).clips
    assert (clip.id, clip.labels, clip.group) == ("one", ("b", "a"), "7")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sound,label\n1.wav,dog\n", "one of the columns.*'path'.*it has.*sound"),
        ("path,label\n1.wav,dog\n1.wav,cat\n", "row 2.*'1.wav'.*taken"),
        ("path,label,fold\n1.wav,dog,first\n", "row 1.*`fold`.*'first'"),
        ("path,label\n2.wav,dog\n", "none of the 1 listed clips has a file"),
    ],
)
def test_mistakes_in_a_manifest_are_named(tmp_path, text, message):
    tone(tmp_path / "1.wav")
    (tmp_path / "list.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_listing(tmp_path / "list.csv")


def dataset(tmp_path, several: bool) -> Dataset:
    label = ClassLabel(names=["cat", "dog"])
    audio_type = {"bytes": Value("binary"), "path": Value("string")}
    features = Features({"audio": audio_type, "label": List(label) if several else label, "id": Value("string")})
    audio = [{"bytes": tone(tmp_path / f"{index}.wav").read_bytes(), "path": None} for index in range(3)]
    labels = [[0, 1], [1], []] if several else [0, 1, 1]
    table = Dataset.from_dict({"audio": audio, "label": labels, "id": ["a", "b", "c"]}, features=features)
    return table.cast_column("audio", Audio())


@pytest.mark.parametrize("several", [False, True])
def test_datasets_from_disk(tmp_path, several):
    DatasetDict({"train": dataset(tmp_path, several), "test": dataset(tmp_path, several)}).save_to_disk(tmp_path / "d")
    listing = read_listing(tmp_path / "d")
    assert listing.labels == ["cat", "dog"] and listing.multi_label is several and len(listing.clips) == 6
    expected = [("cat", "dog"), ("dog",), ()] if several else [("cat",), ("dog",), ("dog",)]
    assert [clip.labels for clip in listing.clips][:3] == expected
    assert [clip.split for clip in listing.clips] == ["train"] * 3 + ["test"] * 3
    assert listing.clips[1].audio["bytes"][:4] == b"RIFF"


def test_datasets_from_parquet_with_names_as_labels(tmp_path):
    table = dataset(tmp_path, False).remove_columns("label").add_column("sound", ["b", "a", "b"])
    (tmp_path / "p").mkdir()
    table.to_parquet(tmp_path / "p" / "train-00000.parquet")
    listing = read_listing(tmp_path / "p", label_column="sound")
    assert listing.labels == ["a", "b"] and [clip.labels for clip in listing.clips] == [("b",), ("a",), ("b",)]
    with pytest.raises(ValueError, match="`label_column` 'label'.*sound"):
        read_listing(tmp_path / "p")


def test_what_is_no_data_set_is_told_with_what_was_looked_for(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        read_listing(tmp_path / "nothing")
    with pytest.raises(ValueError, match=r"No audio to use|CLASS/FILE"):
        read_listing(tmp_path)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ValueError, match="no known layout.*meta/esc50.csv"):
        read_listing(tmp_path / "notes.txt")
    with pytest.raises(ValueError, match=f"`layout` must be 'auto' or one of.*{list(LAYOUTS)[0]}"):
        read_listing(tmp_path, layout="esc5")
