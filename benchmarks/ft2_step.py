"""A training step of FT2 next to one of FT1: with the teachers' vectors read from their file, and with live teachers.

A step makes the batch from codes, runs the model forward and back, and updates the weights with AdamW. The limit
counts matrix products alone: a step of FT1 is one forward and, for its backward, two more; each
live teacher adds a forward.

    python benchmarks/ft2_step.py --repeats 5 --json ft2_step.json
    python benchmarks/ft2_step.py --device cuda --width 768 --layers 12 --ids 752 --batch 64
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence

import numpy as np
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

from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForAudioClassification, AudioFormerModel
from audioformer.training.audioformer_arguments import AudioFormerTrainingArguments
from audioformer.training.examples.codes import CodeExamples
from audioformer.training.trainers import AudioFormerClassificationTrainer, AudioFormerMPCTrainer
from audioformer.training.trainers.teachers import build_positives, load_teachers

TARGET_RATIO = 1.10
NUM_LABELS = 50
BATCHES = 4


def build_config(arguments: argparse.Namespace, codebook: int) -> AudioFormerConfig:
    """Sizes of the anchor (codebook 0) and of the teachers."""
    return AudioFormerConfig(
        hidden_size=arguments.width,
        num_hidden_layers=arguments.layers,
        num_attention_heads=max(1, arguments.width // 64),
        intermediate_size=4 * arguments.width,
        codebook=codebook,
        num_labels=NUM_LABELS,
        problem_type="multi_label_classification",
        classification_loss="lsep",
    )


def random_clips(arguments: argparse.Namespace) -> tuple[list[np.ndarray], np.ndarray]:
    """Codes of shape `(num_codebooks, ids - 2)` per clip, and multi-hot labels."""
    rng = np.random.default_rng(0)
    num_clips = BATCHES * arguments.batch
    codes = rng.integers(0, 1024, (num_clips, arguments.num_codebooks, arguments.ids - 2), dtype=np.uint16)
    return list(codes), (rng.random((num_clips, NUM_LABELS)) < 0.05).astype(np.float32)


def step_function(trainer: AudioFormerClassificationTrainer) -> Callable[[], None]:
    """One optimizer step on the next batch of the trainer's data, round and round."""
    model, optimizer = trainer.model.train(), torch.optim.AdamW(trainer.model.parameters(), lr=1e-4)
    examples, batch_size = trainer.train_dataset, trainer.args.per_device_train_batch_size
    steps = 0

    def step() -> None:
        nonlocal steps
        start = steps * batch_size % len(examples)
        batch = trainer.data_collator([examples[index] for index in range(start, start + batch_size)])
        batch = {name: values.to(model.device) for name, values in batch.items()}
        trainer.compute_loss(model, batch).backward()
        optimizer.step()
        optimizer.zero_grad()
        steps += 1

    return step


def build_steps(arguments: argparse.Namespace, folder: str) -> dict[str, Callable[[], None]]:
    """The three candidates, each with a model of the same initial weights."""
    codes, labels = random_clips(arguments)
    config = build_config(arguments, codebook=0)
    codebooks = list(range(1, arguments.num_codebooks))
    teachers = load_teachers([AudioFormerModel(build_config(arguments, codebook)) for codebook in codebooks], config)
    positives = build_positives(teachers, codes, [str(index) for index in range(len(codes))], folder, "random codes")

    def trainer(kind: type, examples: CodeExamples, online: bool = False, **options: Sequence) -> Callable[[], None]:
        torch.manual_seed(0)
        settings = AudioFormerTrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=arguments.batch,
            use_cpu=arguments.device == "cpu",
            online_teachers=online,
        )
        model = AudioFormerForAudioClassification(config).to(arguments.device)
        return step_function(kind(model=model, args=settings, train_dataset=examples, **options))

    return {
        "FT1": trainer(AudioFormerClassificationTrainer, CodeExamples(codes, labels)),
        "FT2, vectors from the file": trainer(AudioFormerMPCTrainer, CodeExamples(codes, labels, positives=positives)),
        "FT2, live teachers": trainer(
            AudioFormerMPCTrainer,
            CodeExamples(codes, labels, positive_codebooks=codebooks),
            online=True,
            teachers=teachers,
        ),
    }


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=256, help="hidden size of anchor and teachers (default: 256)")
    parser.add_argument("--layers", type=int, default=4, help="encoder layers (default: 4)")
    parser.add_argument(
        "--num-codebooks", type=int, default=4, help="codebooks, one of them the anchor's (default: 4)"
    )
    parser.add_argument("--batch", type=int, default=16, help="clips (default: 16)")
    parser.add_argument("--ids", type=int, default=377, help="ids of a clip (default: 377, 5 s of audio)")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"], help="torch device (default: cpu)")
    add_common_arguments(parser)
    arguments = parser.parse_args()
    apply_common_arguments(arguments)
    if arguments.num_codebooks < 2:
        parser.error(
            f"--num-codebooks must be at least 2, the anchor's and one of a teacher, got {arguments.num_codebooks}"
        )
    return arguments


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        seconds = interleaved(build_steps(arguments, folder), arguments.repeats)
    forwards = {"FT1": 3, "FT2, vectors from the file": 3, "FT2, live teachers": 3 + arguments.num_codebooks - 1}
    rows = [
        {
            "step": name,
            "median s": median(times),
            "best s": min(times),
            "times FT1": ratio(times, seconds["FT1"]),
            "limit by FLOP": forwards[name] / forwards["FT1"],
        }
        for name, times in seconds.items()
    ]
    facts = machine()
    print(f"{arguments.batch} x {arguments.ids} ids, {arguments.num_codebooks} codebooks")
    print(f"{arguments.layers} layers of width {arguments.width}, float32")
    print(f"{facts['gpu'] if arguments.device == 'cuda' else facts['processor']}")
    print(f"{facts['torch_threads']} threads, load {facts['load_average'][0]:.1f}")
    print_table(rows)
    print(f"target: a step of FT2 with vectors from the file takes at most {TARGET_RATIO:.2f} times a step of FT1")
    write_json(arguments.json, rows, arguments=vars(arguments), seconds=seconds)


if __name__ == "__main__":
    main()
