"""`audioformer push`: a fine-tuned folder and a folder of codes in one commit each, and what is refused before any."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file

from audioformer.cli import main
from audioformer.commands.push import save_code
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_ESC10
from audioformer.model_cards.contents import files_to_upload, lacks_code
from audioformer.model_cards.push import push_folder
from audioformer.modeling_audioformer import AudioFormerForAudioClassification

from ..saved_code import CODE
from .client import WITHOUT_THE_PACKAGE, ask_client, run_client
from .pushed_files import differing
from .server import TOKEN, HubServer

SETTINGS = ("config.json", "preprocessor_config.json")
PUSH = "import sys\nfrom audioformer.cli import main\nsys.exit(main(['push', *sys.argv[1:]]))"

# Several commands in one process: importing torch takes longer than pushing.
PUSH_ALL = """
import contextlib
import io
import json
import sys
from audioformer.cli import main

results = {}
for name, flags in json.loads(sys.argv[1]).items():
    with contextlib.redirect_stdout(io.StringIO()) as output, contextlib.redirect_stderr(io.StringIO()) as errors:
        status = main(["push", *flags])
    results[name] = {"status": status, "output": output.getvalue(), "errors": errors.getvalue()}
print(json.dumps(results))
"""

CLASSIFY = """
import json
import sys
import numpy as np
from transformers import pipeline

waveform = (0.1 * np.random.default_rng(1).standard_normal(8000)).astype(np.float32)
answers = {}
for repository in sys.argv[1:]:
    classifier = pipeline("audio-classification", model=repository, trust_remote_code=True)
    answers[repository] = classifier({"raw": waveform, "sampling_rate": 24000})
print(json.dumps(answers))
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


def make_leaking(finetuned: Path, folder: Path) -> Path:
    shutil.copytree(finetuned, folder)
    (folder / "optimizer.pt").write_bytes(b"\x80\x04anything")
    (folder / "notes.md").write_text("data in /home/ann/sounds, token hf_" + "aB3" * 12)
    for name in ("link.txt", "summary.md"):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(finetuned / "README.md")
    return folder


def make_messy(finetuned: Path, folder: Path) -> Path:
    """With files beside the model that are nobody's business."""
    shutil.copytree(finetuned, folder)
    (folder / ".env").write_text("HF_TOKEN=hf_" + "aB3" * 12)
    (folder / "train.log").write_text("began in /home/ann\n")
    (folder / "evil.PKL").write_bytes(b"\x80\x04anything")
    (folder / "diary.txt").symlink_to(finetuned / "README.md")
    return folder


def make_half(finetuned: Path, folder: Path) -> Path:
    """With weights that can be read but are not all there."""
    shutil.copytree(finetuned, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.weight"]
    weights["classifier.bias"] = weights["classifier.bias"][:1]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


NAMED = ["notes [1].md", "docs/deep/er/a.txt", "docs/.gitkeep", "checkpoint.md", "figures/teachers.txt"]


def make_tiny(folder: Path) -> Path:
    """The bundled classifier, which has no code of its own."""
    return shutil.copytree(TINY_ESC10, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))


def make_cluttered(folder: Path) -> Path:
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
    return folder


@dataclass
class Push:
    """One run of `audioformer push`: the folder, what was in it before, and what the command did."""

    folder: Path
    before: dict[str, bytes]
    status: int
    output: str
    errors: str


@pytest.fixture(scope="module")
def pushes(server: HubServer, finetuned, tmp_path_factory) -> dict[str, Push]:
    """Every push by a user who is logged in, by the name of its repository."""
    root = tmp_path_factory.mktemp("pushes")
    assert main(["encode", str(make_sounds(root / "sounds")), "--output", str(root / "codes")]) == 0
    licensed = ["--license", "cc-by-4.0"]
    wanted = {
        "unlicensed": (finetuned, []),
        "leak": (
            make_leaking(finetuned, root / "leak"),
            [*licensed, "--include", "optimizer.pt", "notes.md", "link.txt"],
        ),
        "left-out": (make_messy(finetuned, root / "left-out"), licensed),
        "half": (make_half(finetuned, root / "half"), licensed),
        "sounds": (finetuned, [*licensed, "--private"]),
        "sounds-codes": (root / "codes", licensed),
        "tiny": (make_tiny(root / "tiny"), ["--own-numbers"]),
        "list": (make_cluttered(root / "list"), ["--own-numbers", "--include", *NAMED]),
    }
    before = {name: contents(folder) for name, (folder, _) in wanted.items()}
    flags = {name: [str(folder), f"tester/{name}", *more] for name, (folder, more) in wanted.items()}
    done = ask_client(PUSH_ALL, json.dumps(flags), server=server, home=root / "home", token=TOKEN)
    return {name: Push(wanted[name][0], before[name], **result) for name, result in done.items()}


@pytest.fixture(scope="module")
def answers(server: HubServer, pushes, tmp_path_factory) -> dict[str, list[dict]]:
    """What classifiers that were pushed answer by id where the package is not installed."""
    script, home = WITHOUT_THE_PACKAGE + CLASSIFY, tmp_path_factory.mktemp("load")
    return ask_client(script, "tester/sounds", "tester/tiny", server=server, home=home, token=TOKEN)


@pytest.mark.slow
def test_a_model_without_a_licence_is_refused(server: HubServer, pushes):
    refused = pushes["unlicensed"]
    assert refused.status == 1 and "states no licence" in refused.errors and "Traceback" not in refused.errors
    assert ("models", "tester/unlicensed") not in server.repositories


@pytest.mark.slow
def test_a_model_is_pushed_with_its_card_and_answers_by_id(server: HubServer, pushes, answers):
    assert pushes["sounds"].status == 0, pushes["sounds"].errors
    repository = server.model("tester/sounds")
    assert repository.private and repository.head.sha in pushes["sounds"].output
    files = {path for path in repository.head.files if path != ".gitattributes"}
    assert {"model.safetensors", "config.json", "preprocessor_config.json", "codec/model.safetensors"} <= files
    assert {
        "README.md",
        "eval_results.json",
        "training/curves.png",
        "classes.png",
        "code/modeling_audioformer.py",
    } <= files
    assert not any(path.startswith("checkpoint-") or path.endswith((".bin", ".pt", ".npz")) for path in files)
    card = ModelCard(repository.head.files["README.md"].content.decode())
    assert card.data.license == "cc-by-4.0" and 'model="tester/sounds"' in card.text
    assert {entry["label"] for entry in answers["tester/sounds"]} == {"tone", "noise"}


@pytest.mark.slow
def test_what_must_not_be_published_stays_here(server: HubServer, pushes):
    assert pushes["leak"].status == 1 and ("models", "tester/leak") not in server.repositories
    for finding in (
        "optimizer.pt is a pickle",
        "link.txt is a symbolic link",
        "summary.md is a symbolic link",
        "notes.md contains paths of this machine",
        "notes.md contains what looks like a",
    ):
        assert finding in pushes["leak"].errors


@pytest.mark.slow
def test_what_belongs_to_no_model_is_left_out_and_named(server: HubServer, pushes):
    assert pushes["left-out"].status == 0, pushes["left-out"].errors
    sent = published(server, "tester/left-out")
    assert {".env", "train.log", "evil.PKL", "diary.txt"}.isdisjoint(sent)
    assert set(sent) == set(published(server, "tester/sounds"))
    errors = pushes["left-out"].errors
    assert "Not uploaded" in errors
    assert all(name in errors for name in (".env", "diary.txt", "evil.PKL", "train.log"))


@pytest.mark.slow
def test_weights_that_the_model_needs_are_there(server: HubServer, pushes):
    assert pushes["half"].status == 1 and ("models", "tester/half") not in server.repositories
    assert "The weights lack 1 of the" in pushes["half"].errors and "classifier.weight" in pushes["half"].errors
    assert "1 weights have another shape than in the model, such as classifier.bias" in pushes["half"].errors


@pytest.mark.slow
def test_without_a_token_the_hub_says_so(server: HubServer, finetuned, tmp_path):
    flags = ["tester/nobody", "--license", "cc-by-4.0"]
    done = run_client(PUSH, str(finetuned), *flags, server=server, home=tmp_path)
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "401" in done.stderr or "token" in done.stderr.lower()


@pytest.mark.slow
def test_codes_become_a_data_set(server: HubServer, pushes):
    assert pushes["sounds-codes"].status == 0, pushes["sounds-codes"].errors
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
    for name in ("rows", "a/b/c", "../x", "/tmp/x"):
        with pytest.raises(ValueError, match="`repo_id` must be USER/NAME, got "):
            push_folder(tmp_path / "C1", name)
    with pytest.raises(ValueError, match="`license` 'cc-by-5.0' is no identifier of the Hub"):
        push_folder(tmp_path / "C1", "tester/rows", license="cc-by-5.0")
    assert [path.name for path in (tmp_path / "C1").iterdir()] == ["config.json"]


@pytest.fixture
def tiny(tmp_path) -> Path:
    return make_tiny(tmp_path / "tiny")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def published(server: HubServer, repo_id: str, repo_type: str = "models") -> dict[str, bytes]:
    files = server.repositories[repo_type, repo_id].head.files
    return {path: file.content for path, file in files.items() if path != ".gitattributes"}


@pytest.mark.slow
def test_code_that_is_missing_is_saved_into_a_copy(server: HubServer, pushes, answers, tiny):
    assert lacks_code(tiny)
    push = pushes["tiny"]
    assert push.status == 0, push.errors
    assert contents(push.folder) == push.before
    files = published(server, "tester/tiny")
    code = {name for name in files if name.endswith(".py")}
    # The code and its names in the settings were added, nothing else changed.
    assert code == set(CODE)
    assert set(differing(files, push.before)) == {*code, *SETTINGS}
    for name in SETTINGS:
        settings = json.loads(files[name])
        assert settings.pop("auto_map") and settings == json.loads(push.before[name]), name
    answer = answers["tester/tiny"]
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
        push_folder(tiny, "tester/unknown", own_numbers=True)
    config["auto_map"]["AutoNothing"] = "modeling_audioformer.Nothing"
    (tiny / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="`auto_map` names AutoNothing, which transformers .* lacks"):
        push_folder(tiny, "tester/unknown", complete=save_code)
    assert contents(tiny) == before | {"config.json": (tiny / "config.json").read_bytes()}


@pytest.mark.slow
def test_the_files_that_were_checked_are_the_files_of_the_repository(server: HubServer, pushes):
    push = pushes["list"]
    checked = {path.relative_to(push.folder).as_posix() for path in files_to_upload(push.folder, NAMED)}
    assert push.status == 0, push.errors
    expected = {name: push.before[name] for name in checked}
    assert differing(published(server, "tester/list"), expected) == []
    assert set(NAMED) <= checked
    assert not any(name.startswith(("checkpoint-", "runs/", ".git/", ".unfinished")) for name in checked)
    assert not any("/." in name and name != "docs/.gitkeep" for name in checked)
    assert len(server.model("tester/list").commits) == 2
