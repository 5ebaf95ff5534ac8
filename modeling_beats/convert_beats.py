"""Conversion of released BEATs checkpoints (`.pt`): encoders, fine-tuned classifiers and tokenizers."""

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .configuration_beats import BeatsConfig
from .modeling_beats import BeatsForAudioClassification, BeatsModel, BeatsPreTrainedModel
from .modeling_beats_tokenizer import BeatsTokenizer
from .released_checkpoints import check_fit, label_fields, read_checkpoint, rename

ALLOWED_CLASSES = (argparse.Namespace,)
"""What a file may hold besides tensors, numbers, text and plain containers."""

PARTS = ("cfg", "model", "label_dict")
"""Entries of a file."""

ACTIVATIONS = {"gelu": "gelu", "relu": "relu", "tanh": "tanh", "linear": "linear"}
"""Names of the authors' activations in transformers."""

# What decides the output and cannot be seen in the weights must be stated: the defaults of the authors' class are not
# those of the released models.
REQUIRED = {
    "input_patch_size": "patch_size",
    "embed_dim": "patch_embedding_size",
    "encoder_layers": "num_hidden_layers",
    "encoder_embed_dim": "hidden_size",
    "encoder_ffn_embed_dim": "intermediate_size",
    "encoder_attention_heads": "num_attention_heads",
    "deep_norm": "deep_norm",
    "conv_pos": "num_conv_pos_embeddings",
    "conv_pos_groups": "num_conv_pos_embedding_groups",
    "relative_position_embedding": "relative_position_bias",
    "gru_rel_pos": "gated_relative_position_bias",
    "num_buckets": "num_buckets",
    "max_distance": "max_distance",
}
"""Settings of a file and their names here."""

OPTIONAL = {
    "conv_bias": "patch_bias",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "activation_dropout": "activation_dropout",
    "dropout_input": "input_dropout",
    "predictor_dropout": "classifier_dropout",
    "encoder_layerdrop": "layerdrop",
    "quant_n": "codebook_size",
    "quant_dim": "codebook_dim",
}
"""Settings that training alone uses, or that the shapes of the weights check."""

READ_ELSEWHERE = {"activation_fn", "layer_norm_first", "finetuned_model", "predictor_class"}
NOT_KEPT = {"layer_wise_gradient_decay_ratio": 1.0}
"""Settings of the authors' training that a new training states itself, and the value that changes nothing."""

_RENAMED = (
    (r"^patch_embedding\.", "beats.embeddings.patch_embedding."),
    (r"^layer_norm\.", "beats.embeddings.patch_layer_norm."),
    (r"^post_extract_proj\.", "beats.embeddings.projection."),
    (r"^encoder\.pos_conv\.0\.bias$", "beats.embeddings.position_conv.bias"),
    (r"^encoder\.pos_conv\.0\.weight_g$", "beats.embeddings.position_conv.magnitude"),
    (r"^encoder\.pos_conv\.0\.weight_v$", "beats.embeddings.position_conv.direction"),
    (r"^encoder\.layer_norm\.", "beats.embeddings.layer_norm."),
    (r"^encoder\.layers\.\d+\.self_attn\.relative_attention_bias\.", "beats.encoder.relative_position_bias.table."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.grep_a$", r"beats.encoder.layers.\1.attention.gate_scale"),
    (r"^encoder\.layers\.(\d+)\.self_attn\.grep_linear\.", r"beats.encoder.layers.\1.attention.gate_proj."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.out_proj\.", r"beats.encoder.layers.\1.attention.o_proj."),
    (r"^encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.", r"beats.encoder.layers.\1.attention.\2_proj."),
    (r"^encoder\.layers\.(\d+)\.self_attn_layer_norm\.", r"beats.encoder.layers.\1.attention_layer_norm."),
    (r"^encoder\.layers\.(\d+)\.final_layer_norm\.", r"beats.encoder.layers.\1.mlp_layer_norm."),
    (r"^encoder\.layers\.(\d+)\.fc1\.", r"beats.encoder.layers.\1.mlp.up_proj."),
    (r"^encoder\.layers\.(\d+)\.fc2\.", r"beats.encoder.layers.\1.mlp.down_proj."),
    (r"^predictor\.", "classifier."),
    (r"^quantize_layer\.", "code_projection."),
    (r"^quantize\.embedding\.weight$", "codebook.codes"),
)
"""Names of weights in the authors' code, as patterns, and here."""

_STATE_OF_TRAINING = re.compile(r"^quantize\.(cluster_size|embedding\.(cluster_size|embed_avg|initted))$")
"""Averages of a tokenizer's training, which the use of its codes does not read."""


@dataclass(frozen=True)
class ConvertedBeats:
    """A converted checkpoint.

    Args:
        model (`BeatsPreTrainedModel`): In evaluation mode: a `BeatsForAudioClassification` if the file has a
            classifier, a `BeatsTokenizer` if it has codes, else a `BeatsModel`.
        notes (`list[str]`): What of the file was not used, in sentences.
    """

    model: BeatsPreTrainedModel
    notes: list[str] = field(default_factory=list)


def read_beats_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint. Only tensors, numbers, text, plain containers and `ALLOWED_CLASSES` are unpickled.

    Args:
        path (`str` or `Path`): The file.

    Returns:
        `dict[str, Any]`: `cfg`, `model` and, of a fine-tuned model, `label_dict`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it holds anything else; the message names it.
    """
    state = read_checkpoint(path, ALLOWED_CLASSES)
    if not isinstance(state, Mapping) or not {"cfg", "model"} <= state.keys():
        held = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        raise ValueError(f"{str(path)!r} must hold a dict with 'cfg' and 'model', got {held}.")
    unknown = sorted(map(str, state.keys() - set(PARTS)))
    if unknown:
        raise ValueError(
            f"{str(path)!r} holds {', '.join(unknown)} besides {', '.join(PARTS)}: that is no BEATs file."
        )
    return dict(state)


def convert_beats_checkpoint(
    checkpoint: Mapping[str, Any], label_names: Mapping[str, str] | None = None
) -> ConvertedBeats:
    """Build a model from a checkpoint of the authors.

    Args:
        checkpoint (mapping): `cfg`, `model` and optionally `label_dict`, see [`read_beats_checkpoint`].
        label_names (mapping, *optional*): Name of each label of a classifier by its id, such as
            `{"/m/09x0r": "Speech"}`. By default labels are called by their ids.

    Returns:
        [`ConvertedBeats`]: The model and what was not used.

    Raises:
        ValueError: If settings are missing or not supported, weights are missing, left over or of another shape, or
            labels have no name.
    """
    weights = dict(checkpoint["model"])
    if not all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in weights.items()):
        raise ValueError("`model` of the file must hold tensors by name.")
    cfg = checkpoint["cfg"]
    cfg = dict(vars(cfg) if isinstance(cfg, argparse.Namespace) else cfg)
    settings, notes = read_settings(cfg)
    model_class: type[BeatsPreTrainedModel] = BeatsModel
    if any(name.startswith("predictor.") for name in weights):
        model_class = BeatsForAudioClassification
        settings |= label_settings(checkpoint.get("label_dict"), len(weights["predictor.weight"]), label_names)
    elif any(name.startswith("quantize_layer.") for name in weights):
        model_class = BeatsTokenizer
        if weights.get("quantize.embedding.initted", torch.ones(1)).eq(0).any():
            raise ValueError("The codes of this tokenizer were never trained: `quantize.embedding.initted` is 0.")
    if model_class is not BeatsForAudioClassification and (label_names is not None or checkpoint.get("label_dict")):
        raise ValueError(f"The file has no classifier, so no labels: it is a {model_class.__name__}.")
    model = model_class(BeatsConfig(**settings))
    load_weights(model, weights, "the file")
    return ConvertedBeats(model.eval(), notes)


def read_settings(cfg: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Fields of a [`BeatsConfig`] from the `cfg` of a file, and notes on what of it is not used.

    Raises:
        ValueError: If a setting that decides the output is missing or not supported.
    """
    missing = [name for name in (*REQUIRED, "activation_fn", "layer_norm_first") if name not in cfg]
    if missing:
        raise ValueError(f"`cfg` of the file must state {', '.join(missing)}: no defaults are assumed.")
    if cfg["layer_norm_first"]:
        raise ValueError("`layer_norm_first` of the file is True: only normalization after each sum is supported.")
    if cfg["activation_fn"] not in ACTIVATIONS:
        raise ValueError(
            f"`activation_fn` of the file must be one of {sorted(ACTIVATIONS)}, got {cfg['activation_fn']!r}."
        )
    settings = {ours: cfg[theirs] for theirs, ours in REQUIRED.items()}
    settings |= {ours: cfg[theirs] for theirs, ours in OPTIONAL.items() if theirs in cfg}
    settings["hidden_act"] = ACTIVATIONS[cfg["activation_fn"]]
    notes = [
        f"`{name}` {cfg[name]} belongs to the training of the file and is not kept: state it anew to train."
        for name, neutral in NOT_KEPT.items()
        if cfg.get(name, neutral) != neutral
    ]
    unknown = sorted(map(str, cfg.keys() - REQUIRED.keys() - OPTIONAL.keys() - READ_ELSEWHERE - NOT_KEPT.keys()))
    if unknown:
        notes.append(f"Settings of the file that BEATs does not have are not used: {', '.join(unknown)}.")
    return settings, notes


def label_settings(
    label_dict: Mapping[Any, Any] | None, num_labels: int, label_names: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Fields of a [`BeatsConfig`] for the labels of a fine-tuned model. The order is that of the file.

    Raises:
        ValueError: If the labels are not those of the classifier, or one of them has no name.
    """
    settings: dict[str, Any] = {"num_labels": num_labels, "problem_type": "multi_label_classification"}
    if label_dict is None:
        if label_names is not None:
            raise ValueError("The file does not say which labels its classifier has, so they cannot be named.")
        return settings
    if {int(index) for index in label_dict} != set(range(num_labels)):
        raise ValueError(
            f"`label_dict` of the file must number its labels from 0 to {num_labels - 1}, got {len(label_dict)} "
            "labels."
        )
    ids = [str(label) for _, label in sorted(label_dict.items(), key=lambda entry: int(entry[0]))]
    names = ids
    if label_names is not None:
        unnamed = [label for label in ids if label not in label_names]
        if unnamed:
            raise ValueError(f"{len(unnamed)} of {num_labels} labels have no name, such as {unnamed[0]!r}.")
        names = [label_names[label] for label in ids]
    return settings | label_fields(names, ids)


def load_weights(model: BeatsPreTrainedModel, weights: Mapping[str, torch.Tensor], source: str) -> None:
    """Load weights with the names of the authors' code.

    Raises:
        ValueError: If weights are missing, left over, of another shape, or layers differ in the bias that they share.
    """
    prefix = "" if isinstance(model, BeatsModel) else "beats."
    converted: dict[str, torch.Tensor] = {}
    for name, value in weights.items():
        if _STATE_OF_TRAINING.match(name):
            continue
        renamed = rename(name, _RENAMED)
        if renamed.startswith("beats."):
            renamed = prefix + renamed.removeprefix("beats.")
        if renamed.endswith("patch_embedding.weight"):
            value = value.flatten(1)  # A kernel to the weights of a patch, in the order of frames, then mel bins.
        if renamed in converted and not torch.equal(converted[renamed], value):
            raise ValueError(f"{name} of {source} differs between layers, which must share it.")
        converted[renamed] = value.float()
    check_fit(converted, model.state_dict(), source)
    model.load_state_dict(converted)


__all__ = ["ConvertedBeats", "convert_beats_checkpoint", "read_beats_checkpoint"]
