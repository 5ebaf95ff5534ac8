"""Training on clips of unequal lengths: every clip padded to the longest there can be, next to length-grouped batches.

A candidate is one epoch of masked-LM training over the same clips of 1 to 10 s, uniform: batches from the examples,
the sampler and the collator that the trainer uses, forward, backward and AdamW. Between the two stands padding to the
longest clip of batches in random order. The limits beside the times count padded positions, and the operations of the
matrix products, of which those of the attention grow with the square of the length.

    python benchmarks/length_grouping.py --repeats 5 --json length_grouping.json
    python benchmarks/length_grouping.py --width 768 --layers 12 --batch 16
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence

import numpy as np
import torch
from forward import forward_flops
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
from torch.utils.data import DataLoader

from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForMaskedLM
from audioformer.training.examples.codes import CodeExamples
from audioformer.training.examples.collators import DataCollatorForCodecMaskedLM
from audioformer.training.samplers import EpochSampler, LengthGroupedSampler, ShuffledSampler

TARGET_RATIO = 1.4
FRAME_RATE = 75
BASE, GROUPED = "padded to the longest possible", "length-grouped"


def random_clips(num_clips: int, shortest_s: float, longest_s: float) -> list[np.ndarray]:
    """Random codes of shape `(frames,)`, of lengths uniform between the two, in seconds."""
    rng = np.random.default_rng(0)
    frames = np.rint(rng.uniform(shortest_s, longest_s, num_clips) * FRAME_RATE).astype(int)
    return [rng.integers(0, 1024, length, dtype=np.uint16) for length in frames]


def build_loaders(arguments: argparse.Namespace) -> dict[str, DataLoader]:
    """The candidates' batches, all of the same clips; full ones only."""
    examples = CodeExamples(random_clips(arguments.clips, arguments.shortest_s, arguments.longest_s))
    longest = round(arguments.longest_s * FRAME_RATE) + 2

    def loader(sampler: EpochSampler, pad_to_multiple_of: int = 1) -> DataLoader:
        collator = DataCollatorForCodecMaskedLM(pad_to_multiple_of=pad_to_multiple_of)
        return DataLoader(examples, arguments.batch, sampler=sampler, collate_fn=collator, drop_last=True)

    return {
        BASE: loader(ShuffledSampler(len(examples)), pad_to_multiple_of=longest),
        "padded to the longest of the batch": loader(ShuffledSampler(len(examples))),
        GROUPED: loader(LengthGroupedSampler(examples.lengths, arguments.batch)),
    }


def epoch_function(config: AudioFormerConfig, loader: DataLoader, device: str) -> Callable[[], None]:
    """One epoch on a model of its own, of the same initial weights as the others."""
    torch.manual_seed(0)
    model = AudioFormerForMaskedLM(config).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def epoch() -> None:
        for batch in loader:
            model(**{name: values.to(device) for name, values in batch.items()}).loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    return epoch


def training_flops(config: AudioFormerConfig, shapes: Sequence[tuple[int, int]]) -> int:
    """Operations of the matrix products of an epoch: a forward, and twice as many for its backward."""
    head = 2 * config.hidden_size * (config.hidden_size + config.vocab_size)
    return sum(3 * (forward_flops(config, batch, length) + batch * length * head) for batch, length in shapes)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=256, help="hidden size (default: 256)")
    parser.add_argument("--layers", type=int, default=4, help="encoder layers (default: 4)")
    parser.add_argument("--batch", type=int, default=8, help="clips of a step (default: 8)")
    parser.add_argument("--clips", type=int, default=64, help="clips of an epoch (default: 64)")
    parser.add_argument("--shortest-s", type=float, default=1.0, help="shortest clip in seconds (default: 1)")
    parser.add_argument("--longest-s", type=float, default=10.0, help="longest clip in seconds (default: 10)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="torch device (default: cpu)")
    add_common_arguments(parser)
    arguments = parser.parse_args()
    apply_common_arguments(arguments)
    if not 0 < arguments.shortest_s <= arguments.longest_s:
        parser.error(f"--shortest-s must be more than 0 and at most --longest-s, got {arguments.shortest_s}")
    if not 1 <= arguments.batch <= arguments.clips or arguments.clips % arguments.batch:
        parser.error(f"--clips must be a multiple of --batch ({arguments.batch}), got {arguments.clips}")
    return arguments


def main() -> None:
    arguments = parse_arguments()
    config = AudioFormerConfig(
        hidden_size=arguments.width,
        num_hidden_layers=arguments.layers,
        num_attention_heads=max(1, arguments.width // 64),
        intermediate_size=4 * arguments.width,
    )
    loaders = build_loaders(arguments)
    shapes = {name: [tuple(batch["input_ids"].shape) for batch in loader] for name, loader in loaders.items()}
    positions = {name: sum(batch * length for batch, length in of_epoch) for name, of_epoch in shapes.items()}
    flops = {name: training_flops(config, of_epoch) for name, of_epoch in shapes.items()}
    seconds = interleaved(
        {name: epoch_function(config, loader, arguments.device) for name, loader in loaders.items()},
        arguments.repeats,
    )
    rows = [
        {
            "batches": name,
            "median s a step": median(times) / len(shapes[name]),
            "best s a step": min(times) / len(shapes[name]),
            "times faster": ratio(seconds[BASE], times),
            "limit by positions": positions[BASE] / positions[name],
            "limit by FLOP": flops[BASE] / flops[name],
            "GFLOP/s": flops[name] / median(times) / 1e9,
        }
        for name, times in seconds.items()
    ]
    facts = machine()
    print(
        f"{arguments.clips} clips of {arguments.shortest_s:g} to {arguments.longest_s:g} s, {arguments.batch} a step"
    )
    print(f"{arguments.layers} layers of width {arguments.width}, float32")
    print(f"{facts['gpu'] if arguments.device == 'cuda' else facts['processor']}")
    print(f"{facts['torch_threads']} threads, load {facts['load_average'][0]:.1f}")
    print_table(rows)
    print(f"target: {GROUPED} batches at least {TARGET_RATIO} times faster than {BASE}")
    write_json(arguments.json, rows, arguments=vars(arguments), seconds=seconds)


if __name__ == "__main__":
    main()
