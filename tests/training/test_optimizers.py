"""Optimizers that need more than PyTorch: which they are, and what is said where that is missing."""

import pytest
import torch
from transformers.trainer_optimizer import _BITSANDBYTES_OPTIMIZERS
from transformers.training_args import OptimizerNames

from audioformer.commands.arguments import parse_settings
from audioformer.training import AudioTrainingArguments, arguments
from audioformer.training.arguments import is_of_bitsandbytes


def test_the_optimizers_of_bitsandbytes_are_those_of_transformers():
    assert {name for name in OptimizerNames if is_of_bitsandbytes(name.value)} == set(_BITSANDBYTES_OPTIMIZERS)


@pytest.mark.parametrize(
    ("has_package", "has_gpu", "use_cpu", "message"),
    [
        (False, True, False, r"needs bitsandbytes \(`pip install bitsandbytes`\); "),
        (True, False, False, "needs an NVIDIA GPU; "),
        (True, True, True, "needs an NVIDIA GPU, and no `use_cpu`; "),
        (False, False, False, r"needs bitsandbytes \(`pip install bitsandbytes`\) and an NVIDIA GPU; "),
    ],
)
def test_eight_bits_need_bitsandbytes_and_a_gpu(has_package, has_gpu, use_cpu, message, tmp_path, monkeypatch):
    monkeypatch.setattr(arguments, "is_bitsandbytes_available", lambda: has_package)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    with pytest.raises(ValueError, match="`optim` 'adamw_bnb_8bit' " + message):
        AudioTrainingArguments(output_dir=str(tmp_path), optim="adamw_bnb_8bit", use_cpu=use_cpu)


def test_with_both_they_are_accepted(monkeypatch):
    monkeypatch.setattr(arguments, "is_bitsandbytes_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    arguments.check_optimizer("adamw_bnb_8bit", use_cpu=False)


def test_a_command_says_so_before_it_reads_anything(tmp_path, capsys):
    command = ["--recipe", "tiny_dasheng", "--data", str(tmp_path), "--optim", "adamw_bnb_8bit", "--use-cpu"]
    with pytest.raises(SystemExit):
        parse_settings([*command, "--output", str(tmp_path / "out")], "pretrain", "")
    assert "`optim` 'adamw_bnb_8bit' needs" in " ".join(capsys.readouterr().err.split())
