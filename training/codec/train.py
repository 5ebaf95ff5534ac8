"""
Training of a small EnCodec model on a folder of audio, on a CPU:

    python -m audioformer.training.codec.train --data path/to/audio --output path/to/codec

The output is the folder of a plain `transformers.EncodecModel`. After an interruption, the same command resumes from
the last checkpoint. Two runs with the same seed on the same machine give the same weights. On a machine that does
other work, set `OMP_PROC_BIND=true`. Otherwise the threads may share one core and wait for each other, at a tenth of
the speed.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import EncodecModel, HfArgumentParser

from audioformer.data.audio.folder import copy_attribution, find_audio, load_audio_files, names_with_license
from audioformer.data.synthetic import SyntheticClips
from audioformer.files import ATTRIBUTION, TRAINING_LOG

from .arguments import SAMPLING_RATE, CodecTrainingArguments
from .evaluation import evaluate_codec
from .trainer import CodecTrainer

logger = logging.getLogger(__name__)

CHECKPOINT_NAME = "checkpoint.pt"
EVALUATED_CLIPS, EVALUATED_S = 40, 5.0
"""Number and length of the synthetic clips that a codec is evaluated on where there are no real ones."""


def train_codec(args: CodecTrainingArguments) -> dict[str, Any]:
    r"""
    Train a codec, save it, load the saved folder and evaluate it.

    Args:
        args ([`CodecTrainingArguments`]):
            Settings.

    Returns:
        `dict`: The contents of `training_log.json`: `recipe`, `training` (clips, times in seconds), `evaluation` and
        `log_history`.

    Raises:
        ValueError: If no audio is found, files cannot be read, `output` contains a finished codec, or its checkpoint
            was written with other settings.
    """
    output = Path(args.output)
    checkpoint = output / CHECKPOINT_NAME
    if (output / "model.safetensors").exists() and not checkpoint.exists() and not args.overwrite:
        raise ValueError(f"{args.output!r} already contains a codec: use another `output`, or `overwrite`.")
    allowed = names_with_license(args.attribution, args.licenses) if args.attribution else None
    paths = [] if args.data is None else find_audio(args.data, args.exclude, allowed)
    waveforms = load_audio_files(paths, SAMPLING_RATE) if paths else []
    duration = sum(len(waveform) for waveform in waveforms) / SAMPLING_RATE
    logger.info("%d files, %.1f minutes of audio", len(waveforms), duration / 60)

    if args.num_threads > 0:
        torch.set_num_threads(args.num_threads)
    trainer = CodecTrainer(args, waveforms)
    output.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists() and not args.overwrite:
        trainer.load_checkpoint(checkpoint)
        logger.info("resuming from step %d", trainer.step)
    trainer.train(checkpoint)

    trainer.codec.save_pretrained(output)
    # Of another seed than those that were trained on.
    evaluated = waveforms or SyntheticClips(EVALUATED_CLIPS, args.seed + 1, EVALUATED_S, SAMPLING_RATE)[:]
    report = {
        "recipe": args.recipe(),
        "training": {
            "num_clips": len(waveforms),
            "audio_s": round(duration, 1),
            "evaluated_on": "real clips" if waveforms else "synthetic clips",
            "wall_s": round(trainer.wall_s, 1),
            "cpu_s": round(trainer.cpu_s, 1),
            "num_threads": torch.get_num_threads(),
            "torch_version": torch.__version__,
        },
        "evaluation": evaluate_codec(EncodecModel.from_pretrained(output), evaluated, progress=True),
        "log_history": trainer.log_history,
    }
    (output / TRAINING_LOG).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if args.attribution:
        copy_attribution(args.attribution, paths, output / ATTRIBUTION)
    checkpoint.unlink(missing_ok=True)
    return report


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command and print the evaluation of the saved codec."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # transformers declares the parameter with a `NewType` that no dataclass satisfies.
    parser = HfArgumentParser(CodecTrainingArguments)  # type: ignore[arg-type]
    (args,) = parser.parse_args_into_dataclasses(args=argv)
    report = train_codec(args)
    print(json.dumps({"training": report["training"], "evaluation": report["evaluation"]}, indent=1))


if __name__ == "__main__":
    main()
