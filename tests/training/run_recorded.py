"""A small pre-training run that records what each process is fed, before and after a resume."""

import json
from pathlib import Path

import numpy as np
import torch

from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForMaskedLM
from audioformer.training import AudioFormerMLMTrainer, AudioFormerTrainingArguments, CodeExamples
from audioformer.training.examples.collators import DataCollatorForCodecMaskedLM


class RecordingCollator(DataCollatorForCodecMaskedLM):
    """Keeps a list of all clips and their labels, without padding."""

    def __call__(self, features):
        batch = super().__call__(features)
        real = batch["attention_mask"].bool()
        for ids, labels, kept in zip(batch["input_ids"], batch["labels"], real, strict=True):
            self.clips.append([ids[kept].tolist(), labels[kept].tolist()])
        return batch


def clips_of_run(output: Path, clips_per_device: int, resume_from: str | None) -> list:
    rng = np.random.default_rng(0)
    examples = CodeExamples([rng.integers(0, 1024, rng.integers(5, 40)) for _ in range(24)], crop_frames=20)
    config = AudioFormerConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    arguments = AudioFormerTrainingArguments(
        output_dir=str(output),
        use_cpu=True,
        disable_tqdm=True,
        num_train_epochs=3,
        per_device_train_batch_size=clips_per_device,
        save_steps=5,
    )
    collator = RecordingCollator()
    collator.clips = []
    trainer = AudioFormerMLMTrainer(
        AudioFormerForMaskedLM(config), arguments, data_collator=collator, train_dataset=examples
    )
    trainer.train(resume_from_checkpoint=resume_from)
    return collator.clips


def record(output: Path, clips_per_device: int) -> None:
    """Write `output/RANK.json`: the clips of the whole run, and of one resumed in the middle of an epoch."""
    runs = {
        "whole": clips_of_run(output, clips_per_device, None),
        "resumed": clips_of_run(output, clips_per_device, f"{output}/checkpoint-5"),
    }
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    (output / f"{rank}.json").write_text(json.dumps(runs))
