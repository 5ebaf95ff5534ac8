"""Saving, loading, copying and pickling: the codec stays available, pickles do not contain its weights."""

import copy
import json
import os
import pickle
import shutil
import subprocess
import sys

import datasets
import numpy as np
import pytest
import torch
from datasets.fingerprint import Hasher
from torch.utils.data import DataLoader, Dataset
from transformers import AutoFeatureExtractor, EncodecModel
from transformers.testing_utils import check_json_file_has_correct_format

import audioformer  # noqa: F401  (registers the classes, so that saving carries the code)
from audioformer.feature_extraction import AudioFormerFeatureExtractor

from .common import make_clip

RATE = 24000
CLIP = make_clip(4000)


def ids_of(extractor):
    return extractor(CLIP, sampling_rate=RATE)["input_ids"].tolist()


@pytest.fixture
def expected(extractor):
    return ids_of(extractor)


@pytest.fixture
def codec_folder(codec, tmp_path):
    codec.save_pretrained(tmp_path / "a codec")
    return tmp_path / "a codec"


@pytest.mark.parametrize("load", [AudioFormerFeatureExtractor.from_pretrained, AutoFeatureExtractor.from_pretrained])
@pytest.mark.parametrize("kind", ["loaded", "folder"])
def test_a_loaded_or_local_codec_is_saved_with_the_extractor(codec, codec_folder, tmp_path, kind, load, expected):
    extractor = AudioFormerFeatureExtractor(codec=codec if kind == "loaded" else codec_folder)
    [json_file] = extractor.save_pretrained(tmp_path / "saved")
    check_json_file_has_correct_format(json_file)
    shutil.rmtree(codec_folder)
    # Neither the location of the codec nor that of the extractor may be stored.
    shutil.move(tmp_path / "saved", tmp_path / "moved")
    loaded = load(tmp_path / "moved")
    assert type(loaded) is AudioFormerFeatureExtractor
    assert ids_of(loaded) == expected
    loaded.save_pretrained(tmp_path / "again")
    assert ids_of(load(tmp_path / "again")) == expected
    assert loaded.to_dict() == load(tmp_path / "again").to_dict()


def test_json_is_small_and_plain_and_contains_no_path(codec_folder, tmp_path):
    extractor = AudioFormerFeatureExtractor(codec=codec_folder, codebooks=[0, 2])
    extractor(CLIP, sampling_rate=RATE)
    extractor.save_pretrained(tmp_path / "saved")
    text = (tmp_path / "saved" / "preprocessor_config.json").read_text()
    assert str(tmp_path) not in text and len(text) < 1000
    settings = json.loads(text)
    assert settings["codec"] is None and settings["codec_subfolder"] == "codec"
    assert settings["codebooks"] == [0, 2] and settings["padding_value"] == 1
    assert settings["auto_map"] == {
        "AutoFeatureExtractor": "feature_extraction_audioformer.AudioFormerFeatureExtractor"
    }
    assert str(tmp_path) not in repr(extractor)
    saved = {str(path.relative_to(tmp_path / "saved")) for path in (tmp_path / "saved").rglob("*.*")}
    assert {"codec/config.json", "codec/model.safetensors", "feature_extraction_audioformer.py"} <= saved


def test_a_hub_id_is_saved_by_name(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("nothing may be loaded")

    monkeypatch.setattr(EncodecModel, "from_pretrained", refuse)
    extractor = AudioFormerFeatureExtractor(codec="somebody/codec", codec_revision="v2", bandwidth=6.0)
    extractor.save_pretrained(tmp_path)
    assert not (tmp_path / "codec").exists()
    settings = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert settings["codec"] == "somebody/codec" and settings["codec_revision"] == "v2"
    loaded = AudioFormerFeatureExtractor.from_pretrained(tmp_path)
    assert loaded.to_dict() == extractor.to_dict()
    assert len(pickle.dumps(loaded)) < 2000


@pytest.mark.parametrize("subfolder", ["", "extractor"])
def test_where_a_hub_codec_is_loaded_from(codec, codec_folder, tmp_path, monkeypatch, subfolder):
    """By Hub id and revision, or from the extractor's repository; the token is passed on, but never pickled."""
    AudioFormerFeatureExtractor(codec=codec).save_pretrained(tmp_path / "repository" / subfolder)
    settings = json.loads((tmp_path / "repository" / subfolder / "preprocessor_config.json").read_text())
    monkeypatch.setattr(
        AudioFormerFeatureExtractor, "get_feature_extractor_dict", classmethod(lambda cls, name, **k: (settings, {}))
    )
    calls = []
    monkeypatch.setattr(EncodecModel, "from_pretrained", lambda *a, **k: calls.append((a, k)) or codec)
    arguments = {"revision": "0" * 40, "token": "hf_secret", "cache_dir": "cache", "local_files_only": True}
    if subfolder:
        arguments["subfolder"] = subfolder
    loaded = AudioFormerFeatureExtractor.from_pretrained("somebody/repository", **arguments)
    assert calls == [] and b"hf_secret" not in pickle.dumps(loaded)
    ids_of(loaded)
    [(positional, named)] = calls
    assert positional == ("somebody/repository",)
    assert named["subfolder"] == ("extractor/codec" if subfolder else "codec")
    assert named["revision"] == "0" * 40 and named["token"] == "hf_secret" and named["local_files_only"] is True
    loaded.save_pretrained(tmp_path / "copy")
    assert (tmp_path / "copy" / "codec" / "model.safetensors").exists()
    assert "hf_secret" not in (tmp_path / "copy" / "preprocessor_config.json").read_text()


def test_hub_id_passes_its_revision(codec, monkeypatch):
    calls = []
    monkeypatch.setattr(EncodecModel, "from_pretrained", lambda *a, **k: calls.append((a, k)) or codec)
    ids_of(AudioFormerFeatureExtractor(codec="somebody/codec", codec_revision="v2"))
    [(positional, named)] = calls
    assert positional == ("somebody/codec",) and named["revision"] == "v2" and named["subfolder"] == ""


def test_saving_into_its_own_folder(extractor, tmp_path, expected):
    extractor.save_pretrained(tmp_path)
    loaded = AudioFormerFeatureExtractor.from_pretrained(tmp_path, codebooks=[0, 1])
    loaded.save_pretrained(tmp_path)
    again = AudioFormerFeatureExtractor.from_pretrained(tmp_path, codebooks=0)
    assert ids_of(again) == expected


def test_loading_with_other_settings(extractor, codec, tmp_path, expected):
    extractor.save_pretrained(tmp_path)
    loaded, unused = AudioFormerFeatureExtractor.from_pretrained(
        tmp_path, codec=codec, codebooks=[0], nonsense=1, return_unused_kwargs=True
    )
    assert unused == {"nonsense": 1} and loaded.codec is codec
    assert np.array(ids_of(loaded))[..., 0].tolist() == expected
    from_file = AudioFormerFeatureExtractor.from_pretrained(tmp_path / "preprocessor_config.json")
    assert ids_of(from_file) == expected


def test_pushing_uploads_extractor_and_codec(extractor, tmp_path, monkeypatch):
    uploads = []
    monkeypatch.setattr(
        AudioFormerFeatureExtractor, "push_to_hub", lambda self, repo_id, **k: uploads.append((repo_id, k))
    )
    extractor.save_pretrained(tmp_path / "name", push_to_hub=True, private=True)
    extractor.save_pretrained(tmp_path / "name", push_to_hub=True, repo_id="me/other")
    assert uploads == [("name", {"private": True}), ("me/other", {})]


def test_pickles_hold_no_weights(codec, hf_home, expected):
    extractor = AudioFormerFeatureExtractor(codec=codec)
    before = pickle.dumps(extractor)
    ids_of(extractor)
    assert pickle.dumps(extractor) == before and len(before) < 2000
    [folder] = (hf_home / "audioformer").iterdir()
    assert ids_of(pickle.loads(before)) == expected
    # The same weights in another model give the same folder.
    pickle.dumps(AudioFormerFeatureExtractor(codec=copy.deepcopy(codec)))
    assert list((hf_home / "audioformer").iterdir()) == [folder]


def test_fingerprints_depend_on_settings_alone(codec, codec_folder, hf_home):
    for source in (codec, codec_folder):
        extractor = AudioFormerFeatureExtractor(codec=source)
        before = Hasher.hash(extractor)
        ids_of(extractor)
        assert Hasher.hash(extractor) == before == Hasher.hash(copy.deepcopy(extractor))
        assert Hasher.hash(pickle.loads(pickle.dumps(extractor))) == before
        assert Hasher.hash(AudioFormerFeatureExtractor(codec=source, codebooks=1)) != before


def test_other_weights_give_another_fingerprint(codec, hf_home):
    other = copy.deepcopy(codec)
    other.quantizer.layers[0].codebook.embed[0, 0] += 1
    assert Hasher.hash(AudioFormerFeatureExtractor(codec=codec)) != Hasher.hash(
        AudioFormerFeatureExtractor(codec=other)
    )


def test_copies_share_the_codec_but_not_the_settings(extractor, codec, expected):
    duplicate = copy.deepcopy(extractor)
    duplicate.codebooks = [1]
    assert duplicate.codec is codec and ids_of(extractor) == expected and len(ids_of(duplicate)[0][0]) == 1


def test_pickle_whose_codec_is_gone(codec, hf_home):
    content = pickle.dumps(AudioFormerFeatureExtractor(codec=codec))
    shutil.rmtree(hf_home)
    with pytest.raises(ValueError, match="There is no codec in"):
        ids_of(pickle.loads(content))


def test_datasets_map_in_two_processes(codec, hf_home, tmp_path, expected):
    extractor = AudioFormerFeatureExtractor(codec=codec)
    data = datasets.Dataset.from_dict({"audio": [CLIP.tolist(), CLIP[:2000].tolist()] * 2})

    def encode(batch):
        clips = [np.asarray(clip, np.float32) for clip in batch["audio"]]
        return {"input_ids": extractor(clips, sampling_rate=RATE, padding=False)["input_ids"]}

    encoded = data.map(encode, batched=True, batch_size=2, num_proc=2, remove_columns=["audio"])
    assert encoded[0]["input_ids"] == expected[0]
    assert [len(ids) for ids in encoded["input_ids"]] == [15, 9, 15, 9]


class Clips(Dataset):
    """A data set that encodes in the worker."""

    def __init__(self, extractor):
        self.extractor = extractor

    def __len__(self):
        return 2

    def __getitem__(self, index):
        ids = self.extractor(CLIP[: 4000 - 2000 * index], sampling_rate=RATE, return_tensors="pt")["input_ids"][0]
        return {"input_ids": ids, "labels": index}


def test_spawned_workers_of_a_data_loader(codec, hf_home, expected):
    extractor = AudioFormerFeatureExtractor(codec=codec)
    loader = DataLoader(
        Clips(extractor), batch_size=2, num_workers=1, multiprocessing_context="spawn", collate_fn=extractor.pad
    )
    [batch] = loader
    assert batch["input_ids"][0].tolist() == expected[0] and batch["labels"].tolist() == [0, 1]
    assert torch.is_tensor(batch["input_ids"]) and batch["attention_mask"].sum(1).tolist() == [15, 9]


REMOTE = """
import json, sys
import numpy as np

sys.modules["audioformer"] = None  # importing it fails from here on
from transformers import AutoFeatureExtractor

clip = np.load(sys.argv[1])
first = AutoFeatureExtractor.from_pretrained(sys.argv[2], trust_remote_code=True)
first.save_pretrained(sys.argv[3])
second = AutoFeatureExtractor.from_pretrained(sys.argv[3], trust_remote_code=True)
assert type(first).__module__.startswith("transformers_modules"), type(first)
print(json.dumps([fe(clip, sampling_rate=24000)["input_ids"].tolist() for fe in (first, second)]))
"""


def test_saved_folder_works_without_this_package(extractor, tmp_path, expected):
    extractor.save_pretrained(tmp_path / "saved")
    np.save(tmp_path / "clip.npy", CLIP)
    run = subprocess.run(
        [sys.executable, "-c", REMOTE, tmp_path / "clip.npy", tmp_path / "saved", tmp_path / "again"],
        env={**os.environ, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1]) == [expected, expected]
