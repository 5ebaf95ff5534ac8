"""`audioformer pretrain --synthetic-hours`, without data and beside data."""

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from audioformer.cli import main
from audioformer.training.trainers import AudioFormerMLMTrainer

SMALL = [
    *("--recipe", "tiny_pretrain", "--codebooks", "0", "--num-codebooks", "1", "--hidden-size", "32"),
    *("--num-hidden-layers", "1", "--num-attention-heads", "2", "--intermediate-size", "64"),
    *("--num-train-epochs", "2", "--seed", "3", "--disable-tqdm", "true"),
    *("--synthetic-hours", "0.004", "--synthetic-clip-s", "0.5"),
]
"""Four thousandths of an hour are 29 clips of half a second."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("synthetic")
    rng = np.random.default_rng(0)
    for index in range(20):
        path = folder / "sounds" / ("high" if index % 2 else "low") / f"{index}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, 0.1 * rng.standard_normal(6000), 12000)
    return folder


def pretrain(folder: Path, output: str, *flags: str) -> int:
    return main(["pretrain", *SMALL, "--cache-dir", str(folder / "cache"), "--output", str(folder / output), *flags])


def read(folder: Path, output: str) -> tuple[dict, dict, str]:
    run, model = folder / output, folder / output / "C1"
    data = json.loads((run / "training" / "run_data.json").read_text())
    return data, json.loads((model / "pretrain_results.json").read_text()), (model / "README.md").read_text()


@pytest.fixture(scope="module")
def alone(folder) -> Path:
    output = StringIO()
    with redirect_stdout(output):
        assert pretrain(folder, "alone") == 0
    # Names that are counted through are no sign of recordings or speakers.
    assert "Data: synthetic (synthetic)" in output.getvalue() and "groups" not in output.getvalue()
    return folder / "alone"


@pytest.fixture(scope="module")
def beside(folder, alone) -> Path:
    assert pretrain(folder, "beside", "--data", str(folder / "sounds")) == 0
    # Encoded once, for both runs.
    assert len(list(folder.glob("cache/synthetic-*"))) == 1
    return folder / "beside"


def test_synthetic_sound_takes_the_place_of_data(folder, alone):
    data, results, card = read(folder, "alone")
    assert data["train"]["source"] == data["held_out"]["source"] == "synthetic" and "synthetic" not in data
    assert (results["train_clips"], results["held_out_clips"]) == (26, 3)
    expected = {"clips": 29, "hours": 0.004, "clip_s": 0.5, "seed": 0, "beside_data": False}
    assert results["synthetic"] == expected
    assert "| synthetic sound | all clips, 0.004 hours in clips of 0.5 s" in card
    assert not list(folder.rglob("cache/**/*.wav"))


def test_synthetic_sound_trains_beside_data_and_real_clips_are_held_out(folder, beside):
    data, results, card = read(folder, "beside")
    assert data["train"]["source"] == data["held_out"]["source"] == "sounds"
    assert (data["train"]["num_clips"], data["held_out"]["num_clips"]) == (18, 2)
    assert (data["synthetic"]["source"], data["synthetic"]["num_clips"]) == ("synthetic", 29)
    assert (results["train_clips"], results["held_out_clips"]) == (18 + 29, 2)
    assert results["synthetic"]["beside_data"] and "| synthetic sound | 29 of the clips, 0.004 hours" in card


def test_a_run_that_was_stopped_is_resumed_exactly_and_only_on_the_same_sound(folder, beside, capsys, monkeypatch):
    calls: list[None] = []
    train = AudioFormerMLMTrainer.training_step

    def stopped(trainer: AudioFormerMLMTrainer, *arguments, **options) -> torch.Tensor:
        calls.append(None)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return train(trainer, *arguments, **options)

    flags = ("--data", str(folder / "sounds"), "--save-strategy", "epoch")
    with monkeypatch.context() as patch:
        patch.setattr(AudioFormerMLMTrainer, "training_step", stopped)
        assert pretrain(folder, "stopped", *flags) != 0
    assert len(calls) == 5 and list((folder / "stopped").glob("**/checkpoint-3"))
    assert pretrain(folder, "stopped", *flags, "--resume-from-checkpoint", "--synthetic-seed", "1") == 1
    assert "was begun with other clips: synthetic clips (then 29 of synthetic" in capsys.readouterr().err
    assert pretrain(folder, "stopped", *flags, "--resume-from-checkpoint") == 0
    whole, resumed = (load_file(run / "C1" / "model.safetensors") for run in (beside, folder / "stopped"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--synthetic-hours", "-1"], "`synthetic_hours` must be at least 0 hours, got -1"),
        (["--synthetic-clip-s", "0.1"], "`synthetic_clip_s` must be at least 0.25 seconds, got 0.1"),
        (["--synthetic-seed", "-1"], "`synthetic_seed` must be at least 0, got -1"),
        (["--synthetic-hours", "0"], "Give exactly one of `data` and `codes`"),
    ],
)
def test_wrong_settings_are_told(folder, capsys, flags, message):
    try:
        status = pretrain(folder, "wrong", *flags)
    except SystemExit as exit:
        status = exit.code
    assert status in (1, 2)
    assert message in capsys.readouterr().err
