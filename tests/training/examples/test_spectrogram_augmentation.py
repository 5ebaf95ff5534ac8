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

from audioformer.feature_extraction import BeatsFeatureExtractor, MaskSpecFeatureExtractor
from audioformer.training.examples.audio import AudioExamples, DataCollatorForAudio
from audioformer.training.examples.spectrogram_augmentation import (
    BatchChanges,
    amplify_waveform,
    draw_mel_edges,
    hide_stretches,
    mask_spectrogram,
    mix_spectrograms,
    mix_waveforms,
    roll_waveform,
)
from audioformer.training.settings import create_settings
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
    collator = DataCollatorForAudio(extractor, BatchChanges(spec_augment=0.5))
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
    batch = DataCollatorForAudio(extractor, BatchChanges(mixup_alpha=0.8))(items())
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
    collator = DataCollatorForAudio(BeatsFeatureExtractor(), BatchChanges(mixup_alpha=0.8))
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


def test_gain_and_short_rolls_stay_within_their_limits():
    clip = rng().standard_normal(400).astype(np.float32)
    gains = [20 * np.log10(amplify_waveform(clip, -7, 6, rng(seed))[0] / clip[0]) for seed in range(60)]
    assert -7 <= min(gains) < -5 and 4 < max(gains) <= 6
    assert amplify_waveform(clip, -7, 6, rng()).dtype == np.float32
    shifts = {int(np.flatnonzero(roll_waveform(np.arange(400), rng(seed), 3) == 0)[0]) for seed in range(60)}
    assert shifts == {0, 1, 2, 3, 397, 398, 399}


def test_some_clips_are_mixed_and_others_stay():
    clips = [np.full(4, float(value), np.float32) for value in range(1, 41)]
    mixed, _, shares = mix_waveforms(clips, range(40), 2.0, probability=0.5)
    stayed = [row for row in range(40) if np.array_equal(mixed[row], clips[row])]
    assert 8 < len(stayed) < 32
    assert {row for row in range(40) if shares[row] == 1} <= set(stayed)
    # Which partner and share the others have does not depend on the probability.
    always, partners, shares_of_all = mix_waveforms(clips, range(40), 2.0)
    for row in set(range(40)) - set(stayed):
        assert shares[row] == shares_of_all[row] and np.array_equal(mixed[row], always[row])
    assert len(set(partners.tolist())) > 10


def test_mixed_spectrograms_are_means_where_both_have_frames():
    features = torch.randn(3, 10, 4, generator=torch.Generator().manual_seed(0))
    num_frames = [10, 4, 7]
    for row, length in enumerate(num_frames):
        features[row, length:] = 0
    pairs = set()
    for start in range(0, 60, 3):
        mixed, partners, shares = mix_spectrograms(features, num_frames, [start, start + 1, start + 2], 0.3)
        for row, (partner, share) in enumerate(zip(partners.tolist(), shares.tolist(), strict=True)):
            shared = min(num_frames[row], num_frames[partner])
            own, other = features[row], features[partner]
            torch.testing.assert_close(mixed[row, :shared], share * own[:shared] + (1 - share) * other[:shared])
            assert torch.equal(mixed[row, shared:], own[shared:]) and 0.5 <= share <= 1
            pairs.add((row, partner))
    assert len(pairs) == 9


def test_stretches_of_fixed_sizes_hold_the_given_values_and_never_more_than_half():
    values, widths = torch.arange(20.0) + 100, []
    for seed in range(60):
        original = torch.randn(50, 20, generator=torch.Generator().manual_seed(seed))
        hidden = original.clone()
        hide_stretches(hidden, 192, 6, values, rng(seed))
        changed = hidden != original
        rows, columns = changed.all(1), changed.all(0)
        assert torch.equal(changed, rows[:, None] | columns[None])
        assert torch.equal(hidden[changed], values.expand_as(hidden)[changed])
        widths.append((int(rows.sum()), int(columns.sum())))
    assert {bins for _, bins in widths} == set(range(7))
    assert 20 < max(frames for frames, _ in widths) <= 25
    whole = torch.randn(50, 20)
    mean = whole.mean()
    hide_stretches(whole, 10, 0, None, rng(3))
    assert (whole == mean).any()


def test_edges_of_the_mel_bins_move_within_their_limits():
    edges = [draw_mel_edges((0.0, 15000.0), (9, 1000), 15500.0, rng(seed)) for seed in range(100)]
    lows, highs = np.array(edges).T
    assert 0 <= lows.min() < 1 and 8 < lows.max() <= 9
    assert 14000 <= highs.min() < 14200 and highs.max() == 15500


def test_the_collator_moves_edges_hides_and_mixes_spectrograms_by_seeds_alone():
    extractor = MaskSpecFeatureExtractor()
    changes = BatchChanges(mel_jitter=(9, 1000), mask_frames=20, mask_bins=30, spectrogram_mixup_alpha=0.3)
    batch = DataCollatorForAudio(extractor, changes)(items())
    seeds = [item["draw_seed"] for item in items()]
    edges = [draw_mel_edges((0.0, 15000.0), (9, 1000), 16000.0, np.random.default_rng([seed, 17])) for seed in seeds]
    waveforms = [item["waveform"] for item in items()]
    features = extractor(waveforms, sampling_rate=32000, mel_edges=edges, return_tensors="pt")["input_features"]
    assert not torch.equal(features, extractor(waveforms, sampling_rate=32000, return_tensors="pt")["input_features"])
    real = [features.shape[1], -(-features.shape[1] // 2)]
    for row, seed in enumerate(seeds):
        hide_stretches(features[row, : real[row]], 20, 30, extractor.mask_values, np.random.default_rng([seed, 16]))
    mixed, partners, shares = mix_spectrograms(features, real, seeds, 0.3)
    torch.testing.assert_close(batch["input_features"], mixed, atol=0, rtol=0)
    assert batch["spectrogram_mixup_partners"].tolist() == partners.tolist()
    assert batch["spectrogram_mixup_shares"].tolist() == shares.tolist()
    of_evaluations = [{name: value for name, value in item.items() if name != "draw_seed"} for item in items()]
    plain = DataCollatorForAudio(extractor, changes)(of_evaluations)
    assert set(plain) == {"input_features", "attention_mask", "labels"}
    assert torch.equal(plain["input_features"], DataCollatorForAudio(extractor)(items())["input_features"])


def test_items_are_amplified_anew_in_every_epoch():
    plain, loud = AudioExamples(FakeClips(), 16000), AudioExamples(FakeClips(), 16000, gain_db=(6, 12), seed=3)
    ratios = []
    for epoch in range(2):
        loud.set_epoch(epoch)
        ratio = loud[1]["waveform"] / plain[1]["waveform"]
        np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
        ratios.append(float(ratio[0]))
    assert 10 ** (6 / 20) <= min(ratios) < max(ratios) <= 10 ** (12 / 20)


def test_labels_of_clips_that_are_mixed_twice_are_mixed_twice(tmp_path):
    torch.manual_seed(0)
    model = SumModel(SumConfig(num_labels=3, problem_type="single_label_classification")).train()
    changes = BatchChanges(mixup_alpha=0.8, spectrogram_mixup_alpha=0.3)
    arguments = SpectrogramTrainingArguments(output_dir=str(tmp_path), use_cpu=True)
    collator = DataCollatorForAudio(BeatsFeatureExtractor(), changes)
    trainer = SpectrogramClassificationTrainer(model=model, args=arguments, data_collator=collator)
    clips = items(seeds=(1, 4))
    clips[0]["labels"] = torch.tensor(2)
    batch = collator(clips)
    loss, outputs = trainer.batch_loss(model, dict(batch))
    targets = nn.functional.one_hot(batch["labels"], 3).float()
    for kind in ("mixup", "spectrogram_mixup"):
        partners, shares = batch[f"{kind}_partners"], batch[f"{kind}_shares"][:, None]
        targets = shares * targets + (1 - shares) * targets[partners]
    assert ((targets > 0).sum(1) == 2).all()
    torch.testing.assert_close(loss, nn.functional.cross_entropy(outputs.logits, targets))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gain_db": [3.0]}, "`gain_db` must be two numbers"),
        ({"gain_db": [3.0, -3.0]}, "lower gain and the higher one"),
        ({"mel_jitter": [-1.0, 3.0]}, "`mel_jitter` must be at least 0"),
        ({"roll": True, "roll_samples": 50}, "`roll_samples` must be 0"),
        ({"mixup_probability": 1.5}, "`mixup_probability` must be"),
    ],
)
def test_settings_that_mean_nothing_are_refused(tmp_path, values, message):
    with pytest.raises(ValueError, match=message):
        SpectrogramTrainingArguments(output_dir=str(tmp_path), use_cpu=True, **values)


def test_families_whose_mel_bins_cannot_move_say_so(tmp_path):
    with pytest.raises(ValueError, match="`mel_jitter` needs mel bins whose edges can move; those of BEATs cannot"):
        create_settings("finetune", family="audioformer_beats", output_dir=tmp_path, mel_jitter=[9, 1000])
    made = create_settings("finetune", family="audioformer_maskspec", output_dir=tmp_path, mel_jitter=[9, 1000])
    assert BatchChanges.of(made.training).changes_anything
    assert not BatchChanges.of(
        create_settings("finetune", family="audioformer_beats", output_dir=tmp_path).training
    ).changes_anything
