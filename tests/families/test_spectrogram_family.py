"""The seam: a family that no file outside `tests/` names trains, evaluates, classifies, is pushed and is loaded."""

import json
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import soundfile
from transformers import pipeline

from audioformer import DashengConfig, DashengFeatureExtractor, DashengModel
from audioformer.app.sound_classifier import SoundClassifier
from audioformer.cli import main
from audioformer.data.audio import load_audio
from audioformer.data.audio.augmentation import Augmentation

from ..hub.client import ask_client
from ..hub.conftest import server  # noqa: F401  (a fixture)
from ..hub.server import TOKEN

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def finetuned(family, sounds, tmp_path_factory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "toy"
    command = ["finetune", "--recipe", "toy", "--data", str(sounds), "--output", str(output)]
    assert main([*command, "--hidden-size", "16", "--use-cpu", "--disable-tqdm", "true"]) == 0
    return output


def test_it_is_fine_tuned_by_its_recipe_and_its_own_size_flags(finetuned):
    results = json.loads((finetuned / "eval_results.json").read_text())
    assert results["num_clips"] == 20 and results["accuracy"] >= 0.9
    assert results["settings"]["family"] == "toy_spectrogram" and results["settings"]["hidden_size"] == 16
    assert json.loads((finetuned / "config.json").read_text())["hidden_size"] == 16
    assert results["data"]["found"] == 40 and (finetuned / "training" / "curves.png").is_file()


def test_evaluate_gives_the_same_metric(finetuned, sounds, tmp_path):
    command = ["evaluate", "--model", str(finetuned), "--data", str(sounds), "--output", str(tmp_path / "e")]
    assert main([*command, "--use-cpu", "--dataloader-num-workers", "1"]) == 0
    again, first = (json.loads((path / "eval_results.json").read_text()) for path in (tmp_path / "e", finetuned))
    assert again["accuracy"] == first["accuracy"] and again["interval_95"] == first["interval_95"]


def test_gains_reach_its_waveforms(finetuned, sounds, tmp_path):
    command = ["evaluate", "--model", str(finetuned), "--data", str(sounds), "--output", str(tmp_path / "e")]
    assert main([*command, "--gains", "-60", "0"]) == 0
    results = json.loads((tmp_path / "e" / "eval_results.json").read_text())
    metric = "mAP" if "mAP" in results else "accuracy"
    assert [row["gain_db"] for row in results["gains"]] == [-60, 0]
    assert results["gains"][0][metric] < results["gains"][1][metric] == results[metric]


def test_windows_of_a_long_file_are_one_tested_clip(finetuned, sounds, tmp_path):
    command = ["evaluate", "--model", str(finetuned), "--data", str(sounds), "--output", str(tmp_path / "e")]
    assert main([*command, "--use-cpu", "--max-length-s", "0.5"]) == 0
    results = json.loads((tmp_path / "e" / "eval_results.json").read_text())
    assert results["data"]["found"] > 40 and results["num_clips"] == 20


def test_augmented_copies_are_made_as_its_training_clips_are_read(family, sounds, tmp_path, monkeypatch):
    heard = set()
    apply = Augmentation.apply

    def record(self, waveform, rng):
        heard.add(len(waveform))
        return apply(self, waveform, rng)

    monkeypatch.setattr(Augmentation, "apply", record)
    command = ["finetune", "--recipe", "toy", "--data", str(sounds), "--output", str(tmp_path / "augmented")]
    flags = ["--augment-copies", "50", "--augment-with", "gain", "--num-train-epochs", "3", "--use-cpu"]
    assert main([*command, *flags, "--dataloader-num-workers", "0"]) == 0
    lengths = {
        split: {soundfile.info(file).frames * 2 for file in (sounds / split).glob("*/*.wav")}
        for split in ("train", "test")
    }
    assert len(heard & lengths["train"]) > 10 and not heard - lengths["train"]
    results = json.loads((tmp_path / "augmented" / "eval_results.json").read_text())
    assert results["settings"]["augmented_copies"]["copies"] == 50


def test_its_training_clips_are_rolled_mixed_and_masked(family, sounds, tmp_path, monkeypatch):
    from audioformer.training.examples import audio

    called = Counter()

    def counted(name, function):
        def count(*arguments):
            called[name] += 1
            return function(*arguments)

        return count

    names = ("roll_waveform", "mix_waveforms", "mask_spectrogram", "amplify_waveform", "hide_stretches")
    for name in (*names, "mix_spectrograms"):
        monkeypatch.setattr(audio, name, counted(name, getattr(audio, name)))
    command = ["finetune", "--recipe", "toy", "--data", str(sounds), "--output", str(tmp_path / "changed")]
    flags = ["--roll", "--mixup-alpha", "0.8", "--spec-augment", "0.2", "--num-train-epochs", "1", "--use-cpu"]
    flags += ["--gain-db", "-7", "6", "--mask-frames", "8", "--spectrogram-mixup-alpha", "0.3"]
    assert main([*command, *flags, "--dataloader-num-workers", "0"]) == 0
    # Of the 20 training clips 2 are held out; they and the 20 of the test stay as they are.
    of_clips = ("roll_waveform", "mask_spectrogram", "amplify_waveform", "hide_stretches")
    assert called == {**dict.fromkeys(of_clips, 18), "mix_waveforms": 3, "mix_spectrograms": 3}


def test_another_run_starts_from_it(finetuned, sounds, tmp_path):
    command = [
        "finetune",
        "--recipe",
        "toy",
        "--model",
        str(finetuned),
        "--data",
        str(sounds),
        "--learning-rate",
        "1e-5",
    ]
    flags = ["--output", str(tmp_path / "more"), "--use-cpu", "--eval-strategy", "no", "--save-strategy", "no"]
    assert main([*command, *flags, "--load-best-model-at-end", "false"]) == 0
    assert json.loads((tmp_path / "more" / "eval_results.json").read_text())["accuracy"] >= 0.9


def test_classify_and_pipeline_use_it(finetuned, sounds, capsys):
    file = next((sounds / "test" / "hiss").glob("*.wav"))
    assert main(["classify", "--model", str(finetuned), "--json", str(file)]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert next(iter(scores)) == "hiss"
    classifier = pipeline("audio-classification", model=str(finetuned))
    by_pipeline = {entry["label"]: entry["score"] for entry in classifier(load_audio(file, 16000)[0], top_k=None)}
    assert scores == pytest.approx(by_pipeline, abs=1e-5)


def test_the_page_shows_what_it_receives(finetuned, sounds):
    file = next((sounds / "test" / "hum").glob("*.wav"))
    shown = SoundClassifier(str(finetuned))(file)
    assert next(iter(shown.scores.scores)) == "hum"
    assert shown.heard.view.title == "Spectrogram" and shown.heard.view.values.shape[0] == 64


PUSH_AND_LOAD = """
import json
import sys
sys.path.insert(0, sys.argv[1])
from audioformer.cli import main
from tests.families import spectrogram_family
from audioformer.training.families import register_family
from transformers import pipeline

spectrogram_family.register_auto_classes()
register_family(spectrogram_family.FAMILY)
assert main(["push", sys.argv[2], "tester/toy", "--license", "cc0-1.0"]) == 0
classifier = pipeline("audio-classification", model="tester/toy")
print(json.dumps(type(classifier.model).__name__))
"""


def test_the_pushed_repository_loads_through_pipeline(finetuned, server, tmp_path):  # noqa: F811
    folder = shutil.copytree(finetuned, tmp_path / "toy")
    loaded = ask_client(PUSH_AND_LOAD, str(ROOT), str(folder), server=server, home=tmp_path / "home", token=TOKEN)
    assert loaded == "ToyForAudioClassification"
    card = (folder / "README.md").read_text()
    assert "Toy spectrogram" in card and "AudioFormer" not in card and 'model="tester/toy"' in card


def test_what_it_cannot_do_is_said(finetuned, sounds, tmp_path, capsys):
    out = ["--output", str(tmp_path / "x")]
    assert main(["pretrain", "--family", "toy_spectrogram", "--data", str(sounds), *out]) == 1
    assert "Toy spectrogram cannot be pre-trained" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["finetune", "--recipe", "tiny_ft1", "--model", str(finetuned), "--data", str(sounds), *out])
    assert "`model` is of Toy spectrogram, `recipe` is of AudioFormer" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(SystemExit):
        main(["finetune", "--recipe", "toy", "--codes", str(sounds), *out])
    assert "--codes does not apply to `audioformer finetune` of Toy spectrogram" in capsys.readouterr().err


def test_nothing_outside_the_tests_names_it():
    files = subprocess.run(["git", "grep", "-il", "toy_spectrogram"], cwd=ROOT, capture_output=True, text=True).stdout
    assert all(name.startswith("tests/") for name in files.split())


def test_it_is_probed_beside_another_family(finetuned, sounds, tmp_path):
    dasheng = tmp_path / "dasheng"
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    DashengModel(DashengConfig(**sizes)).save_pretrained(dasheng)
    DashengFeatureExtractor().save_pretrained(dasheng)
    command = ["probe", "--model", str(finetuned), str(dasheng), "--data", str(sounds), "--probes", "knn", "--use-cpu"]
    assert main([*command, "--output", str(tmp_path / "p"), "--vectors-dir", str(tmp_path / "vectors")]) == 0
    results = json.loads((tmp_path / "p" / "probe.json").read_text())
    assert [row["family"] for row in results["rows"]] == ["toy_spectrogram", DashengConfig.model_type]
    assert results["num_clips"] == 20 and results["rows"][0]["accuracy"] >= 0.9
