"""Pre-training on a stream through the command, which records what each step is fed, and may be killed."""

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import torch.distributed

from audioformer.cli import main
from audioformer.training.trainers.base import AudioTrainer

TINY = ["--hidden-size", "16", "--num-attention-heads", "2", "--intermediate-size", "16", "--num-hidden-layers", "1"]
TINY += ["--decoder-hidden-size", "16", "--decoder-num-attention-heads", "2", "--decoder-num-hidden-layers", "1"]
TINY += ["--decoder-intermediate-size", "16", "--warmup-steps", "0", "--use-cpu", "--disable-tqdm", "true"]
STEPS = ["--eval-strategy", "steps", "--eval-steps", "4", "--save-strategy", "steps", "--save-steps", "4"]


def pretrain(data: Path, output: Path, *flags: str, kill_at: int | None = None) -> int:
    """Pre-train a tiny Dasheng on a stream, and write the clips of its steps into `output/fed-RANK.jsonl`.

    Args:
        data (`Path`): The sounds.
        output (`Path`): Output folder.
        flags (`str`): Further flags.
        kill_at (`int`, *optional*): The batch before which the process is killed without warning.
    """
    output.mkdir(parents=True, exist_ok=True)
    take_step, rank = AudioTrainer.training_step, int(os.environ.get("RANK", 0))

    def training_step(trainer: AudioTrainer, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any):
        if trainer.state.global_step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        clips = [hashlib.sha256(clip.numpy().tobytes()).hexdigest()[:12] for clip in inputs["input_features"]]
        with open(output / f"fed-{rank}.jsonl", "a") as file:
            file.write(json.dumps([trainer.state.global_step, clips]) + "\n")
        return take_step(trainer, model, inputs, *args, **kwargs)

    AudioTrainer.training_step = training_step  # type: ignore[method-assign]
    try:
        command = ["pretrain", "--recipe", "tiny_dasheng", "--data", str(data), "--output", str(output), "--streaming"]
        return main([*command, *TINY, *STEPS, "--per-device-train-batch-size", "2", *flags])
    finally:
        AudioTrainer.training_step = take_step  # type: ignore[method-assign]


def run(data: Path, output: Path, flags: list[str], kill_at: int | None = None) -> None:
    """Do the same in a process that ends with an error if the command failed."""
    assert pretrain(data, output, *flags, kill_at=kill_at) == 0
    if torch.distributed.is_initialized():
        torch.distributed.barrier()


def fed(output: Path, rank: int = 0) -> dict[int, list[str]]:
    """The clips of each step; of a step that was taken twice, those of the second time."""
    return dict(json.loads(line) for line in (output / f"fed-{rank}.jsonl").read_text().splitlines())
