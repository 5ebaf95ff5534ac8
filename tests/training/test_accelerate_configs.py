"""The `accelerate` files that come with the package, as accelerate itself reads them."""

from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import ClusterConfig, load_config_from_file
from accelerate.commands.launch import _validate_launch_command, launch_command_parser

import audioformer.training
from audioformer.modeling_audioformer import AudioFormerPreTrainedModel
from audioformer.modeling_dasheng import DashengConfig, DashengForPreTraining, DashengPreTrainedModel

FOLDER = Path(audioformer.training.__file__).parent / "accelerate_configs"
PROCESSES = {
    "one_cpu": 1,
    "one_gpu": 1,
    "eight_gpus": 8,
    "several_nodes": 16,
    "fsdp": 8,
    "fsdp_dasheng": 8,
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


LAYERS = {
    "fsdp": ("AudioFormerLayer", AudioFormerPreTrainedModel),
    "fsdp_dasheng": ("DashengLayer", DashengPreTrainedModel),
}
"""The classes of layers that are divided, and the models that they are part of."""


@pytest.mark.parametrize("name", ["one_cpu", "several_nodes", *LAYERS])
def test_launch_takes_its_values(name):
    arguments = ["--config_file", str(FOLDER / f"{name}.yaml"), "-m", "audioformer.cli", "finetune"]
    parsed, _, _ = _validate_launch_command(launch_command_parser().parse_args(arguments))
    assert parsed.num_processes == PROCESSES[name] and parsed.module
    if name in LAYERS:
        layer, model_class = LAYERS[name]
        assert parsed.use_fsdp and parsed.fsdp_transformer_layer_cls_to_wrap == layer
        assert layer in model_class._no_split_modules


def test_the_layers_of_the_largest_dasheng_and_of_its_decoder_are_divided():
    with torch.device("meta"):
        model = DashengForPreTraining(DashengConfig.named("1.2B"))
    divided = [module for module in model.modules() if type(module).__name__ == LAYERS["fsdp_dasheng"][0]]
    assert len(divided) == 40 + 8
    whole = model.num_parameters() - sum(value.numel() for layer in divided for value in layer.parameters())
    # What stays in one unit: embeddings, positions, norms and projections.
    assert whole < 0.01 * model.num_parameters()
