"""Accumulated batches and several processes do what one large batch does."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ..processes import run_in_process, run_on_two_processes
from .run_training import train

SETTINGS = {
    "max_steps": 3,
    "learning_rate": 0.5,
    "optim": "sgd",
    "lr_scheduler_type": "constant",
    "max_grad_norm": 0.0,
    "weight_decay": 0.0,
    "logging_steps": 1,
    "save_strategy": "no",
    "seed": 5,
}


def read(output: Path) -> tuple[dict[str, torch.Tensor], list[float]]:
    log = json.loads((output / "log.json").read_text())
    return load_file(output / "final.safetensors"), [record["loss"] for record in log if "loss" in record]


def assert_same(first, second) -> None:
    (weights, losses), (other_weights, other_losses) = first, second
    assert losses == pytest.approx(other_losses, rel=1e-5)
    for name, weight in weights.items():
        torch.testing.assert_close(other_weights[name], weight, atol=2e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("task", ["mlm", "cross_entropy", "lsep"])
def test_small_batches_and_two_processes_equal_one_large_batch(task, tmp_path):
    run_in_process(train, task, tmp_path / "whole", SETTINGS | {"per_device_train_batch_size": 8})
    whole = read(tmp_path / "whole")
    assert whole[1][0] != pytest.approx(whole[1][2], rel=1e-3)  # the steps change something
    small = SETTINGS | {"per_device_train_batch_size": 2}
    run_in_process(train, task, tmp_path / "parts", small | {"gradient_accumulation_steps": 4})
    assert_same(whole, read(tmp_path / "parts"))
    run_on_two_processes(train, task, tmp_path / "processes", small | {"gradient_accumulation_steps": 2})
    assert_same(whole, read(tmp_path / "processes"))
