"""Accumulated batches and several processes do what one large batch does."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ..processes import run_on_two_processes

SCRIPT = Path(__file__).with_name("run_training.py")
SETTINGS = {
    "max_steps": 3,
    "learning_rate": 0.5,
    "optim": '"sgd"',
    "lr_scheduler_type": '"constant"',
    "max_grad_norm": 0.0,
    "weight_decay": 0.0,
    "logging_steps": 1,
    "save_strategy": '"no"',
    "seed": 5,
}


def flags(**changes) -> list[str]:
    return [f"{name}={value}" for name, value in {**SETTINGS, **changes}.items()]


def run(task: str, output: Path, **changes) -> tuple[dict[str, torch.Tensor], list[float]]:
    subprocess.run([sys.executable, str(SCRIPT), task, str(output), *flags(**changes)], check=True)
    return read(output)


def read(output: Path) -> tuple[dict[str, torch.Tensor], list[float]]:
    log = json.loads((output / "log.json").read_text())
    return load_file(output / "final.safetensors"), [record["loss"] for record in log if "loss" in record]


def assert_same(first, second) -> None:
    (weights, losses), (other_weights, other_losses) = first, second
    assert losses == pytest.approx(other_losses, rel=1e-5)
    for name, weight in weights.items():
        torch.testing.assert_close(other_weights[name], weight, atol=2e-6, rtol=1e-4, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("task", ["mlm", "cross_entropy", "lsep"])
def test_small_batches_and_two_processes_equal_one_large_batch(task, tmp_path):
    whole = run(task, tmp_path / "whole", per_device_train_batch_size=8)
    assert whole[1][0] != pytest.approx(whole[1][2], rel=1e-3)  # it does learn, or does something
    parts = run(task, tmp_path / "parts", per_device_train_batch_size=2, gradient_accumulation_steps=4)
    assert_same(whole, parts)
    output = tmp_path / "processes"
    both = flags(per_device_train_batch_size=2, gradient_accumulation_steps=2)
    run_on_two_processes(SCRIPT, task, str(output), *both)
    assert_same(whole, read(output))
