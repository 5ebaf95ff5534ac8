"""What must not be uploaded is found, by name; what a run leaves behind is not uploaded."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_ESC10
from audioformer.model_cards.check import check_folder, files_to_upload, is_pickle, lacks_code, missing_code
from audioformer.modeling_audioformer import AudioFormerForAudioClassification

from .common import make_facts, write_folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A classifier and its feature extractor, saved with their code."""
    folder = tmp_path_factory.mktemp("saved")
    AudioFormerForAudioClassification.from_pretrained(TINY_ESC10).save_pretrained(folder)
    AudioFormerFeatureExtractor.from_pretrained(TINY_ESC10).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A folder as `audioformer finetune` leaves it, with a licence."""
    folder = tmp_path / "model"
    shutil.copytree(saved, folder)
    write_folder(folder, make_facts(), license="cc-by-4.0")
    assert check_folder(folder) == []
    return folder


def one_finding(folder: Path) -> str:
    (finding,) = check_folder(folder)
    return finding


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("training_args.bin", lambda path: torch.save({"a": 1}, path)),
        ("weights.dat", lambda path: torch.save({"a": 1}, path)),
        ("state.dat", lambda path: path.write_bytes(pickle.dumps({"a": 1}))),
        ("codec/old.th", lambda path: path.write_bytes(b"anything")),
    ],
)
def test_pickles(folder, name, write):
    write(folder / name)
    assert is_pickle(folder / name)
    assert one_finding(folder).startswith(f"{name} is a pickle")


@pytest.mark.parametrize(
    "path",
    ["/home/ann/sounds/a.wav", "/mnt/data/run", "C:\\Users\\ann", "/scratch/x/y", "/Users/ann/run"],
)
def test_paths_of_the_machine(folder, path):
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "note": f"trained from {path}"}))
    assert one_finding(folder).startswith("config.json contains paths of this machine: ")


def test_a_folder_of_this_very_machine(folder, tmp_path):
    (folder / "notes.txt").write_text(f"see {tmp_path}/run")
    assert "notes.txt contains paths of this machine" in one_finding(folder)


@pytest.mark.parametrize(
    "text",
    [
        "https://huggingface.co/data/home/x",
        "a ratio of 3/4, and/or both",
        "see docs/data/x.md and ./data/x",
        "<b>/home</b>",
        "hf_transfer is faster",
        "m/s, km/h/kg",
    ],
)
def test_what_only_looks_like_it(folder, text):
    (folder / "notes.md").write_text(text)
    assert check_folder(folder) == []


@pytest.mark.parametrize("token", ["hf_" + "aB3" * 12, "ghp_" + "x1Y" * 12, "AKIA" + "ABCD1234" * 2])
def test_tokens_are_found_and_not_repeated(folder, token):
    (folder / "summary.md").write_text(f"token={token}")
    finding = one_finding(folder)
    assert finding.startswith("summary.md contains what looks like a token") and token not in finding


def test_licences(folder):
    readme = folder / "README.md"
    text = readme.read_text()
    readme.write_text(text.replace("license: cc-by-4.0\n", ""))
    assert "states no licence" in one_finding(folder)
    readme.write_text(text.replace("license: cc-by-4.0", "license: other"))
    assert "states no licence" in one_finding(folder)
    readme.write_text(text.replace("license: cc-by-4.0", "license: other\nlicense_name: mine"))
    assert check_folder(folder) == []
    readme.unlink()
    assert "README.md is missing" in one_finding(folder)


def test_numbers_that_were_not_measured(folder):
    readme = folder / "README.md"
    text = readme.read_text()
    readme.write_text(text.replace("value: 0.7125", "value: 0.8125"))
    assert "states the metric 0.8125 in its metadata" in one_finding(folder)
    readme.write_text(text.replace("accuracy 71.2%", "accuracy 81.2%"))
    assert "states 81.2 % in its results" in one_finding(folder)
    readme.write_text(text)
    (folder / "eval_results.json").unlink()
    assert "eval_results.json is missing" in one_finding(folder)


def test_a_codec_is_pinned_or_there(folder):
    file = folder / "preprocessor_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "codec": "facebook/encodec_24khz", "codec_subfolder": None}))
    assert "'facebook/encodec_24khz' without a revision" in one_finding(folder)
    file.write_text(json.dumps(settings))
    shutil.rmtree(folder / "codec")
    assert "codec in codec/, which is missing" in one_finding(folder)


def test_code_that_is_named_is_there(folder):
    assert missing_code(folder) == [] and not lacks_code(folder)
    (folder / "modeling_audioformer.py").unlink()
    (folder / "feature_extraction_audioformer.py").unlink()
    assert missing_code(folder) == ["feature_extraction_audioformer.py", "modeling_audioformer.py"]
    assert [finding.split()[0] for finding in check_folder(folder)] == missing_code(folder) and lacks_code(folder)
    # Code of another repository is loaded from there.
    for name in ("config.json", "preprocessor_config.json"):
        settings = json.loads((folder / name).read_text())
        elsewhere = {key: f"user/name--{reference}" for key, reference in settings["auto_map"].items()}
        (folder / name).write_text(json.dumps({**settings, "auto_map": elsewhere}))
    assert missing_code(folder) == [] and check_folder(folder) == [] and not lacks_code(folder)
    # A model of transformers itself names no code.
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "auto_map": None}))
    assert check_folder(folder) == [] and lacks_code(folder)


def test_leftovers_of_a_run_are_not_uploaded(folder):
    whole = files_to_upload(folder)
    for name in (
        "checkpoint-3/optimizer.pt",
        "trainer_state.json",
        "predictions.npz",
        "teachers/a.npy",
        "runs/x/events",
        ".unfinished-host-1-2-README.md",
        ".git/config",
        "codec/.cache/huggingface/x.json",
        "codec/__pycache__/x.pyc",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("/home/ann")
    assert files_to_upload(folder) == whole and check_folder(folder) == []
    assert {"model.safetensors", "config.json", "README.md", "modeling_audioformer.py"} <= {
        path.name for path in whole
    }
