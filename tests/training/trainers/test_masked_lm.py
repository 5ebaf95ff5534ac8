"""The trainer of masked-LM pre-training: its masks, and what evaluations return."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import EvalPrediction, Trainer, TrainingArguments

from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForMaskedLM
from audioformer.training import AudioFormerMLMTrainer, AudioFormerTrainingArguments, CodeExamples
from audioformer.training.examples.collators import DataCollatorForCodecMaskedLM

SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}


def masked_lm() -> AudioFormerForMaskedLM:
    torch.manual_seed(0)
    return AudioFormerForMaskedLM(AudioFormerConfig(**SIZES, initializer_range=0.2))


def plain_items(num_clips: int = 11) -> list[dict[str, list[int]]]:
    """Clips of unequal length, without `draw_seed`."""
    rng = np.random.default_rng(0)
    return [{"input_ids": [0, *rng.integers(3, 1027, 20 + 4 * index).tolist(), 2]} for index in range(num_clips)]


def arguments(kind: type, folder: Path, **changes: Any) -> Any:
    options = {"use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "report_to": "none"}
    batches = {"per_device_train_batch_size": 3, "per_device_eval_batch_size": 4}
    return kind(output_dir=str(folder), remove_unused_columns=False, **{**options, **batches, **changes})


@pytest.mark.parametrize("kind", [AudioFormerMLMTrainer, Trainer])
def test_metrics_see_one_row_of_predictions_per_clip_beside_its_labels(kind, tmp_path):
    """Eleven clips in batches of four: the last batch is not full, and lengths differ between batches."""
    seen: list[EvalPrediction] = []

    def share_of_correct(prediction: EvalPrediction) -> dict[str, float]:
        seen.append(prediction)
        known = prediction.label_ids != -100
        return {"share": float((prediction.predictions.argmax(-1) == prediction.label_ids)[known].mean())}

    ours = kind is AudioFormerMLMTrainer
    trainer = kind(
        model=masked_lm(),
        args=arguments(AudioFormerTrainingArguments if ours else TrainingArguments, tmp_path),
        eval_dataset=plain_items(),
        compute_metrics=share_of_correct,
        data_collator=DataCollatorForCodecMaskedLM(seed=0),
    )
    metrics = trainer.evaluate()
    (prediction,) = seen
    assert prediction.predictions.shape[:2] == prediction.label_ids.shape
    known = prediction.label_ids != -100
    assert known.sum() == sum(round((len(item["input_ids"]) - 2) / 4) for item in plain_items())
    logits, labels = torch.from_numpy(prediction.predictions)[known], torch.from_numpy(prediction.label_ids)[known]
    # The Trainer averages the batches by their clips, so the means agree only roughly.
    assert metrics["eval_loss"] == pytest.approx(torch.nn.functional.cross_entropy(logits, labels).item(), abs=0.2)
    assert metrics["eval_share"] == share_of_correct(prediction)["share"]


class KeepsMasks(AudioFormerForMaskedLM):
    """A masked-LM model that keeps the masked ids that it saw."""

    seen: list[tuple[bool, list[list[int]]]]

    def forward(self, input_ids, **inputs):  # type: ignore[override]
        self.seen.append((self.training, input_ids.tolist()))
        return super().forward(input_ids=input_ids, **inputs)


def masks_of_a_run(folder: Path, items: Any, **changes: Any) -> list[tuple[bool, list[list[int]]]]:
    torch.manual_seed(0)
    model = KeepsMasks(AudioFormerConfig(**SIZES))
    model.seen = []
    trainer = AudioFormerMLMTrainer(
        model=model,
        args=arguments(AudioFormerTrainingArguments, folder, num_train_epochs=2, eval_strategy="epoch", **changes),
        train_dataset=items,
        eval_dataset=items,
    )
    trainer.train()
    return model.seen


@pytest.mark.parametrize("kind", ["plain", "examples"])
def test_masks_differ_between_epochs_but_not_with_workers_and_not_between_evaluations(kind, tmp_path):
    clips = [np.array(item["input_ids"][1:-1]) - 3 for item in plain_items(6)]
    items: Any = plain_items(6) if kind == "plain" else CodeExamples(clips, seed=42)
    alone = masks_of_a_run(tmp_path, items)
    workers = masks_of_a_run(tmp_path, items, dataloader_num_workers=2)
    assert alone == workers
    training = [batch for is_training, batch in alone if is_training]
    evaluations = [batch for is_training, batch in alone if not is_training]
    assert len(training) == 4 and len(evaluations) == 4
    assert evaluations[:2] == evaluations[2:]
    epochs = [training[:2], training[2:]]
    by_length = [{len(row) - row.count(1): row for batch in epoch for row in batch} for epoch in epochs]
    assert by_length[0].keys() == by_length[1].keys() and len(by_length[0]) == 6
    assert all(by_length[0][length] != by_length[1][length] for length in by_length[0])
    other = masks_of_a_run(tmp_path, items, data_seed=7)
    if kind == "plain":
        assert [batch for is_training, batch in other if is_training] != training
