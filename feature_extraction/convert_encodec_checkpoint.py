"""Original EnCodec checkpoints (`.th`) as `EncodecModel` folders.

python -m audioformer.feature_extraction.convert_encodec_checkpoint encodec_24khz-d7cc33bc.th codec/
"""

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from transformers import EncodecConfig, EncodecModel

# What the package calls a module, and what transformers does, in the order in which they apply.
_RENAMED = (
    (r"^(encoder|decoder)\.model\.", r"\1.layers."),
    (r"\.(conv|convtr)\.\1\.", ".conv."),
    (r"\.(conv|convtr)\.norm\.", ".norm."),
    (r"\.conv\.weight_g$", ".conv.parametrizations.weight.original0"),
    (r"\.conv\.weight_v$", ".conv.parametrizations.weight.original1"),
    (r"^quantizer\.vq\.layers\.(\d+)\._codebook\.", r"quantizer.layers.\1.codebook."),
)


def read_encodec_checkpoint(path: str | Path) -> dict[str, torch.Tensor]:
    """Read the weights of an original checkpoint; nothing but tensors and plain containers is unpickled.

    Args:
        path (`str` or `Path`): A file of weights, or of a training state that has them under `best_state`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds anything else.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no checkpoint {str(path)!r}.")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{str(path)!r} cannot be read as weights alone: {error}") from error
    if isinstance(state, Mapping) and "best_state" in state:
        state = state["best_state"]
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{str(path)!r} must hold a dict of tensors, got {type(state).__name__}.")
    return dict(state)


def convert_encodec_state_dict(state_dict: Mapping[str, torch.Tensor]) -> EncodecModel:
    """Build the `EncodecModel` of weights in the names of the package `encodec`.

    Sizes are read off the weights: both published codecs (24 kHz mono, 48 kHz stereo) and smaller ones of their kind.

    Raises:
        ValueError: If weights are missing or left over.
    """
    model = EncodecModel(_read_config(state_dict))
    converted = {_rename(name): tensor for name, tensor in state_dict.items()}
    expected = model.state_dict()
    wrong = sorted(converted.keys() ^ expected.keys()) or sorted(
        name for name, tensor in converted.items() if tensor.shape != expected[name].shape
    )
    if wrong:
        raise ValueError(f"These weights are not those of an EnCodec: {', '.join(wrong[:5])} (of {len(wrong)}).")
    model.load_state_dict(converted)
    return model.eval()


def convert_encodec_checkpoint(checkpoint_path: str | Path, output_dir: str | Path) -> EncodecModel:
    """Turn an original checkpoint into a folder that `EncodecModel.from_pretrained` and the extractor load.

    Args:
        checkpoint_path (`str` or `Path`): A `.th` file, read with `weights_only=True`.
        output_dir (`str` or `Path`): The folder, with `config.json` and `model.safetensors`.

    Returns:
        `EncodecModel`: What was saved.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If it is no EnCodec.
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
            "These weights are not those of an EnCodec: `encoder.model.0` or `quantizer.vq.layers.0` is missing."
        )
    sizes = {
        "num_filters": first.shape[0],
        "audio_channels": first.shape[1],
        "codebook_size": codebook.shape[0],
        "hidden_size": codebook.shape[1],
        "codebook_dim": codebook.shape[1],
    }
    if first.shape[1] == 1:
        return EncodecConfig(**sizes)
    # The stereo codec of 48 kHz.
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
    parser = argparse.ArgumentParser(description="Turn an original EnCodec checkpoint into an EncodecModel folder.")
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
