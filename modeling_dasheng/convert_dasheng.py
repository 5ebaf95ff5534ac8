"""Conversion of released Dasheng weights: files of the authors, and folders of their port for the Hub."""

import json
import pathlib
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from huggingface_hub.errors import StrictDataclassError
from safetensors.torch import load_file, save_file
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME

from .configuration_dasheng import SIZES, DashengConfig
from .modeling_dasheng import DashengForAudioClassification, DashengModel, DashengPreTrainedModel
from .modeling_dasheng_pretraining import DashengForPreTraining
from .released_checkpoints import check_fit, label_fields, read_checkpoint, rename

ALLOWED_CLASSES = (pathlib.PosixPath, pathlib.PurePosixPath, pathlib.WindowsPath, pathlib.PureWindowsPath)
"""What a file may hold besides tensors, numbers, text and containers: settings of a training name folders."""

MAX_SHARD_SIZE = "500MB"
"""Size of the files that are written. No more than one of them is in memory."""

# What decides the output and is the same in everything that was released. Only what differs is refused.
REQUIRED: dict[str, Any] = {
    "patch_size": [64, 4],
    "patch_stride": [64, 4],
    "n_fft": 512,
    "win_size": 512,
    "hop_size": 160,
    "n_mels": 64,
    "f_min": 0,
    "f_max": 8000,
    "center": True,
    "top_db": 120,
    "qkv_bias": True,
    "pooling": "mean",
    "init_values": None,
    "norm_layer": None,
    "act_layer": None,
    "attention_type": "Attention",
    "block_type": "Block",
}
"""Settings of the authors' encoder, where a file states them, and the values that are supported."""

FROM_WEIGHTS = {"embed_dim", "depth", "num_heads", "mlp_ratio", "target_length", "group_masking", "eval_avg"}
DROPOUT = {"drop_rate": "hidden_dropout_prob", "attn_drop_rate": "attention_probs_dropout_prob"}

DECODER_HEAD_SIZE = 32
"""Size of the heads of the authors' decoders, 16 of them in 512 values and 24 in 768."""

_LAYER = (
    (r"norm1\.", "attention_layer_norm."),
    (r"attn\.proj\.", "attention.o_proj."),
    (r"norm2\.", "mlp_layer_norm."),
    (r"mlp\.fc1\.", "mlp.up_proj."),
    (r"mlp\.fc2\.", "mlp.down_proj."),
)
_RENAMED = (
    (r"^init_bn\.1\.", "dasheng.embeddings.batch_norm."),
    (r"^patch_embed\.proj\.", "dasheng.embeddings.patch_embedding."),
    (r"^time_pos_embed$", "dasheng.embeddings.time_positions"),
    (r"^freq_pos_embed$", "dasheng.embeddings.frequency_position"),
    (r"^norm\.", "dasheng.layer_norm."),
    (r"^outputlayer\.0\.", "pooler_layer_norm."),
    (r"^outputlayer\.1\.", "classifier."),
    (r"^decoder\.mask_token$", "decoder.mask_token"),
    (r"^decoder\.pos_embed$", "decoder.positions"),
    (r"^decoder\.input_proj\.", "decoder.input_proj."),
    (r"^decoder\.norm\.", "decoder.layer_norm."),
    (r"^decoder\.outputlayer\.", "decoder.output_proj."),
    *((rf"^blocks\.(\d+)\.{theirs}", rf"dasheng.layers.\1.{ours}") for theirs, ours in _LAYER),
    *((rf"^decoder\.blocks\.(\d+)\.{theirs}", rf"decoder.layers.\1.{ours}") for theirs, ours in _LAYER),
)
"""Names of weights in the authors' code, as patterns, and here."""

_FUSED = re.compile(r"^(decoder\.)?blocks\.(\d+)\.attn\.qkv\.(weight|bias)$")
"""Queries, keys and values, one after the other."""


@dataclass(frozen=True)
class DashengCheckpoint:
    """
    What was published, unchanged.

    Args:
        weights (mapping): Tensors by the names of the authors' code, those of the encoder without a prefix. They may
            lie in a file that is mapped into memory.
        settings (mapping): Settings of the encoder, as far as they are stated.
        front_end (mapping): Window and mel filters, where the file has them.
    """

    weights: Mapping[str, torch.Tensor]
    settings: Mapping[str, Any] = field(default_factory=dict)
    front_end: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class ConvertedDasheng:
    """
    What a checkpoint is here.

    Args:
        model_class (type): [`DashengModel`], [`DashengForAudioClassification`] if it has a classifier, or
            [`DashengForPreTraining`] if it has a decoder.
        config ([`DashengConfig`]): Its configuration.
        weights (mapping): Tensors by our names; views of those of the checkpoint, which copy nothing.
        notes (`list[str]`): What was not used, in sentences.
    """

    model_class: type[DashengPreTrainedModel]
    config: DashengConfig
    weights: Mapping[str, torch.Tensor]
    notes: list[str]

    def save(self, folder: str | Path) -> None:
        """
        Write the folder of the model, file by file: the whole model is never in memory.

        Args:
            folder (`str` or `Path`): The folder, created if necessary.
        """
        folder = Path(folder)
        self.config.architectures = [self.model_class.__name__]
        self.config.dtype = "float32"
        self.config.save_pretrained(folder)
        with torch.device("meta"):
            empty = self.model_class(self.config).state_dict()
        plan = split_torch_state_dict_into_shards(
            empty, filename_pattern="model{suffix}.safetensors", max_shard_size=MAX_SHARD_SIZE
        )
        for name, keys in plan.filename_to_tensors.items():
            # Copies, because files share no memory between tensors, and these are parts of larger ones.
            shard = {key: self.weights[key].to(empty[key].dtype, copy=True).contiguous() for key in keys}
            save_file(shard, folder / name, metadata={"format": "pt"})
        if plan.is_sharded:
            index = {"metadata": plan.metadata, "weight_map": plan.tensor_to_filename}
            (folder / SAFE_WEIGHTS_INDEX_NAME).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def read_dasheng_checkpoint(path: str | Path) -> DashengCheckpoint:
    """
    Read a released file, or a folder of the port for the Hub.

    Only tensors, numbers, text, plain containers and `ALLOWED_CLASSES` are unpickled. Files are mapped into memory,
    not read.

    Args:
        path (`str` or `Path`): A file with `model` and `config`, a file that is a state dict, or a folder with
            `config.json` and its weights.

    Returns:
        [`DashengCheckpoint`]: Its weights and settings.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If it holds anything else; the message names it.
    """
    path = Path(path)
    weights: Mapping[str, Any]
    settings: Mapping[str, Any] = {}
    if path.is_dir():
        weights, settings = _read_folder(path)
    else:
        content = _unpickled(path)
        weights = content
        if "model" in content and isinstance(content["model"], Mapping):
            unknown = sorted(map(str, content.keys() - {"model", "config"}))
            if unknown:
                raise ValueError(f"{str(path)!r} holds {', '.join(unknown)} besides model and config.")
            weights, settings = content["model"], content.get("config") or {}
            if not isinstance(settings, Mapping):
                raise ValueError(f"`config` of {str(path)!r} must be a dict, got {type(settings).__name__}.")
    if not weights or not all(isinstance(name, str) and torch.is_tensor(value) for name, value in weights.items()):
        raise ValueError(f"{str(path)!r} must hold tensors by name: it is no Dasheng checkpoint.")
    named = {name.removeprefix("encoder."): value for name, value in weights.items()}
    front_end = {name: named.pop(name) for name in list(named) if name.startswith("front_end.")}
    return DashengCheckpoint(named, settings, front_end)


def _unpickled(path: Path) -> Mapping[str, Any]:
    # Files of old torch versions cannot be mapped.
    content = read_checkpoint(path, ALLOWED_CLASSES, mmap=zipfile.is_zipfile(path))
    if not isinstance(content, Mapping):
        raise ValueError(f"{str(path)!r} must hold a dict, got {type(content).__name__}.")
    return content


def _read_folder(folder: Path) -> tuple[dict[str, torch.Tensor], Mapping[str, Any]]:
    """Weights of a folder of the port, and the settings of its encoder."""
    config = folder / "config.json"
    if not config.is_file():
        raise ValueError(f"The folder {str(folder)!r} has no config.json.")
    try:
        settings = json.loads(config.read_text()).get("encoder_kwargs") or {}
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{str(config)!r} is no configuration: {error}") from error
    files = sorted(folder.glob("*.safetensors"))
    weights: dict[str, torch.Tensor] = {}
    for file in files:
        weights |= load_file(file)
    if not files:
        pickles = sorted(folder.glob("pytorch_model*.bin"))
        for file in pickles:
            weights |= _unpickled(file)
        if not pickles:
            raise ValueError(f"The folder {str(folder)!r} has neither *.safetensors nor pytorch_model*.bin.")
    return weights, settings


def convert_dasheng_checkpoint(
    checkpoint: DashengCheckpoint, label_names: Mapping[str, str] | None = None
) -> ConvertedDasheng:
    """
    Give the weights of a checkpoint our names.

    Args:
        checkpoint ([`DashengCheckpoint`]): See [`read_dasheng_checkpoint`].
        label_names (mapping, *optional*): Names of the labels of a classifier by their ids, in the order of its
            outputs: the released one has the order of AudioSet's `class_labels_indices.csv`.

    Returns:
        [`ConvertedDasheng`]: What can be saved.

    Raises:
        ValueError: If settings are not supported or missing, weights are missing, left over or of another shape, or
            the labels do not fit.
    """
    source = checkpoint.weights
    for name in ("time_pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight"):
        if name not in source:
            raise ValueError(f"The checkpoint has no weights {name!r}: it is no Dasheng encoder.")
    settings, notes = read_settings(checkpoint)
    model_class: type[DashengPreTrainedModel] = DashengModel
    if "outputlayer.1.weight" in source:
        model_class = DashengForAudioClassification
        settings |= label_settings(len(source["outputlayer.1.weight"]), label_names)
    elif label_names is not None:
        raise ValueError("The checkpoint has no classifier, so no labels.")
    elif "decoder.pos_embed" in source:
        model_class = DashengForPreTraining
    try:
        config = DashengConfig(**settings)
    except StrictDataclassError as error:
        raise ValueError(f"The settings of the checkpoint do not fit together: {error.__cause__ or error}") from error
    weights = _converted_weights(source, "" if model_class is DashengModel else "dasheng.", config)
    with torch.device("meta"):
        expected = model_class(config).state_dict()
    check_fit(weights, expected, "the checkpoint")
    return ConvertedDasheng(model_class, config, weights, notes)


def read_settings(checkpoint: DashengCheckpoint) -> tuple[dict[str, Any], list[str]]:
    """
    Fields of a [`DashengConfig`], from the weights and from the settings of a checkpoint, and notes on the latter.

    Raises:
        ValueError: If a setting is not supported, or nothing says how many attention heads there are.
    """
    weights, stated = checkpoint.weights, checkpoint.settings
    for name, supported in REQUIRED.items():
        value = stated.get(name, supported)
        if (list(value) if isinstance(value, tuple) else value) != supported:
            raise ValueError(f"`{name}` of the checkpoint is {value!r}: only {supported!r} is supported.")
    settings: dict[str, Any] = {
        "hidden_size": weights["patch_embed.proj.weight"].shape[0],
        "num_hidden_layers": _num_blocks(weights, "blocks."),
        "intermediate_size": weights["blocks.0.mlp.fc1.weight"].shape[0],
        "num_time_positions": weights["time_pos_embed"].shape[-1],
        **{ours: stated[theirs] for theirs, ours in DROPOUT.items() if theirs in stated},
    }
    # The weights do not show the number of heads. The authors' loader decides it by the name of the model, whatever
    # the settings in the file say.
    known = {(size["hidden_size"], size["num_hidden_layers"]): size for size in SIZES.values()}
    named = known.get((settings["hidden_size"], settings["num_hidden_layers"]))
    settings["num_attention_heads"] = named["num_attention_heads"] if named else stated.get("num_heads")
    if settings["num_attention_heads"] is None:
        raise ValueError(
            f"Nothing says how many attention heads a model of {settings['num_hidden_layers']} layers and width "
            f"{settings['hidden_size']} has: `num_heads` must be in the settings of the checkpoint."
        )
    masking = stated.get("group_masking", 2)
    settings["mask_group_size"] = {True: 2, False: 1}[masking] if isinstance(masking, bool) else masking
    if "decoder.pos_embed" in weights:
        size = weights["decoder.mask_token"].shape[-1]
        settings |= {
            "decoder_hidden_size": size,
            "decoder_num_hidden_layers": _num_blocks(weights, "decoder.blocks."),
            "decoder_intermediate_size": weights["decoder.blocks.0.mlp.fc1.weight"].shape[0],
            "decoder_num_attention_heads": max(1, size // DECODER_HEAD_SIZE),
        }
    elif named:
        settings |= {name: value for name, value in named.items() if name.startswith("decoder")}
    unknown = sorted(map(str, stated.keys() - REQUIRED.keys() - FROM_WEIGHTS - DROPOUT.keys()))
    notes = [f"Settings that Dasheng does not have are not used: {', '.join(unknown)}."] if unknown else []
    return settings, notes


def label_settings(num_labels: int, label_names: Mapping[str, str] | None) -> dict[str, Any]:
    """
    Fields of a [`DashengConfig`] for the labels of a classifier.

    Raises:
        ValueError: If there are more or fewer names than labels, or two are the same.
    """
    settings: dict[str, Any] = {"num_labels": num_labels, "problem_type": "multi_label_classification"}
    if label_names is None:
        return settings
    names = list(label_names.values())
    if len(names) != num_labels:
        raise ValueError(f"The classifier has {num_labels} labels, and the table of names has {len(names)}.")
    return settings | label_fields(names, list(label_names))


def _num_blocks(weights: Mapping[str, torch.Tensor], prefix: str) -> int:
    return 1 + max(int(name.removeprefix(prefix).split(".")[0]) for name in weights if name.startswith(prefix))


def _converted_weights(
    source: Mapping[str, torch.Tensor], prefix: str, config: DashengConfig
) -> dict[str, torch.Tensor]:
    """The weights of a checkpoint by our names, as views; `prefix` is where the encoder is."""
    weights: dict[str, torch.Tensor] = {}
    for name, value in source.items():
        fused = _FUSED.match(name)
        if fused:
            part = "decoder.layers" if fused[1] else "dasheng.layers"
            for letter, third in zip("qkv", value.chunk(3), strict=True):
                weights[f"{part}.{fused[2]}.attention.{letter}_proj.{fused[3]}"] = third
            continue
        weights[rename(name, _RENAMED)] = _reshaped(name, value, config)
    return {
        prefix + name.removeprefix("dasheng.") if name.startswith("dasheng.") else name: value
        for name, value in weights.items()
    }


def _reshaped(name: str, value: torch.Tensor, config: DashengConfig) -> torch.Tensor:
    """A weight in the shape that it has here. Values are in the order of mel bins, then frames, in both."""
    if name == "time_pos_embed":
        return value.flatten(0, 2).T  # (1, hidden_size, 1, positions)
    if name == "decoder.pos_embed":
        return value[0, : config.num_time_positions]  # the authors' table has a row that is never read
    if name in ("freq_pos_embed", "decoder.mask_token"):
        return value.flatten()
    return value.flatten(1) if name == "patch_embed.proj.weight" else value


__all__ = ["ConvertedDasheng", "DashengCheckpoint", "convert_dasheng_checkpoint", "read_dasheng_checkpoint"]
