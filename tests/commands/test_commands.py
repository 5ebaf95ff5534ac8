"""`audioformer pretrain`, `finetune` and `evaluate` from the first to the last file, on sounds made here."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from transformers import AutoModelForAudioClassification, pipeline

from audioformer.classify import move_extractor
from audioformer.cli import main
from audioformer.data.audio import load_audio
from audioformer.data.codes.encoded import load_codes
from audioformer.evaluation import compute_mean_average_precision
from audioformer.feature_extraction import AudioFormerFeatureExtractor

SIZES = ["--hidden-size", "32", "--num-hidden-layers", "1", "--num-attention-heads", "2", "--intermediate-size", "64"]
SHORT = ["--num-train-epochs", "2", "--seed", "3", "--disable-tqdm", "true"]
CLASSES = ("low", "high", "noise")


def sound(kind: str, rng: np.random.Generator) -> np.ndarray:
    time = np.arange(6000) / 12000
    pitch = {"low": 200, "high": 3000}.get(kind)
    return 0.3 * (
        rng.standard_normal(6000) if pitch is None else np.sin(2 * np.pi * pitch * rng.uniform(0.9, 1.1) * time)
    )


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """Folders of classes with a `train` and a `test` part, and a manifest of mixtures with folds."""
    folder = tmp_path_factory.mktemp("sounds")
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", 4)):
        for kind in CLASSES:
            for index in range(count):
                path = folder / "one" / split / kind / f"{index}.wav"
                path.parent.mkdir(parents=True, exist_ok=True)
                soundfile.write(path, sound(kind, rng), 12000)
    (folder / "two").mkdir()
    with (folder / "two" / "list.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "labels", "fold"])
        for index in range(30):
            kinds = [CLASSES[index % 3], CLASSES[(index + 1) % 3]] if index % 2 else [CLASSES[index % 3]]
            soundfile.write(folder / "two" / f"{index}.wav", sum(sound(kind, rng) for kind in kinds), 12000)
            writer.writerow([f"{index}.wav", ";".join(kinds), 1 + index % 5])
    return folder


def common(sounds: Path) -> list[str]:
    return ["--cache-dir", str(sounds / "cache"), *SHORT]


@pytest.fixture(scope="module")
def pretrained(sounds) -> Path:
    output = sounds / "pretrained"
    command = ["pretrain", "--recipe", "tiny_pretrain", "--data", str(sounds / "one"), "--codebooks", "0", "1"]
    assert main([*command, *SIZES, "--output", str(output), *common(sounds)]) == 0
    return output


@pytest.fixture(scope="module")
def finetuned(sounds, pretrained) -> Path:
    output = sounds / "ft2"
    command = ["finetune", "--recipe", "tiny_ft2", "--model", str(pretrained / "C1")]
    command += ["--teachers", str(pretrained / "C2"), "--data", str(sounds / "one"), "--output", str(output)]
    assert main([*command, *common(sounds)]) == 0
    return output


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_pretraining_writes_a_model_for_each_row(pretrained, capsys):
    for row in (1, 2):
        folder = pretrained / f"C{row}"
        results = json.loads((folder / "pretrain_results.json").read_text())
        assert results["codebook"] == row - 1 and 0 < results["held_out_loss"] < 8
        assert results["train_clips"] + results["held_out_clips"] == 30  # the test part is not touched
        assert json.loads((folder / "config.json").read_text())["codebook"] == row - 1
        assert json.loads((folder / "preprocessor_config.json").read_text())["codebooks"] == row - 1
        assert not (folder / "training_args.bin").exists()
        assert names_in(folder) == {
            *("README.md", "card_facts.json", "code", "codec", "config.json", "model.safetensors"),
            *("preprocessor_config.json", "pretrain_results.json", "training"),
        }
        assert names_in(folder / "training") == {"trainer_state.json"}


def test_finished_rows_are_kept_and_nothing_is_overwritten(sounds, pretrained, capsys):
    command = ["pretrain", "--recipe", "tiny_pretrain", "--data", str(sounds / "one"), "--codebooks", "0", "1"]
    command += [*SIZES, "--output", str(pretrained), *common(sounds)]
    assert main(command) == 1
    assert "holds a finished run" in capsys.readouterr().err
    written = (pretrained / "C1" / "model.safetensors").stat().st_mtime_ns
    assert main([*command, "--resume-from-checkpoint"]) == 0
    assert "C2" in capsys.readouterr().out
    assert (pretrained / "C1" / "model.safetensors").stat().st_mtime_ns == written


def test_ft2_gives_a_plain_classifier_that_loads_through_pipeline(sounds, finetuned):
    results = json.loads((finetuned / "eval_results.json").read_text())
    assert results["num_clips"] == 12 and results["selection"] == "a held-out part of the training clips"
    assert results["data"]["found"] == 42 and results["settings"]["method"] == "ft2"
    assert (finetuned / "classes.png").is_file() and (finetuned / "training" / "curves.png").is_file()
    history = json.loads((finetuned / "training" / "trainer_state.json").read_text())["log_history"]
    assert all({"loss", "classification_loss", "mpc_loss"} <= record.keys() for record in history if "loss" in record)
    classifier = pipeline("audio-classification", model=str(finetuned))
    file = next((sounds / "one" / "test" / "low").glob("*.wav"))
    scores = classifier(load_audio(file, sampling_rate=24000)[0])
    assert {entry["label"] for entry in scores} == set(CLASSES)
    assert sum(entry["score"] for entry in scores) == pytest.approx(1, abs=1e-4)


def test_results_and_model_are_on_top_and_checkpoints_are_dropped(finetuned):
    assert names_in(finetuned) == {
        *("README.md", "summary.md", "eval_results.json", "predictions.npz", "classes.png", "card_facts.json"),
        *(
            "config.json",
            "model.safetensors",
            "preprocessor_config.json",
            "codec",
            "code",
            "training",
        ),
    }
    assert names_in(finetuned / "training") == {"curves.png", "run_data.json", "trainer_state.json", "teachers"}
    assert "(training/curves.png)" in (finetuned / "README.md").read_text()
    code = names_in(finetuned / "code")
    for name in ("config.json", "preprocessor_config.json"):
        references = json.loads((finetuned / name).read_text())["auto_map"].values()
        assert {reference.removeprefix("code/").split(".")[0] + ".py" for reference in references} <= code
        assert all(reference.startswith("code/") for reference in references)


def test_a_model_below_its_code_loads_without_the_package(finetuned, tmp_path):
    script = f"""
import sys
sys.modules["audioformer"] = None
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification
for auto in (AutoFeatureExtractor, AutoModelForAudioClassification):
    loaded = auto.from_pretrained({str(finetuned)!r}, trust_remote_code=True)
    assert type(loaded).__module__.startswith("transformers_modules"), type(loaded)
"""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["HF_MODULES_CACHE"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, cwd=tmp_path)


def test_resuming_a_finished_run_says_so_and_changes_nothing(sounds, pretrained, finetuned, capsys):
    before = {path: path.stat().st_mtime_ns for path in finetuned.rglob("*")}
    command = ["finetune", "--recipe", "tiny_ft2", "--model", str(pretrained / "C1"), "--resume-from-checkpoint"]
    command += ["--teachers", str(pretrained / "C2"), "--data", str(sounds / "one"), "--output", str(finetuned)]
    assert main([*command, *common(sounds)]) == 0
    said = capsys.readouterr().out
    results = json.loads((finetuned / "eval_results.json").read_text())
    low, high = results["interval_95"]
    assert "there is nothing to resume" in said
    assert f"accuracy {results['accuracy']:.1%} (95 % interval {low:.1%} to {high:.1%}) on 12 test clips" in said
    assert {path: path.stat().st_mtime_ns for path in finetuned.rglob("*")} == before


def test_checkpoints_of_an_earlier_layout_are_resumed_and_dropped(sounds, pretrained, tmp_path, capsys):
    output = tmp_path / "x"
    command = ["finetune", "--recipe", "tiny_ft1", "--model", str(pretrained / "C1"), "--data", str(sounds / "one")]
    command += ["--output", str(output), *common(sounds)]
    assert main([*command, "--keep-checkpoints"]) == 0
    said = capsys.readouterr().out
    last, steps = sorted((output / "training").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1])), 4
    assert len(last) == 2 and f"training: {steps} steps; 27 clips" in said and "epoch 2 of 2: step 4 of 4" in said
    weights = load_file(output / "model.safetensors")
    # As a run of an earlier version that was killed after its first epoch.
    old = tmp_path / "old"
    shutil.copytree(last[0], old / last[0].name)
    command[command.index(str(output))] = str(old)
    assert main(command) == 1
    assert "holds checkpoints of a run" in capsys.readouterr().err
    assert main([*command, "--resume-from-checkpoint"]) == 0
    assert "resumed after step 2" in capsys.readouterr().out
    assert not list(old.rglob("checkpoint-*"))
    again = load_file(old / "model.safetensors")
    assert all(torch.equal(again[name], weight) for name, weight in weights.items())


def test_evaluate_gives_the_number_of_the_fine_tuning(sounds, finetuned, tmp_path, capsys):
    command = ["evaluate", "--model", str(finetuned), "--data", str(sounds / "one"), "--output", str(tmp_path / "e")]
    assert main([*command, "--cache-dir", str(sounds / "cache")]) == 0
    said = capsys.readouterr().out
    assert "accuracy" in said and "95 % interval" in said and "clips       42 windows and clips of 42 listed" in said
    first, second = (json.loads((folder / "eval_results.json").read_text()) for folder in (finetuned, tmp_path / "e"))
    assert second["accuracy"] == first["accuracy"] and second["interval_95"] == first["interval_95"]


def test_codes_that_were_encoded_before_are_enough(sounds, finetuned, tmp_path):
    (codes,) = (sounds / "cache").glob("one-*")
    command = ["evaluate", "--model", str(finetuned), "--codes", str(codes), "--output", str(tmp_path / "e")]
    assert main(command) == 0
    first, second = (json.loads((folder / "eval_results.json").read_text()) for folder in (finetuned, tmp_path / "e"))
    assert second["accuracy"] == first["accuracy"]


def test_gains_print_and_record_what_is_lost(sounds, finetuned, tmp_path, capsys):
    command = ["evaluate", "--model", str(finetuned), "--data", str(sounds / "one"), "--gains", "-40", "10", "-6.5"]
    assert main([*command, "--output", str(tmp_path / "e"), "--cache-dir", str(tmp_path / "cache")]) == 0
    said = capsys.readouterr().out
    # Codes of every gain are kept, each in its folder, of test clips alone; the report is printed once.
    folders = [file.parent for file in (tmp_path / "cache").glob("one-*/codes.json")]
    assert sorted(len(load_codes(folder)) for folder in folders) == [12, 12, 12, 42]
    assert said.count("42 windows and clips of") == 1
    results = json.loads((tmp_path / "e" / "eval_results.json").read_text())
    before = json.loads((finetuned / "eval_results.json").read_text())
    assert results["accuracy"] == before["accuracy"] and results["settings"]["gains"] == [-40.0, 10.0, -6.5]
    assert [row["gain_db"] for row in results["gains"]] == [-40.0, -6.5, 0.0, 10.0]
    assert results["gains"][2] == {
        "gain_db": 0.0,
        "accuracy": results["accuracy"],
        "interval_95": results["interval_95"],
        "difference": 0.0,
    }
    for row in results["gains"]:
        assert row["difference"] == pytest.approx(row["accuracy"] - results["accuracy"])
        low, high = row["interval_95"]
        assert f"{row['accuracy']:.1%}{f'{low:.1%} to {high:.1%}':>20}" in said
    assert said.count("points") == 3 and "-6.5 dB" in said and "against 0 dB" in said
    # What is measured are the same clips, made softer beforehand.
    for path in (sounds / "one").rglob("*.wav"):
        samples, rate = soundfile.read(path, dtype="float32")
        softer = tmp_path / "softer" / path.relative_to(sounds / "one")
        softer.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(softer, (samples * np.float64(0.01)).astype(np.float32), rate, subtype="FLOAT")
    command = ["evaluate", "--model", str(finetuned), "--data", str(tmp_path / "softer"), "--keep-silent"]
    assert main([*command, "--output", str(tmp_path / "f"), "--cache-dir", str(tmp_path / "cache")]) == 0
    by_hand = json.loads((tmp_path / "f" / "eval_results.json").read_text())
    assert by_hand["accuracy"] == results["gains"][0]["accuracy"] and "gains" not in by_hand


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--data", "{sounds}/one", "--gains", "200"], "`gains` must be in [-120.0, 120.0] dB, got 200.0"),
        (["--data", "{sounds}/one", "--gains", "0", "nan"], "`gains` must be in [-120.0, 120.0] dB, got nan"),
        (["--data", "{sounds}/one", "--gains", "soft"], "must be a number"),
        (["--data", "{sounds}/one", "--gains"], "expected at least one argument"),
        (["--codes", "{sounds}", "--gains", "3"], "`gains` changes the waveforms of the test clips, but '{sounds}'"),
        (["--data", "{sounds}/one", "--eval-codes", "{sounds}", "--gains", "3"], "but '{sounds}' holds codes"),
    ],
)
def test_gains_that_cannot_be_measured_are_told_first(sounds, finetuned, tmp_path, capsys, flags, message):
    command = ["evaluate", "--model", str(finetuned), *(flag.format(sounds=sounds) for flag in flags)]
    with pytest.raises(SystemExit) as stopped:
        main([*command, "--output", str(tmp_path / "e"), "--cache-dir", str(tmp_path / "cache")])
    assert stopped.value.code == 2 and message.format(sounds=sounds) in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_a_model_is_trained_saved_and_used_at_one_level(sounds, pretrained, tmp_path, capsys):
    data = ["--data", str(sounds / "one")]
    # The tiny recipes normalize; those of the paper do not.
    model = pretrained / "C1"
    assert json.loads((model / "preprocessor_config.json").read_text())["normalize"] == "rms"
    assert "| level | each clip is scaled to a root mean square of 0.1" in (model / "README.md").read_text()
    # The setting is that of the model from then on, also with another codec.
    for name, codec in (("a", []), ("b", ["--codec", str(model / "codec")])):
        command = ["finetune", "--recipe", "tiny_ft1", "--model", str(model), *data, *codec, *common(sounds)]
        assert main([*command, "--output", str(tmp_path / name)]) == 0
        assert json.loads((tmp_path / name / "preprocessor_config.json").read_text())["normalize"] == "rms"
    assert "| level | each clip is scaled" in (tmp_path / "a" / "README.md").read_text()
    command = [
        "evaluate",
        "--model",
        str(tmp_path / "a"),
        *data,
        "--gains",
        "-12.041199826559248",
        "12.041199826559248",
    ]
    assert main([*command, "--output", str(tmp_path / "e"), "--cache-dir", str(tmp_path / "cache")]) == 0
    results = json.loads((tmp_path / "e" / "eval_results.json").read_text())
    assert [row["difference"] for row in results["gains"]] == [0, 0, 0]
    classifier = pipeline("audio-classification", model=str(tmp_path / "a"))
    waveform, rate = load_audio(next((sounds / "one" / "test" / "low").glob("*.wav")), sampling_rate=24000)
    for gain in (2.0**-5, 2.0**3):
        assert classifier(waveform * np.float32(gain)) == classifier(waveform)
    capsys.readouterr()
    # Neither its codes nor its frozen models are mixed with those of another level.
    command = ["pretrain", "--recipe", "pretrain", *data, "--codebooks", "0", "1", *SIZES, *common(sounds)]
    assert main([*command, "--output", str(tmp_path / "as-it-is")]) == 0
    other = tmp_path / "as-it-is"
    assert json.loads((other / "C1" / "preprocessor_config.json").read_text()).get("normalize") is None
    wrong = ["finetune", "--recipe", "tiny_ft1", *data, "--output", str(tmp_path / "x"), *common(sounds)]
    assert main([*wrong, "--model", str(other / "C1"), "--normalize", "rms"]) == 1
    assert "`normalize` 'rms' does not fit `model`" in capsys.readouterr().err
    assert main([*wrong, "--model", str(model), "--method", "ft2", "--teachers", str(other / "C2")]) == 1
    said = capsys.readouterr()
    assert "was pre-trained with `normalize` None, but the feature extractor has `normalize` 'rms'" in said.err
    assert "clips  " not in said.out, "nothing was encoded"
    codes = next(path.parent for path in (sounds / "cache").glob("one-*/codes.json") if '"rms"' in path.read_text())
    command = ["finetune", "--recipe", "tiny_ft1", "--codes", str(codes), "--output", str(tmp_path / "y"), *SHORT]
    assert main([*command, "--model", str(other / "C1")]) == 1
    assert "were made with `normalize` 'rms'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def tagged(sounds, pretrained) -> Path:
    output = sounds / "tags"
    command = ["finetune", "--recipe", "tiny_ft1", "--model", str(pretrained / "C1"), "--eval-folds", "5"]
    command += ["--data", str(sounds / "two" / "list.csv"), "--output", str(output), "--held-out-share", "0.3"]
    assert main([*command, *common(sounds)]) == 0
    return output


def test_several_labels_train_with_lsep_and_are_calibrated(sounds, tagged):
    results = json.loads((tagged / "eval_results.json").read_text())
    with np.load(tagged / "predictions.npz") as file:
        again = compute_mean_average_precision(file["scores"], file["targets"])["mAP"]
    assert results["mAP"] == pytest.approx(again) and results["num_clips"] == 6
    config = json.loads((tagged / "config.json").read_text())
    assert config["classification_loss"] == "lsep" and config["problem_type"] == "multi_label_classification"
    assert config["calibration_temperature"] > 0 and len(config["calibration_bias"]) == 3
    model = AutoModelForAudioClassification.from_pretrained(tagged)
    with np.load(tagged / "predictions.npz") as file:
        probabilities, share = torch.from_numpy(file["scores"]).sigmoid().mean(), file["targets"].mean()
    assert probabilities.item() == pytest.approx(share, abs=0.2)
    assert model.config.id2label == {0: "high", 1: "low", 2: "noise"}


def test_selection_on_the_test_clips_is_said(sounds, pretrained, tmp_path, capsys):
    command = ["finetune", "--recipe", "tiny_ft1", "--model", str(pretrained / "C1"), "--data", str(sounds / "one")]
    assert main([*command, "--select-on-eval", "--output", str(tmp_path / "x"), *common(sounds)]) == 0
    assert "checkpoint selected on: the test clips themselves, as in the paper (optimistic)" in capsys.readouterr().out


def test_labels_that_the_model_does_not_know_are_named(sounds, tagged, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(sounds / "one" / "test" / "low", other / "bird")
    shutil.copytree(sounds / "one" / "test" / "high", other / "high")
    flags = ["--data", str(other), "--output", str(tmp_path / "e"), "--cache-dir", str(sounds / "cache")]
    assert main(["evaluate", "--model", str(tagged), *flags]) == 1
    said = capsys.readouterr().err
    assert "does not know 1 of the 2 labels of the data: bird" in said and "high, low, noise" in said
    command = ["finetune", "--recipe", "tiny_ft1", "--model", str(tagged), "--held-out-share", "0.5", *flags, *SHORT]
    assert main(command) == 1
    assert "bird" in capsys.readouterr().err
    assert main([*command, "--new-head"]) == 0


def test_labels_are_compared_before_any_audio_is_read(sounds, tagged, tmp_path, capsys):
    (tmp_path / "other" / "bird").mkdir(parents=True)
    (tmp_path / "other" / "bird" / "1.wav").write_text("no audio")
    flags = ["--model", str(tagged), "--data", str(tmp_path / "other"), "--output", str(tmp_path / "e")]
    for command in (["evaluate"], ["finetune", "--recipe", "tiny_ft1"]):
        assert main([*command, *flags]) == 1
        assert "does not know 1 of the 1 labels of the data: bird" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model", "{pretrained}/C1"], "must be a classifier"),
        (["--model", "{pretrained}/C3"], "`model` '{pretrained}/C3' does not exist"),
        ([], "`model` must be given"),
        (["--model", "{tagged}", "--codes", "{sounds}"], "exactly one of `data` and `codes`"),
    ],
)
def test_what_cannot_be_evaluated_is_told(sounds, pretrained, tagged, tmp_path, capsys, flags, message):
    names = {"pretrained": pretrained, "tagged": tagged, "sounds": sounds}
    command = ["evaluate", *(flag.format(**names) for flag in flags), "--data", str(sounds / "one")]
    try:
        status = main([*command, "--output", str(tmp_path / "e"), "--cache-dir", str(sounds / "cache")])
    except SystemExit as stopped:
        status = stopped.code
    assert status in (1, 2)
    assert message.format(**names) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--method", "ft2", "--teachers", "{pretrained}/C1"], "C1"),
        (["--classification-loss", "lsep"], "`classification_loss` 'lsep' does not fit data with one label per clip"),
        (["--codebook", "4"], "`codebook` must be at least 0 and below `num_codebooks` (4), got 4"),
        (["--train-split", "dev"], "`split` ['dev'] is not in the data"),
        (["--crop-frames", "9", "--method", "ft2", "--teachers", "{pretrained}/C2"], "online_teachers"),
    ],
)
def test_what_cannot_be_fine_tuned_is_told_before_training(sounds, pretrained, tmp_path, capsys, flags, message):
    command = ["finetune", "--recipe", "tiny_ft1", "--model", str(pretrained / "C1"), "--data", str(sounds / "one")]
    command += [flag.format(pretrained=pretrained) for flag in flags]
    try:
        status = main([*command, "--output", str(tmp_path / "x"), *common(sounds)])
    except SystemExit as stopped:
        status = stopped.code
    assert status in (1, 2)
    assert message in capsys.readouterr().err
    assert not list((tmp_path / "x").glob("checkpoint-*"))


def test_help_of_the_whole_command_names_all_parts(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    said = capsys.readouterr().out
    assert all(name in said for name in ("classify", "pretrain", "finetune", "evaluate"))


def test_the_codec_works_where_the_model_does():
    """`transformers.pipeline` moves only the model."""
    extractor = AudioFormerFeatureExtractor(codec=None)
    move_extractor(SimpleNamespace(feature_extractor=extractor, device=torch.device("cuda:0")))
    assert extractor.device == "cuda:0"
    move_extractor(SimpleNamespace(feature_extractor=object(), device=torch.device("cuda:0")))
