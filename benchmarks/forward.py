"""Forward pass of `AudioFormerModel` next to `transformers.RoFormerModel` with the same weights.

The limit beside the two is the rate at which this machine multiplies matrices of the sizes that a layer uses: a model
that reaches it does nothing but its matrix products. `--padded` shortens every other clip, so that a mask is needed.

    python benchmarks/forward.py --repeats 5 --json forward.json
    python benchmarks/forward.py --device cuda --dtype bfloat16 --batch 64
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from timing import (
    add_common_arguments,
    apply_common_arguments,
    interleaved,
    machine,
    median,
    print_table,
    ratio,
    write_json,
)
from transformers import RoFormerConfig, RoFormerModel

from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerModel, convert_roformer_state_dict
from audioformer.modeling_audioformer.configuration_audioformer import CODE_OFFSET

TARGET_RATIO = 1.25


def build_models(config: AudioFormerConfig, length: int) -> tuple[AudioFormerModel, RoFormerModel]:
    """Both models in evaluation mode, with the same random weights."""
    roformer = RoFormerModel(
        RoFormerConfig(
            vocab_size=config.vocab_size,
            embedding_size=config.hidden_size,
            hidden_size=config.hidden_size,
            num_hidden_layers=config.num_hidden_layers,
            num_attention_heads=config.num_attention_heads,
            intermediate_size=config.intermediate_size,
            max_position_embeddings=length,
            pad_token_id=config.pad_token_id,
            layer_norm_eps=config.layer_norm_eps,
        )
    )
    audioformer = AudioFormerModel(config)
    audioformer.load_state_dict(convert_roformer_state_dict(roformer.state_dict()))
    return audioformer.eval(), roformer.eval()


def forward_flops(config: AudioFormerConfig, batch: int, length: int) -> int:
    """Floating-point operations of the matrix products, a multiplication and an addition counted as two."""
    projections = 4 * config.hidden_size**2 + 2 * config.hidden_size * config.intermediate_size
    attention = 2 * length * config.hidden_size
    return 2 * batch * length * config.num_hidden_layers * (projections + attention)


def matmul_probe(config: AudioFormerConfig, tokens: int, device: str, dtype: torch.dtype) -> tuple[Callable, int]:
    """One product of the feed-forward size, the largest of a layer, and its number of operations."""
    left = torch.randn(tokens, config.hidden_size, device=device, dtype=dtype)
    right = torch.randn(config.hidden_size, config.intermediate_size, device=device, dtype=dtype)
    return lambda: left @ right, 2 * tokens * config.hidden_size * config.intermediate_size


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8, help="clips (default: 8)")
    parser.add_argument("--length", type=int, default=752, help="ids per clip (default: 752, 10 s of audio)")
    parser.add_argument("--layers", type=int, default=12, help="encoder layers (default: 12)")
    parser.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--padded", action="store_true", help="every other clip is a third shorter and padded")
    add_common_arguments(parser)
    arguments = parser.parse_args()
    apply_common_arguments(arguments)
    return arguments


@torch.no_grad()
def main() -> None:
    arguments = parse_arguments()
    torch.manual_seed(0)
    dtype = getattr(torch, arguments.dtype)
    config = AudioFormerConfig(num_hidden_layers=arguments.layers)
    audioformer, roformer = (model.to(arguments.device, dtype) for model in build_models(config, arguments.length))
    shape = (arguments.batch, arguments.length)
    ids = torch.randint(CODE_OFFSET, CODE_OFFSET + config.codebook_size, shape, device=arguments.device)
    if arguments.padded:
        ids[::2, -(arguments.length // 3) :] = config.pad_token_id
    mask = ids.ne(config.pad_token_id)
    matmul, matmul_flops = matmul_probe(config, ids.numel(), arguments.device, dtype)

    ours = audioformer(ids, attention_mask=mask).last_hidden_state
    theirs = roformer(ids, attention_mask=mask).last_hidden_state
    difference = (ours - theirs)[mask].abs().max().item()
    seconds = interleaved(
        {
            "RoFormerModel": lambda: roformer(ids, attention_mask=mask),
            "AudioFormerModel": lambda: audioformer(ids, attention_mask=mask),
            "matrix product": matmul,
        },
        arguments.repeats,
    )
    flops = dict.fromkeys(seconds, forward_flops(config, *shape)) | {"matrix product": matmul_flops}
    rows = [
        {
            "candidate": name,
            "median s": median(times),
            "best s": min(times),
            "GFLOP": flops[name] / 1e9,
            "GFLOP/s": flops[name] / median(times) / 1e9,
            "times RoFormer": None if name == "matrix product" else ratio(seconds["RoFormerModel"], times),
        }
        for name, times in seconds.items()
    ]
    facts = machine()
    padding = ", padded" if arguments.padded else ""
    print(f"{arguments.batch} x {arguments.length} ids{padding}, {arguments.layers} layers")
    print(f"{arguments.dtype} on {facts['gpu'] if arguments.device == 'cuda' else facts['processor']}")
    print(f"{facts['torch_threads']} threads, load {facts['load_average'][0]:.1f}")
    print_table(rows)
    print(f"target: {TARGET_RATIO} times RoFormerModel; largest difference of hidden states {difference:.1e}")
    write_json(arguments.json, rows, arguments=vars(arguments), seconds=seconds, largest_difference=difference)


if __name__ == "__main__":
    main()
