"""The `accelerate` files that come with the package, as accelerate itself reads them."""

from pathlib import Path

import pytest
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

import audioformer.training
from audioformer.modeling_audioformer import AudioFormerPreTrainedModel

FOLDER = Path(audioformer.training.__file__).parent / "accelerate_configs"
PROCESSES = {
    "one_cpu": 1,
    "one_gpu": 1,
    "eight_gpus": 8,
    "several_nodes": 16,
    "fsdp": 8,
    "deepspeed_zero2": 8,
}


def test_all_files_are_tested():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(PROCESSES)


@pytest.mark.parametrize("name", PROCESSES)
def test_accelerate_reads_it(name):
    config = load_config_from_file(str(FOLDER / f"{name}.yaml"))
    assert isinstance(config, ClusterConfig)
    assert config.num_processes == PROCESSES[name]
    assert config.num_machines == (2 if name == "several_nodes" else 1)


@pytest.mark.parametrize("name", ["one_cpu", "several_nodes", "fsdp"])
def test_launch_takes_its_values(name):
    arguments = ["--config_file", str(FOLDER / f"{name}.yaml"), "-m", "audioformer.cli", "finetune"]
    parsed, _, _ = _validate_launch_command(launch_command_parser().parse_args(arguments))
    assert parsed.num_processes == PROCESSES[name] and parsed.module
    if name == "fsdp":
        assert parsed.use_fsdp and parsed.fsdp_transformer_layer_cls_to_wrap == "AudioFormerLayer"
        assert "AudioFormerLayer" in AudioFormerPreTrainedModel._no_split_modules
