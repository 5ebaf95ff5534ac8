"""Clips that are rolled, mixed and masked: what changes, what does not, and that seeds decide it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from audioformer.feature_extraction import BeatsFeatureExtractor
from audioformer.training.examples.audio import AudioExamples, DataCollatorForAudio
from audioformer.training.examples.spectrogram_augmentation import mask_spectrogram, mix_waveforms, roll_waveform
from audioformer.training.spectrogram_arguments import SpectrogramTrainingArguments
from audioformer.training.trainers.spectrogram_classification import SpectrogramClassificationTrainer


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_rolled_clip_has_the_same_samples_in_another_place():
    clip = np.arange(100.0)
    rolled = [roll_waveform(clip, rng(seed)) for seed in range(30)]
    assert len({one[0] for one in rolled}) > 15
    for one in rolled:
        start = int(one[0])
        np.testing.assert_array_equal(one, np.concatenate((clip[start:], clip[:start])))
    np.testing.assert_array_equal(roll_waveform(np.ones(1), rng()), [1.0])


def test_mixed_clips_are_sums_of_two_whose_own_leads():
    clips = [np.full(length, value, np.float32) for length, value in ((5, 1.0), (8, 10.0), (3, 100.0))]
    leading, lengths = set(), set()
    for start in range(0, 60, 3):
        mixed, partners, shares = mix_waveforms(clips, [start, start + 1, start + 2], 0.8)
        for row, clip in enumerate(mixed):
            own, partner = clips[row], clips[partners[row]]
            assert len(clip) == max(len(own), len(partner)) and 0.5 <= shares[row] <= 1
            expected = np.zeros(len(clip))
            expected[: len(own)] += shares[row] * own
            expected[: len(partner)] += (1 - shares[row]) * partner
            np.testing.assert_allclose(clip, expected, rtol=1e-5)
            leading.add(round(float(shares[row]), 3))
            lengths.add((row, int(partners[row])))
    assert len(leading) > 30 and len(lengths) == 9
    again, partners_again, _ = mix_waveforms(clips, [57, 58, 59], 0.8)
    np.testing.assert_array_equal(again[0], mixed[0])
    np.testing.assert_array_equal(partners_again, partners)


def test_a_masked_spectrogram_has_one_stretch_and_one_band_of_its_mean():
    shares = []
    for seed in range(40):
        original = torch.randn(50, 20, generator=torch.Generator().manual_seed(seed))
        masked = original.clone()
        mask_spectrogram(masked, 0.3, rng(seed))
        changed = masked != original
        rows, columns = changed.all(1), changed.all(0)
        for axis, limit in ((rows, 15), (columns, 6)):
            places = axis.nonzero()[:, 0]
            assert len(places) <= limit
            assert len(places) == 0 or places[-1] - places[0] == len(places) - 1
        assert torch.equal(changed, rows[:, None] | columns[None])
        torch.testing.assert_close(masked[changed], original.mean().expand(int(changed.sum())))
        shares.append((int(rows.sum()), int(columns.sum())))
    assert len({rows for rows, _ in shares}) > 8 and {columns for _, columns in shares} == set(range(7))


def items(lengths=(16000, 8000), seeds=(1, 2)) -> list[dict[str, Any]]:
    return [
        {
            "waveform": rng(length).standard_normal(length).astype(np.float32),
            "labels": torch.tensor(1),
            "draw_seed": seed,
        }
        for length, seed in zip(lengths, seeds, strict=True)
    ]


def test_the_collator_masks_the_real_part_of_clips_with_seeds_alone():
    extractor = BeatsFeatureExtractor()
    plain = DataCollatorForAudio(extractor)(items())["input_features"]
    collator = DataCollatorForAudio(extractor, spec_augment=0.5)
    masked = collator(items())["input_features"]
    assert (masked != plain).any(-1).any(-1).all()
    # The second clip is half as long: its padding stays.
    frames = (plain[1] != 0).any(-1).sum()
    assert frames < 0.55 * len(plain[1]) and not masked[1, frames + 1 :].any()
    torch.testing.assert_close(collator(items())["input_features"], masked, atol=0, rtol=0)
    assert not torch.equal(collator(items(seeds=(3, 4)))["input_features"], masked)
    of_evaluations = [{name: value for name, value in item.items() if name != "draw_seed"} for item in items()]
    assert torch.equal(collator(of_evaluations)["input_features"], plain)


def test_the_collator_mixes_waveforms():
    extractor = BeatsFeatureExtractor()
    batch = DataCollatorForAudio(extractor, mixup_alpha=0.8)(items())
    waveforms = [item["waveform"] for item in items()]
    mixed, partners, shares = mix_waveforms(waveforms, [1, 2], 0.8)
    expected = extractor(mixed, sampling_rate=16000, return_tensors="pt")
    assert torch.equal(batch["input_features"], expected["input_features"])
    assert torch.equal(batch["attention_mask"], expected["attention_mask"])
    assert batch["mixup_partners"].tolist() == partners.tolist() and batch["mixup_shares"].tolist() == shares.tolist()


@dataclass
class FakeClips:
    """Two clips of noise."""

    dataset = Dataset.from_dict({"id": ["a", "b"], "duration_s": [0.5, 1.0]})
    targets = np.array([0, 1])

    def __len__(self) -> int:
        return 2

    def read(self, index: int, sampling_rate: int) -> np.ndarray:
        return rng(index).standard_normal(8000 * (index + 1)).astype(np.float32)


def test_items_are_rolled_anew_in_every_epoch():
    plain = AudioExamples(FakeClips(), 16000)
    rolled = AudioExamples(FakeClips(), 16000, roll=True, is_drawn=True, seed=3)
    assert "draw_seed" not in plain[0] and rolled[0]["draw_seed"] != rolled[1]["draw_seed"]
    first = rolled[1]["waveform"]
    np.testing.assert_array_equal(np.sort(first), np.sort(plain[1]["waveform"]))
    np.testing.assert_array_equal(rolled[1]["waveform"], first)
    rolled.set_epoch(1)
    assert (rolled[1]["waveform"] != first).any()


class SumConfig(PreTrainedConfig):
    model_type = "sum_of_features"


class SumModel(PreTrainedModel):
    config_class, main_input_name = SumConfig, "input_features"

    def __init__(self, config):
        super().__init__(config)
        self.classifier = nn.Linear(128, config.num_labels)
        self.post_init()

    def forward(self, input_features, attention_mask=None, labels=None):
        logits = self.classifier(input_features.mean(1))
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


@pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification"])
def test_the_loss_of_mixed_clips_is_that_of_mixed_labels(problem, tmp_path):
    torch.manual_seed(0)
    several = problem == "multi_label_classification"
    model = SumModel(SumConfig(num_labels=3, problem_type=problem)).train()
    arguments = SpectrogramTrainingArguments(output_dir=str(tmp_path), use_cpu=True, mixup_alpha=0.8)
    collator = DataCollatorForAudio(BeatsFeatureExtractor(), mixup_alpha=0.8)
    trainer = SpectrogramClassificationTrainer(model=model, args=arguments, data_collator=collator)
    clips = items()
    labels = [torch.tensor([1.0, 0, 1]), torch.tensor([0.0, 1, 0])] if several else [torch.tensor(2), torch.tensor(0)]
    for clip, label in zip(clips, labels, strict=True):
        clip["labels"] = label
    batch = collator(clips)
    partners, shares = batch["mixup_partners"], batch["mixup_shares"][:, None]
    assert (shares < 1).all() and partners.tolist() != [0, 1]
    loss, outputs = trainer.batch_loss(model, dict(batch))
    hot = torch.stack(labels) if several else nn.functional.one_hot(torch.stack(labels), 3).float()
    targets = shares * hot + (1 - shares) * hot[partners]
    functional = nn.functional.binary_cross_entropy_with_logits if several else nn.functional.cross_entropy
    torch.testing.assert_close(loss, functional(outputs.logits, targets))
