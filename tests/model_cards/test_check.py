"""What must not be uploaded is found, by name; what a run leaves behind is not uploaded."""

import json
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards.card_check import foreign_numbers
from audioformer.model_cards.check import check_folder
from audioformer.model_cards.contents import files_to_upload, lacks_code, missing_code, read_contents
from audioformer.model_cards.pickles import is_pickle
from audioformer.model_cards.prepare import prepare_folder
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForAudioClassification

from ..feature_extraction.common import make_codec
from .common import make_facts, write_folder


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    """A classifier and its feature extractor, saved with their code."""
    folder = tmp_path_factory.mktemp("saved")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    AudioFormerForAudioClassification(AudioFormerConfig(**sizes)).save_pretrained(folder)
    # Every test copies it and reads all of it.
    codec = make_codec(num_filters=2, hidden_size=16, target_bandwidths=[3.0])
    AudioFormerFeatureExtractor(codec=codec).save_pretrained(folder)
    write_folder(folder, make_facts(), license="cc-by-4.0")
    assert check_folder(folder) == []
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    """A folder as `audioformer finetune` leaves it, with a licence."""
    folder = tmp_path / "model"
    return shutil.copytree(saved, folder)


def one_finding(folder: Path, *include: str) -> str:
    (finding,) = check_folder(folder, include)
    return finding


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("training_args.bin", lambda path: torch.save({"a": 1}, path)),
        ("weights.dat", lambda path: torch.save({"a": 1}, path)),
        ("state.dat", lambda path: path.write_bytes(pickle.dumps({"a": 1}))),
        ("evil.PKL", lambda path: path.write_bytes(b"anything")),
        ("codec/old.th", lambda path: path.write_bytes(b"anything")),
    ],
)
def test_pickles(folder, name, write):
    write(folder / name)
    assert is_pickle(folder / name)
    # It is left out, and refused where it is asked for.
    assert check_folder(folder) == [] and name in read_contents(folder).left_out
    assert one_finding(folder, name).startswith(f"{name} is a pickle")


@pytest.mark.parametrize(
    "path",
    [
        *("/home/ann/sounds/a.wav", "/mnt/data/run", "/scratch/x/y", "/Users/ann/run"),
        *(
            "C:\\Users\\ann",
            "D:\\sounds\\dogs",
            "E:/sounds/dogs",
            "\\\\server\\share\\run",
            "file:///srv/run",
            "file://host/x",
        ),
    ],
)
def test_paths_of_the_machine(folder, path):
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "note": f"trained from {path}"}))
    assert one_finding(folder).startswith("config.json contains paths of this machine: ")


def test_a_folder_of_this_very_machine(folder, tmp_path):
    (folder / "notes.txt").write_text(f"see {tmp_path}/run")
    assert "notes.txt contains paths of this machine" in one_finding(folder, "notes.txt")


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
    assert check_folder(folder, ["notes.md"]) == []


@pytest.mark.parametrize("token", ["hf_" + "aB3" * 12, "ghp_" + "x1Y" * 12, "AKIA" + "ABCD1234" * 2])
def test_tokens_are_found_and_not_repeated(folder, token):
    (folder / "summary.md").write_text(f"token={token}")
    finding = one_finding(folder)
    assert finding.startswith("summary.md contains what looks like a secret: ") and "line 1" in finding
    assert token not in finding


def test_licences(folder):
    readme = folder / "README.md"
    text = readme.read_text()
    readme.write_text(text.replace("license: cc-by-4.0\n", ""))
    assert any("states no licence" in finding for finding in check_folder(folder))
    for license in ("other", "unknown"):
        readme.write_text(text.replace("license: cc-by-4.0", f"license: {license}").replace("cc-by-4.0", license))
        assert any("states no licence" in finding for finding in check_folder(folder))
    readme.write_text(text.replace("cc-by-4.0", "cc-by-5.0"))
    assert "`license` 'cc-by-5.0' is no identifier of the Hub" in one_finding(folder)
    assert "Did you mean" in one_finding(folder) and "cc-by-4.0" in one_finding(folder)
    readme.write_text(
        text.replace("license: cc-by-4.0", "license: other\nlicense_name: mine").replace("cc-by-4.0", "other")
    )
    assert check_folder(folder) == []
    readme.unlink()
    assert "README.md is missing" in one_finding(folder)


@pytest.mark.parametrize(
    ("old", "new", "finding"),
    [
        ("value: 0.7125", "value: 0.8125", "states 0.8125 as model-index.results.metrics.value in its metadata"),
        ("value: 0.7125", "value: '0.8125'", "states 0.8125 as model-index.results.metrics.value in its metadata"),
        ("accuracy 71.2%", "accuracy 81.2%", "states a number in the section 'Results'"),
        ("classes: 71.2%", "classes: 99.9%", "states a number before its first section"),
        ("216 training clips", "2,160,000 training clips", "states a number in the section 'Training'"),
        ("0.45 hours", "4,500 hours", "states a number in the section 'Data'"),
        # A line that the results give once may stand there once.
        ("| train | 240 |", "| train | 240 |\n| train | 240 |", "states a number in the section 'Data'"),
        ("## Licences", "## Comparison\n\nTwice the 35 % of others.\n\n## Licences", "in the section 'Comparison'"),
        ("## Licences", "Accuracy on other clips: ½.\n\n## Licences", "in the section 'Intended use and limits'"),
        (
            "model-index:",
            "co2_eq_emissions:\n  emissions: 5\nmodel-index:",
            "states 5.0 as co2_eq_emissions.emissions",
        ),
    ],
)
def test_numbers_that_were_not_measured(folder, old, new, finding):
    readme = folder / "README.md"
    text = readme.read_text()
    assert old in text
    readme.write_text(text.replace(old, new))
    assert finding in one_finding(folder) and "--own-numbers" in one_finding(folder)
    assert check_folder(folder, own_numbers=True) == []


def test_words_of_ones_own_may_stand_anywhere(folder):
    readme = folder / "README.md"
    lines = ["By Ann, on ESC-50, see https://example.org/2026/a1.", "1. First, the dogs."]
    readme.write_text(readme.read_text().replace("## Licences", "\n".join(["## Thanks", *lines, "## Licences"])))
    assert check_folder(folder) == []


def test_comments_in_code_open_no_section():
    """Else a number could stand anywhere below a comment that is called like the section to which it belongs."""
    generated = "5 dogs.\n\n## Use\n\n```python\n# two\n```\n\n## Results\n\n7 cats.\n"
    assert list(foreign_numbers(generated, generated)) == []
    own = "## Use\n\n```python\n# two\n```\n\n5 dogs.\n\n~~~\n## Results\n~~~\n\n7 cats.\n"
    assert list(foreign_numbers(own, generated)) == [("Use", "5 dogs."), ("Use", "7 cats.")]


def test_numbers_without_results_are_somebodys_own(folder):
    (folder / "eval_results.json").unlink()
    assert "has no eval_results.json, which holds the results" in one_finding(folder)
    (folder / "card_facts.json").unlink()
    findings = check_folder(folder)
    assert findings and all(finding.startswith("README.md states") for finding in findings)
    assert check_folder(folder, own_numbers=True) == []


@pytest.mark.parametrize("name", ["/models/c1", "./c1", "runs/c1", "C:\\models\\c1"])
def test_the_base_model_is_an_id_of_the_hub(folder, name, monkeypatch, tmp_path):
    (tmp_path / "runs" / "c1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    readme = folder / "README.md"
    text = readme.read_text().replace("tags:", f"base_model: {name}\ntags:", 1)
    readme.write_text(text)
    assert any("states the base model" in finding for finding in check_folder(folder))
    readme.write_text(text.replace(name, "user/c1"))
    assert check_folder(folder) == []


def test_metadata_that_cannot_be_read(folder):
    readme = folder / "README.md"
    readme.write_text(readme.read_text().replace("tags:", "tags: [", 1))
    assert "the metadata at the top cannot be read" in one_finding(folder)
    with pytest.raises(ValueError, match="the metadata at the top cannot be read"):
        prepare_folder(folder, "user/name", license="mit")


def test_a_codec_is_pinned_or_there(folder):
    file = folder / "preprocessor_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "codec": "facebook/encodec_24khz", "codec_subfolder": None}))
    assert "'facebook/encodec_24khz' without a revision" in one_finding(folder)
    file.write_text(json.dumps(settings))
    shutil.rmtree(folder / "codec")
    assert "codec in codec/, which is missing" in one_finding(folder)


def test_code_that_is_named_is_there(folder, saved):
    assert missing_code(folder) == [] and not lacks_code(folder)
    (folder / "modeling_audioformer.py").unlink()
    (folder / "feature_extraction_audioformer.py").unlink()
    assert missing_code(folder) == ["feature_extraction_audioformer.py", "modeling_audioformer.py"]
    # What the code imports from beside itself belongs to it.
    shutil.copyfile(saved / "modeling_audioformer.py", folder / "modeling_audioformer.py")
    (folder / "classification_loss.py").unlink()
    assert missing_code(folder) == ["classification_loss.py", "feature_extraction_audioformer.py"]
    assert [finding.split()[0] for finding in check_folder(folder)] == missing_code(folder) and lacks_code(folder)
    # Code of another repository is not ours to vouch for.
    for name in ("config.json", "preprocessor_config.json"):
        settings = json.loads((folder / name).read_text())
        elsewhere = {key: f"user/name--{reference}" for key, reference in settings["auto_map"].items()}
        (folder / name).write_text(json.dumps({**settings, "auto_map": elsewhere}))
    assert missing_code(folder) == [] and lacks_code(folder)
    assert check_folder(folder) and all("code of another repository" in finding for finding in check_folder(folder))
    # A model of transformers itself names no code.
    for name in ("config.json", "preprocessor_config.json"):
        settings = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**settings, "auto_map": None}))
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
    assert read_contents(folder).left_out == []
    named = [".git/config", "codec/.cache/huggingface/x.json"]
    assert check_folder(folder, named) == [
        f"{name} is in a folder of another tool and cannot be uploaded." for name in named
    ]
    assert {"model.safetensors", "config.json", "README.md", "modeling_audioformer.py"} <= {
        path.name for path in whole
    }


def test_what_belongs_to_no_model_stays_here_unless_it_is_named(folder):
    whole = files_to_upload(folder)
    for name in (
        ".env",
        "train.log",
        "notes.md",
        "onnx/notes.txt",
        "codec/setup.py",
        "helper.py",
        "nested/config.json",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")
    contents = read_contents(folder, ["notes.md", "onnx/notes.txt"])
    assert set(contents.files) == {*whole, folder / "notes.md", folder / "onnx" / "notes.txt"}
    assert contents.left_out == [".env", "helper.py", "train.log", "codec/setup.py", "nested/config.json"]
    findings = check_folder(folder, ["nothing.md", "../model/config.json", ".git/config"])
    assert findings == [
        f"{name} was to be included and is not a file of this folder."
        for name in ("../model/config.json", ".git/config", "nothing.md")
    ]


def test_links_are_refused(folder, tmp_path):
    (tmp_path / "diary.txt").write_text("dear diary")
    (folder / "summary.md").symlink_to(tmp_path / "diary.txt")
    (folder / "codec").rename(tmp_path / "codec")
    (folder / "codec").symlink_to(tmp_path / "codec")
    (folder / "other.txt").symlink_to(tmp_path / "diary.txt")
    findings = check_folder(folder, ["other.txt"])
    assert [finding.split()[0] for finding in findings[:3]] == ["codec", "other.txt", "summary.md"]
    assert all("is a symbolic link" in finding for finding in findings[:3])
    assert read_contents(folder).left_out == ["other.txt"]


@pytest.mark.parametrize(
    ("name", "content", "finding"),
    [
        ("model.safetensors", b"garbage", "model.safetensors is not a whole file of safetensors"),
        ("codec/model.safetensors", b"", "codec/model.safetensors is not a whole file of safetensors"),
        ("eval_results.json", b"{", "eval_results.json is not JSON"),
        ("training_log.json", b"[" * 100_000, "training_log.json is not JSON"),
        ("classes.png", b"GIF89a", "classes.png is not a PNG that can be read"),
        ("summary.md", "ä".encode("utf-16"), "summary.md is neither text in UTF-8 nor one of the formats"),
        ("classification_loss.py", b"def", "classification_loss.py is not Python"),
    ],
)
def test_each_file_is_opened_by_its_own_reader(folder, name, content, finding):
    (folder / name).write_bytes(content)
    assert any(entry.startswith(finding) for entry in check_folder(folder))


def test_weights_that_are_missing(folder):
    (folder / "codec" / "model.safetensors").unlink()
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    assert [finding.split()[0] for finding in check_folder(folder)] == ["model.safetensors", "codec/model.safetensors"]
    index = {
        "metadata": {},
        "weight_map": {"x": "model-00001-of-00002.safetensors", "y": "model-00002-of-00002.safetensors"},
    }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    findings = check_folder(folder)
    assert findings[0] == "model-00001-of-00002.safetensors lacks 1 weights that its index names, such as x."
    assert findings[1].startswith("model-00002-of-00002.safetensors is missing, which model.safetensors.index.json")
