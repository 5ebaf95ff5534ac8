"""A small pre-training as a script that writes down what each process was fed, before and after a resume.

    python run_recorded.py OUTPUT CLIPS_A_DEVICE

Writes OUTPUT/RANK.json: of the whole run, and of one resumed in the middle of an epoch, the rows of ids and labels.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch

from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForMaskedLM
from audioformer.training import AudioFormerMLMTrainer, AudioFormerTrainingArguments, CodeExamples
from audioformer.training.examples.collators import DataCollatorForCodecMaskedLM


class RecordingCollator(DataCollatorForCodecMaskedLM):
    """Keeps a list of all rows, without their padding."""

    def __call__(self, features):
        batch = super().__call__(features)
        real = batch["attention_mask"].bool()
        for ids, labels, kept in zip(batch["input_ids"], batch["labels"], real, strict=True):
            self.rows.append([ids[kept].tolist(), labels[kept].tolist()])
        return batch


def rows_of_run(output: str, clips_a_device: int, resume_from: str | None) -> list:
    rng = np.random.default_rng(0)
    examples = CodeExamples([rng.integers(0, 1024, rng.integers(5, 40)) for _ in range(24)], crop_frames=20)
    config = AudioFormerConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    arguments = AudioFormerTrainingArguments(
        output_dir=output,
        use_cpu=True,
        disable_tqdm=True,
        num_train_epochs=3,
        per_device_train_batch_size=clips_a_device,
        save_steps=5,
    )
    collator = RecordingCollator()
    collator.rows = []
    trainer = AudioFormerMLMTrainer(
        AudioFormerForMaskedLM(config), arguments, data_collator=collator, train_dataset=examples
    )
    trainer.train(resume_from_checkpoint=resume_from)
    return collator.rows


def main(output: str, clips_a_device: str) -> None:
    torch.set_num_threads(1)
    runs = {
        "whole": rows_of_run(output, int(clips_a_device), None),
        "resumed": rows_of_run(output, int(clips_a_device), f"{output}/checkpoint-5"),
    }
    rank = torch.distributed.get_rank() if torch.distributed.is_initialized() else 0
    Path(output, f"{rank}.json").write_text(json.dumps(runs))


if __name__ == "__main__":
    main(*sys.argv[1:])
