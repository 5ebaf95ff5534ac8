"""`audioformer push`: a fine-tuned folder and a folder of codes in one commit each, and what is refused before any."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from huggingface_hub import ModelCard

from audioformer.cli import main
from audioformer.commands.push import save_code
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_ESC10
from audioformer.model_cards.check import files_to_upload, lacks_code
from audioformer.model_cards.push import push_folder
from audioformer.modeling_audioformer import AudioFormerForAudioClassification

from ..saved_code import CODE
from .client import WITHOUT_THE_PACKAGE, ask_client, run_client
from .server import TOKEN, HubServer

SETTINGS = ("config.json", "preprocessor_config.json")
PUSH = "import sys\nfrom audioformer.cli import main\nsys.exit(main(['push', *sys.argv[1:]]))"

CLASSIFY = """
import json
import numpy as np
from transformers import pipeline

classifier = pipeline("audio-classification", model="tester/sounds", trust_remote_code=True)
waveform = (0.1 * np.random.default_rng(1).standard_normal(8000)).astype(np.float32)
print(json.dumps(classifier({"raw": waveform, "sampling_rate": 24000})))
"""


def make_sounds(folder: Path) -> Path:
    for index in range(16):
        path = folder / ("test" if index >= 12 else "train") / ("tone", "noise")[index % 2] / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = 0.1 * np.random.default_rng(index).standard_normal(8000)
        soundfile.write(path, noise if index % 2 else np.sin(np.arange(8000) * (0.1 + index / 100)), 16000)
    return folder


@pytest.fixture(scope="module")
def finetuned(tmp_path_factory) -> Path:
    """What `audioformer finetune` leaves after a few steps."""
    root = tmp_path_factory.mktemp("finetuned")
    sizes = ["--hidden-size", "32", "--num-hidden-layers", "1", "--num-attention-heads", "2"]
    run = ["--num-train-epochs", "2", "--use-cpu", "--cache-dir", str(root / "cache"), "--held-out-share", "0.3"]
    data = ["--data", str(make_sounds(root / "sounds")), "--output", str(root / "run")]
    assert main(["finetune", "--recipe", "tiny_ft1", *data, *sizes, *run]) == 0
    return root / "run"


@pytest.mark.slow
def test_a_model_is_pushed_with_its_card_and_answers_by_id(server: HubServer, finetuned, tmp_path):
    refused = run_client(PUSH, str(finetuned), "tester/sounds", server=server, home=tmp_path / "push", token=TOKEN)
    assert refused.returncode == 1 and "states no licence" in refused.stderr and "Traceback" not in refused.stderr
    assert ("models", "tester/sounds") not in server.repositories

    flags = ["--license", "cc-by-4.0", "--private"]
    pushed = run_client(
        PUSH, str(finetuned), "tester/sounds", *flags, server=server, home=tmp_path / "push", token=TOKEN
    )
    assert pushed.returncode == 0, pushed.stderr
    repository = server.model("tester/sounds")
    assert repository.head.sha in pushed.stdout
    files = {path for path in repository.head.files if path != ".gitattributes"}
    assert {"model.safetensors", "config.json", "preprocessor_config.json", "codec/model.safetensors"} <= files
    assert {"README.md", "eval_results.json", "training.png", "classes.png", "modeling_audioformer.py"} <= files
    assert not any(path.startswith("checkpoint-") or path.endswith((".bin", ".pt", ".npz")) for path in files)
    card = ModelCard(repository.head.files["README.md"].content.decode())
    assert card.data.license == "cc-by-4.0" and 'model="tester/sounds"' in card.text

    script = WITHOUT_THE_PACKAGE + CLASSIFY
    answer = ask_client(script, server=server, home=tmp_path / "load", token=TOKEN)
    assert {entry["label"] for entry in answer} == {"tone", "noise"}


@pytest.mark.slow
def test_what_must_not_be_published_stays_here(server: HubServer, finetuned, tmp_path):
    (finetuned / "optimizer.pt").write_bytes(b"\x80\x04anything")
    (finetuned / "notes.md").write_text("data in /home/ann/sounds, token hf_" + "aB3" * 12)
    flags = ["tester/leak", "--license", "cc-by-4.0"]
    done = run_client(PUSH, str(finetuned), *flags, server=server, home=tmp_path, token=TOKEN)
    (finetuned / "optimizer.pt").unlink()
    (finetuned / "notes.md").unlink()
    assert done.returncode == 1 and ("models", "tester/leak") not in server.repositories
    for finding in (
        "optimizer.pt is a pickle",
        "notes.md contains paths of this machine",
        "notes.md contains what looks like a",
    ):
        assert finding in done.stderr


@pytest.mark.slow
def test_without_a_token_the_hub_says_so(server: HubServer, finetuned, tmp_path):
    flags = ["tester/nobody", "--license", "cc-by-4.0"]
    done = run_client(PUSH, str(finetuned), *flags, server=server, home=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "401" in done.stderr or "token" in done.stderr.lower()


@pytest.mark.slow
def test_codes_become_a_data_set(server: HubServer, tmp_path):
    codes = tmp_path / "codes"
    assert main(["encode", str(make_sounds(tmp_path / "sounds")), "--output", str(codes)]) == 0
    flags = ["tester/sounds-codes", "--license", "cc-by-4.0"]
    done = run_client(PUSH, str(codes), *flags, server=server, home=tmp_path / "push", token=TOKEN)
    assert done.returncode == 0, done.stderr
    files = server.repositories["datasets", "tester/sounds-codes"].head.files
    assert {"codes-00000-0000.parquet", "codes.json", "README.md", "dataset_info.json"} <= set(files)
    assert b"license: cc-by-4.0" in files["README.md"].content


@pytest.mark.slow
def test_a_broken_connection_is_told_in_one_message(server: HubServer, finetuned, tmp_path):
    server.break_next("POST", ".*", drop_after=0, times=1000)
    try:
        flags = ["tester/cut", "--license", "cc-by-4.0"]
        done = run_client(PUSH, str(finetuned), *flags, server=server, home=tmp_path, token=TOKEN)
    finally:
        server.repair()
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "Run the same command again" in done.stderr


def test_a_folder_of_rows_is_no_model(tmp_path):
    for row in ("C1", "C2"):
        (tmp_path / row).mkdir()
        (tmp_path / row / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="neither a model .* nor codes .* Push one of the models in it: C1, C2"):
        push_folder(tmp_path, "tester/rows")
    with pytest.raises(ValueError, match="`repo_id` must be USER/NAME, got 'rows'"):
        push_folder(tmp_path / "C1", "rows")


@pytest.fixture
def tiny(tmp_path) -> Path:
    """The bundled classifier, which has no code of its own."""
    folder = tmp_path / "tiny"
    shutil.copytree(TINY_ESC10, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def published(server: HubServer, repo_id: str, repo_type: str = "models") -> dict[str, bytes]:
    files = server.repositories[repo_type, repo_id].head.files
    return {path: file.content for path, file in files.items() if path != ".gitattributes"}


@pytest.mark.slow
def test_code_that_is_missing_is_saved_into_a_copy(server: HubServer, tiny, tmp_path):
    assert lacks_code(tiny)
    before = contents(tiny)
    done = run_client(PUSH, str(tiny), "tester/tiny", server=server, home=tmp_path / "push", token=TOKEN)
    assert done.returncode == 0, done.stderr
    assert contents(tiny) == before
    files = published(server, "tester/tiny")
    code = {name for name in files if name.endswith(".py")}
    # The code and its names in the settings were added, nothing else changed.
    assert code == set(CODE)
    assert {name: content for name, content in files.items() if name not in {*code, *SETTINGS}} == {
        name: content for name, content in before.items() if name not in SETTINGS
    }
    for name in SETTINGS:
        settings = json.loads(files[name])
        assert settings.pop("auto_map") and settings == json.loads(before[name]), name

    script = WITHOUT_THE_PACKAGE + CLASSIFY.replace("tester/sounds", "tester/tiny")
    answer = ask_client(script, server=server, home=tmp_path / "load", token=TOKEN)
    assert len(answer) == 10 and {"score", "label"} <= set(answer[0])


def test_code_of_an_unknown_model_cannot_be_saved(tiny):
    config = json.loads((tiny / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "configuration_audioformer.AudioFormerConfig"}
    config["auto_map"]["AutoModel"] = "modeling_audioformer.AudioFormerModel"
    (tiny / "config.json").write_text(json.dumps({**config, "model_type": "nobody-knows-this"}))
    before = contents(tiny)
    with pytest.raises(ValueError, match="The code of the model is missing and cannot be saved"):
        push_folder(tiny, "tester/unknown", complete=save_code)
    with pytest.raises(ValueError, match="modeling_audioformer.py is missing, which `auto_map` names"):
        push_folder(tiny, "tester/unknown")
    config["auto_map"]["AutoNothing"] = "modeling_audioformer.Nothing"
    (tiny / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="`auto_map` names AutoNothing, which transformers .* lacks"):
        push_folder(tiny, "tester/unknown", complete=save_code)
    assert contents(tiny) == before | {"config.json": (tiny / "config.json").read_bytes()}


@pytest.mark.slow
def test_the_files_that_were_checked_are_the_files_of_the_repository(server: HubServer, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(TINY_ESC10, folder)
    AudioFormerFeatureExtractor.from_pretrained(folder).save_pretrained(folder)
    AudioFormerForAudioClassification.from_pretrained(folder).save_pretrained(folder)
    # Leftovers, folders of tools at any depth, and names that a pattern could take for something else.
    for name in (
        *("checkpoint-3/optimizer.pt", "trainer_state.json", "predictions.npz", "runs/events", ".unfinished-a-1-x"),
        *(".git/config", "codec/.git/config", "codec/.cache/huggingface/x", "onnx/__pycache__/x.pyc"),
        *("notes [1].md", "docs/deep/er/a.txt", "docs/.gitkeep", "checkpoint.md", "figures/teachers.txt"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text")
    checked = {path.relative_to(folder).as_posix() for path in files_to_upload(folder)}
    done = run_client(PUSH, str(folder), "tester/list", server=server, home=tmp_path / "push", token=TOKEN)
    assert done.returncode == 0, done.stderr
    assert published(server, "tester/list") == {name: (folder / name).read_bytes() for name in checked}
    assert {"notes [1].md", "docs/deep/er/a.txt", "docs/.gitkeep", "checkpoint.md", "figures/teachers.txt"} <= checked
    assert not any(name.startswith(("checkpoint-", "runs/", ".git/", ".unfinished")) for name in checked)
    assert not any("/." in name and name != "docs/.gitkeep" for name in checked)
    assert len(server.model("tester/list").commits) == 2
