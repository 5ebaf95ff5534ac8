"""A run that was killed ends with the same weights as one that was not."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch.multiprocessing import ProcessExitedException

from audioformer.training.trainers import last_complete_checkpoint

from ..processes import run_in_process, run_on_two_processes
from .run_training import train

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


@pytest.mark.parametrize(
    ("task", "changes", "kill_at"),
    [
        ("mlm", {}, 5),  # in the middle of the second of four epochs, a step after a checkpoint
        ("mlm", {"dataloader_num_workers": 1, "shuffle_buffer_size": 8}, 4),
        ("cross_entropy", {"mixup_alpha": 0.4, "class_balanced_sampling": True}, 7),
        ("cross_entropy", {"token_mixup_alpha": 0.4, "ema_decay": 0.7}, 5),
        ("lsep", {"save_steps": 3, "layer_wise_lr_decay": 0.7}, 6),  # at the end of an epoch
    ],
)
def test_a_killed_run_ends_with_the_same_weights(task, changes, kill_at, tmp_path):
    settings = SETTINGS | changes
    run_in_process(train, task, tmp_path / "whole", settings)
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        run_in_process(train, task, tmp_path / "cut", settings | {"kill_at": kill_at})
    assert not (tmp_path / "cut" / "final.safetensors").exists()
    checkpoint = last_complete_checkpoint(tmp_path / "cut")
    assert checkpoint is not None
    # What a kill in the middle of saving leaves behind.
    torn = tmp_path / "cut" / "checkpoint-9"
    torn.mkdir()
    (torn / "model.safetensors").write_bytes(b"")
    (torn / "trainer_state.json").write_text('{"best')
    assert last_complete_checkpoint(tmp_path / "cut") == checkpoint
    run_in_process(train, task, tmp_path / "cut", settings | {"resume_from_checkpoint": "last"})
    whole, resumed = (load_file(tmp_path / name / "final.safetensors") for name in ("whole", "cut"))
    for name, weight in whole.items():
        assert torch.equal(resumed[name], weight), f"{name}: {(resumed[name] - weight).abs().max()}"


def test_two_processes_resume_with_their_own_random_numbers(tmp_path):
    settings = SETTINGS | {"per_device_train_batch_size": 2, "ema_decay": 0.7}
    run_on_two_processes(train, "lsep", tmp_path, settings)
    whole = load_file(tmp_path / "final.safetensors")
    for number in (6, 8, 10, 12):
        shutil.rmtree(tmp_path / f"checkpoint-{number}")
    run_on_two_processes(train, "lsep", tmp_path, settings | {"resume_from_checkpoint": "last"})
    for name, weight in load_file(tmp_path / "final.safetensors").items():
        torch.testing.assert_close(weight, whole[name], atol=1e-6, rtol=0, msg=name)


def test_the_newest_complete_checkpoint_is_found(tmp_path):
    assert last_complete_checkpoint(tmp_path) is None
    for number in (2, 10, 9):
        folder = tmp_path / f"checkpoint-{number}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"x")
        (folder / "trainer_state.json").write_text("{}")
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-10")
    (tmp_path / "checkpoint-10" / "model.safetensors").unlink()
    assert last_complete_checkpoint(tmp_path) == str(tmp_path / "checkpoint-9")
