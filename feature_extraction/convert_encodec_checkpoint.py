"""Conversion of original EnCodec checkpoints (`.th`) to `EncodecModel` folders.

python -m audioformer.feature_extraction.convert_encodec_checkpoint encodec_24khz-d7cc33bc.th codec/
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import EncodecConfig, EncodecModel

# Names of modules in the package `encodec` and in transformers, in the order in which they are replaced.
_RENAMED = (
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"\.(conv|convtr)\.\1\.", ".conv."),
    (r"\.(conv|convtr)\.norm\.", ".norm."),
    (r"\.conv\.weight_g$", ".conv.parametrizations.weight.original0"),
    (r"\.conv\.weight_v$", ".conv.parametrizations.weight.original1"),
    (r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook."),
)


def read_encodec_checkpoint(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the weights of an original checkpoint; only tensors and plain containers are unpickled.

    Args:
        path (`str` or `Path`): A file of weights, or of a training state with the weights under `best_state`.

    Returns:
        `dict[str, torch.Tensor]`: The weights by name.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it contains anything else.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"The checkpoint {str(path)!r} does not exist.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{str(path)!r} cannot be read with `weights_only=True`: {error}") from error
    if isinstance(state, Mapping) and "best_state" in state:
        state = state["best_state"]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{str(path)!r} must hold a dict of tensors, got {type(state).__name__}.")
    return dict(state)


def convert_encodec_state_dict(state_dict: Mapping[str, torch.Tensor]) -> EncodecModel:
    """Build an `EncodecModel` from weights with the names of the package `encodec`.

    Sizes are read from the weights: those of both published codecs (24 kHz mono, 48 kHz stereo), or smaller ones of
    the same architecture.

    Args:
        state_dict (mapping of `str` to `torch.Tensor`): The weights.

    Returns:
        `EncodecModel`: The codec, in evaluation mode.

    Raises:
        ValueError: If weights are missing, left over or of another shape.
    """
    model = EncodecModel(_read_config(state_dict))
    converted = {_rename(name): tensor for name, tensor in state_dict.items()}
    expected = model.state_dict()
    wrong = sorted(converted.keys() ^ expected.keys()) or sorted(
        name for name, tensor in converted.items() if tensor.shape != expected[name].shape
    )
    if wrong:
        raise ValueError(f"These are not the weights of an EnCodec, {len(wrong)} do not fit: {', '.join(wrong[:5])}.")
    model.load_state_dict(converted)
    return model.eval()


def convert_encodec_checkpoint(checkpoint_path: str | Path, output_dir: str | Path) -> EncodecModel:
    """Convert an original checkpoint to a folder that `EncodecModel.from_pretrained` and the extractor can load.

    Args:
        checkpoint_path (`str` or `Path`): A `.th` file, read with `weights_only=True`.
        output_dir (`str` or `Path`): The folder to write `config.json` and `model.safetensors` to.

    Returns:
        `EncodecModel`: The saved codec.

    Raises:
        FileNotFoundError: If the checkpoint does not exist.
        ValueError: If it is not an EnCodec.
    """
    model = convert_encodec_state_dict(read_encodec_checkpoint(checkpoint_path))
    model.save_pretrained(output_dir)
    return model


def _rename(name: str) -> str:
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    return name


def _read_config(state_dict: Mapping[str, torch.Tensor]) -> EncodecConfig:
    first = _first(state_dict, r"^encoder\.model\.0\.conv\.conv\.weight(_v)?$")
    codebook = _first(state_dict, r"^quantizer\.vq\.layers\.0\._codebook\.embed$")
    if first is None or codebook is None:
        raise ValueError(
            "These are not the weights of an EnCodec: `encoder.model.0` or `quantizer.vq.layers.0` is missing."
        )
    sizes: dict[str, Any] = {
        "num_filters": first.shape[0],
        "audio_channels": first.shape[1],
        "codebook_size": codebook.shape[0],
        "hidden_size": codebook.shape[1],
        "codebook_dim": codebook.shape[1],
    }
    if first.shape[1] == 1:
        return EncodecConfig(**sizes)
    # The 48 kHz stereo codec.
    return EncodecConfig(
        **sizes,
        sampling_rate=48_000,
        target_bandwidths=[3.0, 6.0, 12.0, 24.0],
        normalize=True,
        chunk_length_s=1.0,
        overlap=0.01,
        norm_type="time_group_norm",
        use_causal_conv=False,
    )


def _first(state_dict: Mapping[str, torch.Tensor], pattern: str) -> torch.Tensor | None:
    return next((tensor for name, tensor in state_dict.items() if re.match(pattern, name)), None)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `python -m audioformer.feature_extraction.convert_encodec_checkpoint`."""
    parser = argparse.ArgumentParser(description="Convert an original EnCodec checkpoint to an EncodecModel folder.")
    parser.add_argument("checkpoint", type=Path, help="the .th file")
    parser.add_argument("output", type=Path, help="the folder to write")
    arguments = parser.parse_args(argv)
    try:
        model = convert_encodec_checkpoint(arguments.checkpoint, arguments.output)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))
    print(f"{arguments.output}: EncodecModel of {model.config.sampling_rate} Hz, {model.num_parameters():,} weights")


if __name__ == "__main__":
    main()
