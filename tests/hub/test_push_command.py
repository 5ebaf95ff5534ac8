"""`audioformer push`: a fine-tuned folder and a folder of codes in one commit each, and what is refused before any."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from huggingface_hub import ModelCard

from audioformer.cli import main
from audioformer.model_cards.push import push_folder

from .client import WITHOUT_THE_PACKAGE, ask_client, run_client
from .server import TOKEN, HubServer

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
        "notes.md names paths of this machine",
        "notes.md holds what looks like a",
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
    with pytest.raises(ValueError, match="neither a model .* nor codes .* Push one of C1, C2 in it"):
        push_folder(tmp_path, "tester/rows")
    with pytest.raises(ValueError, match="`repo_id` must be USER/NAME, got 'rows'"):
        push_folder(tmp_path / "C1", "rows")
