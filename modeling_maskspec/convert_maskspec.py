"""Conversion of released MaskSpec checkpoints (`.pth`): pre-trained autoencoders and fine-tuned classifiers."""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from .configuration_maskspec import MaskSpecConfig
from .modeling_maskspec import MaskSpecForAudioClassification, MaskSpecModel, MaskSpecPreTrainedModel, sine_positions
from .modeling_maskspec_pretraining import MaskSpecForPreTraining
from .released_checkpoints import check_fit, label_fields, read_checkpoint, rename

ALLOWED_CLASSES = (argparse.Namespace,)
"""What a file may hold besides tensors, numbers, text and plain containers."""

PARTS = ("model", "optimizer", "epoch", "scaler", "args")
"""Entries of a file; only `model` is needed."""

HEADS = {"vit_base": 12, "vit_large": 16}
"""Attention heads by the beginning of the authors' names of models, which the weights do not show."""

HEAD_SIZE, DECODER_HEAD_SIZE = 64, 32
"""Sizes of a head where the name is not known: that of every size in the paper, and of every decoder."""

AUDIOSET_LABELS = 527
"""A classifier of so many labels is one of AudioSet, whose clips have several."""

_RENAMED = (
    (r"^cls_token$", "maskspec.embeddings.cls_token"),
    (r"^pos_embed$", "maskspec.embeddings.positions"),
    (r"^patch_embed\.proj\.", "maskspec.embeddings.patch_embedding."),
    (r"^blocks\.(\d+)\.", r"maskspec.layers.\1."),
    (r"^norm\.", "maskspec.layer_norm."),
    (r"^fc_norm\.", "pooled_layer_norm."),
    (r"^head\.", "classifier."),
    (r"^mask_token$", "decoder.mask_token"),
    (r"^decoder_embed\.", "decoder.input_proj."),
    (r"^decoder_blocks\.(\d+)\.", r"decoder.layers.\1."),
    (r"^decoder_norm\.", "decoder.layer_norm."),
    (r"^decoder_pred\.", "decoder.output_proj."),
)
_RENAMED_IN_LAYERS = (
    (".norm1.", ".attention_layer_norm."),
    (".norm2.", ".mlp_layer_norm."),
    (".attn.proj.", ".attention.o_proj."),
    (".mlp.fc1.", ".mlp.up_proj."),
    (".mlp.fc2.", ".mlp.down_proj."),
)
"""Names of weights in the authors' code, and here."""


@dataclass(frozen=True)
class ConvertedMaskSpec:
    """A converted checkpoint.

    Args:
        model (`MaskSpecPreTrainedModel`): In evaluation mode: a `MaskSpecForAudioClassification` if the file has a
            classifier, a `MaskSpecForPreTraining` if it has a decoder, else a `MaskSpecModel`.
        notes (`list[str]`): What of the file was not used or had to be assumed, in sentences.
    """

    model: MaskSpecPreTrainedModel
    notes: list[str] = field(default_factory=list)


def read_maskspec_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint. Only tensors, numbers, text, plain containers and `ALLOWED_CLASSES` are unpickled.

    Args:
        path (`str` or `Path`): The file.

    Returns:
        `dict[str, Any]`: `model`, and whatever else of `PARTS` the file has.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it holds anything else; the message names it.
    """
    state = read_checkpoint(path, ALLOWED_CLASSES)
    if not isinstance(state, Mapping) or not isinstance(state.get("model"), Mapping):
        held = sorted(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        raise ValueError(f"{str(path)!r} must hold a dict with 'model', the weights by name; got {held}.")
    unknown = sorted(map(str, state.keys() - set(PARTS)))
    if unknown:
        raise ValueError(
            f"{str(path)!r} holds {', '.join(unknown)} besides {', '.join(PARTS)}: that is no MaskSpec file."
        )
    return dict(state)


def convert_maskspec_checkpoint(
    checkpoint: Mapping[str, Any], label_names: Mapping[str, str] | None = None, **settings: Any
) -> ConvertedMaskSpec:
    """Build a model from a checkpoint of the authors.

    Args:
        checkpoint (mapping): `model` and optionally `args`, see [`read_maskspec_checkpoint`].
        label_names (mapping, *optional*): Name of each label of a classifier by its machine id, such as
            `{"/m/09x0r": "Speech"}`, in the order of the classifier. The file knows no labels.
        settings (`dict`, *optional*): Fields of the [`MaskSpecConfig`] that the file does not show, such as
            `num_attention_heads` of a model of another size.

    Returns:
        [`ConvertedMaskSpec`]: The model, what was not used, and what was assumed.

    Raises:
        ValueError: If weights are missing, left over or of another shape, sizes cannot be found, or the labels are not
            as many as the classifier has.
    """
    weights = dict(checkpoint["model"])
    if not all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in weights.items()):
        raise ValueError("`model` of the file must hold tensors by name.")
    args = checkpoint.get("args") or {}
    args = dict(vars(args) if isinstance(args, argparse.Namespace) else args)
    found, notes = read_settings(weights, args)
    model_class: type[MaskSpecPreTrainedModel] = MaskSpecModel
    if "head.weight" in weights:
        model_class = MaskSpecForAudioClassification
        labels, label_notes = label_settings(len(weights["head.weight"]), label_names)
        found, notes = found | labels, notes + label_notes
    else:
        if label_names is not None:
            raise ValueError("The file has no classifier, so no labels.")
        if "mask_token" in weights:
            model_class = MaskSpecForPreTraining
    model = model_class(MaskSpecConfig(**{**found, **settings}))
    load_weights(model, weights)
    return ConvertedMaskSpec(model.eval(), notes)


def read_settings(weights: Mapping[str, torch.Tensor], args: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Fields of a [`MaskSpecConfig`] from the shapes of weights and the `args` of a training, and notes.

    Raises:
        ValueError: If weights that show a size are missing, or do not fit together.
    """
    shapes = {name: tuple(value.shape) for name, value in weights.items()}
    needed = ("cls_token", "pos_embed", "patch_embed.proj.weight", "blocks.0.mlp.fc1.weight")
    missing = [name for name in needed if name not in shapes]
    if missing:
        raise ValueError(f"The file has no {', '.join(missing)}: that is no MaskSpec Transformer.")
    size, num_patches = shapes["cls_token"][-1], shapes["pos_embed"][1] - 1
    patch = shapes["patch_embed.proj.weight"][2]
    bins = int(args.get("n_mels", 128))
    if bins % patch or num_patches % (bins // patch):
        raise ValueError(
            f"The file has positions for {num_patches} patches of {patch} by {patch}, which do not divide "
            f"{bins} mel bins."
        )
    name = str(args.get("model", "")).removeprefix("mae_")
    heads = next((count for start, count in HEADS.items() if name.startswith(start) and size % count == 0), None)
    notes = []
    if heads is None:
        if size % HEAD_SIZE:
            heads = 1
            notes.append("The file does not say how many attention heads it has: 1 is assumed.")
        else:
            heads = size // HEAD_SIZE
            notes.append(f"The file does not say how many attention heads it has: {heads} of {HEAD_SIZE} are assumed.")
    found: dict[str, Any] = {
        "num_mel_bins": bins,
        "patch_size": patch,
        "num_time_positions": num_patches // (bins // patch),
        "hidden_size": size,
        "num_hidden_layers": _count(shapes, "blocks"),
        "num_attention_heads": heads,
        "intermediate_size": shapes["blocks.0.mlp.fc1.weight"][0],
        "pooling": "cls" if "head.weight" in shapes and "fc_norm.weight" not in shapes else "mean",
        "final_layer_norm": "norm.weight" in shapes,
    }
    if "mask_token" in shapes:
        inner = shapes["mask_token"][-1]
        found |= {
            "decoder_hidden_size": inner,
            "decoder_num_hidden_layers": _count(shapes, "decoder_blocks"),
            "decoder_num_attention_heads": max(1, inner // DECODER_HEAD_SIZE),
            "decoder_intermediate_size": shapes.get("decoder_blocks.0.mlp.fc1.weight", (inner,))[0],
        }
        found |= {"standardize_target": bool(args["norm_pix_loss"])} if "norm_pix_loss" in args else {}
        found |= {"mask_ratio": float(args["mask_ratio"])} if "mask_ratio" in args else {}
    if args:
        notes.append("Settings of training in `args` of the file are not kept: state them anew to train.")
    return found, notes


def _count(shapes: Mapping[str, Any], stack: str) -> int:
    """Number of layers of a stack."""
    return 1 + max((int(name.split(".")[1]) for name in shapes if name.startswith(f"{stack}.")), default=-1)


def label_settings(num_labels: int, label_names: Mapping[str, str] | None = None) -> tuple[dict[str, Any], list[str]]:
    """Fields of a [`MaskSpecConfig`] for the labels of a fine-tuned model, and notes.

    Raises:
        ValueError: If names are given and they are not as many as labels, or two are the same.
    """
    settings: dict[str, Any] = {"num_labels": num_labels}
    notes = []
    if num_labels == AUDIOSET_LABELS:
        settings["problem_type"] = "multi_label_classification"
    else:
        notes.append(
            f"The file does not say whether a clip can have several of its {num_labels} labels: `problem_type` of the "
            "configuration is open."
        )
    if label_names is None:
        notes.append("The file does not name its labels: give AudioSet's class_labels_indices.csv as --labels.")
        return settings, notes
    if len(label_names) != num_labels:
        raise ValueError(
            f"The classifier has {num_labels} labels, `--labels` has {len(label_names)}: they must be the rows of the "
            "table that it was trained with, in the same order."
        )
    return settings | label_fields(list(label_names.values()), list(label_names)), notes


def load_weights(model: MaskSpecPreTrainedModel, weights: Mapping[str, torch.Tensor]) -> None:
    """Load weights with the names of the authors' code.

    Raises:
        ValueError: If weights are missing, left over or of another shape, or the decoder's fixed positions are others.
    """
    prefix = "" if isinstance(model, MaskSpecModel) else "maskspec."
    config, weights = model.config, dict(weights)
    fixed = weights.pop("decoder_pos_embed", None)
    if fixed is not None:
        table = sine_positions(config.num_time_positions, config.num_bands, config.decoder_hidden_size)
        if fixed.shape[1:] != table.shape or not torch.allclose(fixed[0].float(), table, atol=1e-5):
            raise ValueError(
                "`decoder_pos_embed` of the file is not the table of sines and cosines that is built here."
            )
    converted: dict[str, torch.Tensor] = {}
    for name, value in weights.items():
        for renamed, part in split(_rename(name), value):
            if renamed.startswith("maskspec."):
                renamed = prefix + renamed.removeprefix("maskspec.")
            converted[renamed] = part.float()
    check_fit(converted, model.state_dict(), "the file")
    model.load_state_dict(converted)


def split(name: str, value: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    """A weight of the authors' under its names and in its shapes here: three for queries, keys and values."""
    if ".attn.qkv." in name:
        return [
            (name.replace(".attn.qkv.", f".attention.{part}_proj."), rows)
            for part, rows in zip("qkv", value.chunk(3), strict=True)
        ]
    if name.endswith("patch_embedding.weight"):
        value = value.flatten(1)  # A kernel to the weights of a patch, in the order of mel bins, then frames.
    elif name.endswith(("cls_token", "mask_token", "embeddings.positions")):
        value = value.reshape(value.shape[1:] if name.endswith("positions") else value.shape[2:])
    return [(name, value)]


def _rename(name: str) -> str:
    name = rename(name, _RENAMED)
    for theirs, ours in _RENAMED_IN_LAYERS:
        name = name.replace(theirs, ours)
    return name


__all__ = ["ConvertedMaskSpec", "convert_maskspec_checkpoint", "read_maskspec_checkpoint"]
