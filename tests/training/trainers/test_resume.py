"""A run that was killed goes on to the weights of one that was not."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from audioformer.training.trainers import last_complete_checkpoint

from ..processes import run_on_two_processes

SCRIPT = Path(__file__).with_name("run_training.py")
SETTINGS = {
    "num_train_epochs": 4,
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "learning_rate": 1e-2,
    "warmup_steps": 2,
    "dropout": 0.2,
    "logging_steps": 1,
    "save_steps": 2,
    "seed": 7,
}


def command(task: str, output: Path, **changes) -> list[str]:
    flags = [f"{name}={json.dumps(value)}" for name, value in {**SETTINGS, **changes}.items()]
    return [sys.executable, str(SCRIPT), task, str(output), *flags]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "changes", "kill_at"),
    [
        ("mlm", {}, 5),  # in the middle of the second of four epochs, a step after a checkpoint
        ("mlm", {"dataloader_num_workers": 1, "shuffle_buffer_size": 8}, 4),
        ("cross_entropy", {"mixup_alpha": 0.4, "class_balanced_sampling": True}, 7),
        ("lsep", {"save_steps": 3, "layer_wise_lr_decay": 0.7}, 6),  # at the end of an epoch
    ],
)
def test_a_killed_run_ends_with_the_same_weights(task, changes, kill_at, tmp_path):
    subprocess.run(command(task, tmp_path / "whole", **changes), check=True)
    killed = subprocess.run(command(task, tmp_path / "cut", **changes, kill_at=kill_at), capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert not (tmp_path / "cut" / "final.safetensors").exists()
    checkpoint = last_complete_checkpoint(tmp_path / "cut")
    assert checkpoint is not None
    # What a kill in the middle of saving leaves behind.
    torn = tmp_path / "cut" / "checkpoint-9"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"")
    (torn / "trainer_state.json").write_text('{"best')
    assert last_complete_checkpoint(tmp_path / "cut") == checkpoint
    subprocess.run(command(task, tmp_path / "cut", **changes, resume_from_checkpoint="last"), check=True)
    whole, resumed = (load_file(tmp_path / name / "final.safetensors") for name in ("whole", "cut"))
    for name, weight in whole.items():
        assert torch.equal(resumed[name], weight), f"{name}: {(resumed[name] - weight).abs().max()}"


@pytest.mark.slow
def test_two_processes_go_on_each_with_its_own_random_numbers(tmp_path):
    flags = [f"{name}={json.dumps(value)}" for name, value in {**SETTINGS, "per_device_train_batch_size": 2}.items()]
    run_on_two_processes(SCRIPT, "lsep", str(tmp_path), *flags)
    whole = load_file(tmp_path / "final.safetensors")
    for number in (6, 8, 10, 12):
        shutil.rmtree(tmp_path / f"checkpoint-{number}")
    run_on_two_processes(SCRIPT, "lsep", str(tmp_path), *flags, 'resume_from_checkpoint="last"')
    for name, weight in load_file(tmp_path / "final.safetensors").items():
        torch.testing.assert_close(weight, whole[name], atol=1e-6, rtol=0, msg=name)


def test_the_newest_whole_checkpoint_is_found(tmp_path):
    assert last_complete_checkpoint(tmp_path) is None
    for number in (2, 10, 9):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"x")
        (folder / "trainer_state.json").write_text("{}")
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    (tmp_path / "checkpoint-10" / "model.safetensors").unlink()
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")
