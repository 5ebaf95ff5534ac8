"""The stages of BEATs' pre-training through the command, each from the folder of the one before."""

import json
import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForPreTraining, TrainerCallback

from audioformer import BeatsForMaskedAudioModeling, BeatsModel, BeatsTokenizer
from audioformer.cli import main
from audioformer.feature_extraction import BeatsFeatureExtractor
from audioformer.training import create_settings
from audioformer.training.pretraining.beats import open_stage, pretrain_beats
from audioformer.training.trainers import beats_pretraining
from audioformer.training.trainers.code_usage import CodeUsage, perplexity, used_share

from .processes import run_in_process, run_on_two_processes

SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "patch_embedding_size": 16,
    "num_conv_pos_embeddings": 8,
    "codebook_size": 32,
    "codebook_dim": 16,
}
FAST = {"use_cpu": True, "disable_tqdm": True, "num_train_epochs": 2, "per_device_train_batch_size": 4}
FLAGS = [word for name, value in SIZES.items() for word in (f"--{name.replace('_', '-')}", str(value))]
FLAGS += ["--use-cpu", "--disable-tqdm", "true", "--num-train-epochs", "2", "--per-device-train-batch-size", "4"]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    """Hums and hisses of different lengths, in folders of classes."""
    folder = tmp_path_factory.mktemp("sounds")
    for index in range(20):
        rng = np.random.default_rng(index)
        num_samples = 6000 + 400 * index
        hum = 0.3 * np.sin(2 * np.pi * rng.uniform(150, 400) * np.arange(num_samples) / 16000)
        path = folder / ("hum", "hiss")[index % 2] / f"{index}.wav"
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, hum if index % 2 == 0 else 0.1 * rng.standard_normal(num_samples), 16000)
    return folder


def run(recipe: str, output: Path, sounds: Path, *flags: str) -> int:
    return main(["pretrain", "--recipe", recipe, "--data", str(sounds), "--output", str(output), *FLAGS, *flags])


@pytest.fixture(scope="module")
def folders(sounds, tmp_path_factory) -> dict[str, Path]:
    """All stages, of the smallest models."""
    root = tmp_path_factory.mktemp("stages")
    stages = {
        "iter1": [],
        "tokenizer2": ["--teacher", "iter1"],
        "iter2": ["--tokenizer", "tokenizer2"],
        "tokenizer3": ["--teacher", "iter2"],
        "iter3": ["--tokenizer", "tokenizer3"],
        "tokenizer3_plus": ["--teacher", "finetuned"],
        "iter3_plus": ["--tokenizer", "tokenizer3_plus"],
    }
    for name, source in stages.items():
        if name == "tokenizer3_plus":
            command = ["finetune", "--recipe", "tiny_beats_finetune", "--model", str(root / "iter2")]
            command += ["--data", str(sounds), "--output", str(root / "finetuned"), *FLAGS[-6:]]
            assert main(command) == 0
        flags = [source[0], str(root / source[1])] if source else []
        assert run(f"tiny_beats_{name}", root / name, sounds, *flags) == 0
    return {path.name: path for path in root.iterdir()}


def results_of(folder: Path) -> dict:
    return json.loads((folder / "pretrain_results.json").read_text())


def test_every_stage_leaves_a_folder_that_loads(folders):
    for name in ("iter1", "iter2", "iter3", "iter3_plus"):
        loaded, info = BeatsForMaskedAudioModeling.from_pretrained(folders[name], output_loading_info=True)
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        assert type(AutoModelForPreTraining.from_pretrained(folders[name])) is BeatsForMaskedAudioModeling
        assert type(AutoModel.from_pretrained(folders[name])) is BeatsModel
    for name in ("tokenizer2", "tokenizer3", "tokenizer3_plus"):
        loaded, info = BeatsTokenizer.from_pretrained(folders[name], output_loading_info=True)
        assert not any(info[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
        torch.testing.assert_close(loaded.codebook.codes.norm(dim=-1), torch.ones(32))
        assert not [key for key in load_file(folders[name] / "model.safetensors") if "estimator" in key]
    for folder in folders.values():
        assert not list(folder.glob("**/checkpoint-*")) and BeatsFeatureExtractor.from_pretrained(folder)


def test_results_and_card_say_what_was_learned(folders):
    results = results_of(folders["iter2"])
    assert results["tokenizer"] == "tokenizer2" and results["train_clips"] == 18
    for values in (results, results["held_out"]):
        assert 0 <= values["masked_accuracy"] <= 1 and 0 < values["codes_used"] <= 1
        assert 1 <= values["code_perplexity"] <= 32
    assert results["held_out"]["loss"] > 0 and results["training"]["steps"] == 10
    card = (folders["iter2"] / "README.md").read_text()
    assert "by the tokenizer `tokenizer2`" in card and "perplexity of the codes" in card
    distilled = results_of(folders["tokenizer3_plus"])
    assert distilled["teacher"] == "finetuned" and {"estimation_loss", "codebook_loss"} <= distilled.keys()
    assert "logits of `finetuned`" in (folders["tokenizer3_plus"] / "README.md").read_text()


def test_labels_come_from_the_tokenizer_and_targets_from_the_teacher(folders, sounds, tmp_path):
    extractor = BeatsFeatureExtractor()
    inputs = extractor([np.random.default_rng(0).standard_normal(16000)], sampling_rate=16000, return_tensors="pt")
    given = {"data": sounds, "output_dir": tmp_path / "unused", **SIZES}
    settings = create_settings("pretrain", "tiny_beats_iter2", tokenizer=folders["tokenizer2"], **given)
    _, stage = open_stage(settings, extractor)
    expected = BeatsTokenizer.from_pretrained(folders["tokenizer2"]).eval()(**inputs).labels
    assert torch.equal(stage["tokenizer"].eval()(**inputs).labels, expected)
    settings = create_settings("pretrain", "tiny_beats_tokenizer3_plus", teacher=folders["finetuned"], **given)
    _, stage = open_stage(settings, extractor)
    targets = stage["targets_of"](stage["teacher"].eval(), inputs["input_features"], inputs["attention_mask"])
    assert targets.shape == (1, 48, 2) and stage["model"].config.estimator_target_size == 2
    torch.testing.assert_close(targets.mean(1), stage["teacher"](**inputs).logits, atol=1e-5, rtol=0)


def test_recipes_have_the_numbers_of_the_paper():
    expected = {
        "beats_iter1": ("encoder", "random_projection", 5e-4, 35),
        "beats_iter3_plus": ("encoder", "tokenizer", 5e-4, 35),
        "beats_tokenizer2": ("tokenizer", "random_projection", 5e-5, 17),
        "beats_tokenizer3_plus": ("tokenizer", "random_projection", 5e-4, 17),
    }
    for name, (stage, labels_from, rate, batch) in expected.items():
        # Any file stands for the folder of the stage before: nothing is read.
        source = {"tokenizer": {"teacher": __file__}, "encoder": {"tokenizer": __file__}}[stage]
        given = source if name != "beats_iter1" else {}
        settings = create_settings("pretrain", name, output_dir="unused", bf16=False, **given)
        options, training = settings.options, settings.training
        assert (options.stage, options.labels_from) == (stage, labels_from)
        assert (training.learning_rate, training.per_device_train_batch_size) == (rate, batch)
        assert (training.max_steps, training.warmup_steps, training.weight_decay) == (400_000, 32_000, 0.01)
        assert (training.adam_beta2, options.dropout, options.hidden_size) == (0.98, 0.1, 768)
        assert options.teacher_target == ("logits" if name.endswith("tokenizer3_plus") else "hidden_states")


@pytest.mark.parametrize(
    ("recipe", "flags", "message"),
    [
        ("tiny_beats_iter2", [], "`tokenizer` must be given"),
        ("tiny_beats_tokenizer2", [], "`teacher` must be given"),
        ("tiny_beats_iter1", ["--tokenizer", "tokenizer2"], 'is for `stage` "encoder" with `labels_from` "tokenizer"'),
        ("tiny_beats_iter2", ["--tokenizer", "tokenizer2", "--teacher", "iter1"], 'is for `stage` "tokenizer"'),
        ("tiny_beats_iter2", ["--tokenizer", "iter1"], "must hold a BeatsTokenizer, not BeatsForMaskedAudioModeling"),
        ("tiny_beats_tokenizer3_plus", ["--teacher", "iter2"], "must be a classifier"),
        (
            "tiny_beats_tokenizer2",
            ["--teacher", "iter1", "--mean", "3"],
            "reads other spectrograms than this run: mean",
        ),
        ("tiny_beats_tokenizer2", ["--teacher", "iter1", "--ema-decay", "0.9"], "it excludes `ema_decay`"),
    ],
)
def test_what_a_stage_lacks_is_said_before_audio_is_read(recipe, flags, message, folders, sounds, tmp_path, capsys):
    flags = [str(folders.get(flag, flag)) for flag in flags]
    try:
        status = run(recipe, tmp_path / "out", sounds, *flags)
    except SystemExit as error:
        status = error.code
    shown = capsys.readouterr()
    assert status in (1, 2) and message in " ".join(shown.err.split()) and "Data:" not in shown.out


def test_a_collapse_stops_the_run_with_a_message(sounds, tmp_path, capsys):
    data = tmp_path / "data"
    for file in (data / "nothing" / f"{index}.wav" for index in range(12)):
        file.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(file, np.full(48000, 1e-3), 16000)
    assert run("tiny_beats_iter1", tmp_path / "out", data) == 1
    message = " ".join(capsys.readouterr().err.split())
    assert "The codes have collapsed" in message and "`random_projection_distance`" in message
    assert run("tiny_beats_iter1", tmp_path / "other", data, "--min-perplexity", "0") == 0


def test_usage_of_codes():
    usage = CodeUsage(4)
    usage.add(torch.tensor([[0, 0, 1], [-100, -100, 1]]))
    usage.add(torch.tensor([3, 3, 3, 3]))
    counts = usage.take(torch.device("cpu"))
    assert counts.tolist() == [2, 2, 0, 4] and not usage.take(torch.device("cpu")).any()
    assert used_share(counts) == 0.75
    assert perplexity(counts) == pytest.approx(np.exp(-2 * 0.25 * np.log(0.25) - 0.5 * np.log(0.5)))


class Kill(TrainerCallback):
    """Kills the process without warning in the middle of the second epoch."""

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 7:
            os.kill(os.getpid(), signal.SIGKILL)


def pretrain(recipe: str, output: Path, kill: bool, **given) -> None:
    if kill:
        initialize = beats_pretraining.CodesOfPatchesTrainer.__init__

        def with_kill(self, *args, **kwargs):
            initialize(self, *args, **kwargs)
            self.add_callback(Kill())

        beats_pretraining.CodesOfPatchesTrainer.__init__ = with_kill
    settings = create_settings(
        "pretrain", recipe, output_dir=output, resume_from_checkpoint="last", **{**SIZES, **FAST, **given}
    )
    pretrain_beats(settings)


@pytest.mark.parametrize("recipe", ["tiny_beats_iter1", "tiny_beats_tokenizer2"])
def test_a_killed_run_resumes_to_the_same_weights(recipe, folders, sounds, tmp_path):
    given = {"data": sounds, "eval_strategy": "epoch"}
    if recipe == "tiny_beats_tokenizer2":
        given["teacher"] = folders["iter1"]
    with pytest.raises(Exception, match="SIGKILL"):
        run_in_process(_pretrain_in_process, recipe, tmp_path / "run", True, given)
    assert [path.name for path in (tmp_path / "run").glob("training/checkpoint-*")] == ["checkpoint-5"]
    run_in_process(_pretrain_in_process, recipe, tmp_path / "run", False, given)
    run_in_process(_pretrain_in_process, recipe, tmp_path / "whole", False, given)
    resumed, whole = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "whole"))
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, atol=1e-6, rtol=0)
    assert len(results_of(tmp_path / "run")["training"]["parts"]) == 2
    # A finished run is read, not repeated.
    before = (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns
    pretrain(recipe, tmp_path / "run", False, **given)
    assert (tmp_path / "run" / "model.safetensors").stat().st_mtime_ns == before


def _pretrain_in_process(recipe: str, output: Path, kill: bool, given: dict) -> None:
    pretrain(recipe, output, kill, **given)


def test_two_processes_train_one_tokenizer(folders, sounds, tmp_path):
    run_on_two_processes(_distill, tmp_path, folders["iter1"], sounds)
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert results_of(tmp_path / "run")["training"]["num_processes"] == 2
    saved = load_file(tmp_path / "run" / "model.safetensors")
    assert torch.equal(saved["codebook.codes"], first["codes"])


def _distill(output: Path, teacher: Path, sounds: Path) -> None:
    """Keep the codes of each process: they follow the vectors of both."""
    kept = {}
    follow = beats_pretraining.BeatsForTokenizerDistillation.tokenizer

    def keep(self):
        kept["codes"] = self.codebook.codes.clone()
        return follow(self)

    beats_pretraining.BeatsForTokenizerDistillation.tokenizer = keep
    pretrain("tiny_beats_tokenizer2", output / "run", False, data=sounds, teacher=teacher)
    save_file(kept, output / f"{torch.distributed.get_rank()}.safetensors")


def test_one_process_and_two_take_the_same_steps(sounds, tmp_path):
    """The loss is the mean over the hidden patches of all processes, though their clips differ in length."""
    given = {"data": sounds, "max_steps": 3, "dropout": 0.0, "learning_rate": 1e-2, "optim": "sgd", "warmup_steps": 0}
    run_in_process(_pretrain_in_process, "tiny_beats_iter1", tmp_path / "one", False, given)
    run_on_two_processes(
        _pretrain_in_process, "tiny_beats_iter1", tmp_path / "two", False, {**given, "per_device_train_batch_size": 2}
    )
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, atol=1e-5, rtol=0)
    shutil.rmtree(tmp_path / "one")
