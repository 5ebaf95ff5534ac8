"""Waveforms of any kind to Dasheng's spectrograms; the numbers themselves are compared in tests/modeling_dasheng."""

import json
import pickle

import numpy as np
import pytest
import torch

from audioformer.feature_extraction import DashengFeatureExtractor
from audioformer.feature_extraction.framewise import CHUNK
from audioformer.feature_extraction.mel_decibels import MelDecibels
from audioformer.modeling_dasheng import DashengConfig, DashengForAudioClassification


@pytest.fixture(scope="module")
def extractor() -> DashengFeatureExtractor:
    return DashengFeatureExtractor()


def clip(num_samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


@pytest.mark.parametrize(
    ("num_samples", "frames", "patches"),
    [(1, 4, 1), (256, 4, 1), (479, 4, 1), (480, 4, 1), (1119, 7, 1), (1120, 8, 2), (16_000, 101, 25)]
    + [(160_000, 1001, 250), (161_279, 1008, 252), (161_280, 1009, 252), (165_000, 1032, 258)],
)
def test_lengths(extractor, num_samples, frames, patches):
    inputs = extractor(clip(num_samples), sampling_rate=16_000)
    assert inputs["input_features"].shape == (1, frames, 64) and inputs["input_features"].dtype == np.float32
    assert inputs["attention_mask"].shape == (1, patches) and inputs["attention_mask"].all()
    assert DashengConfig(**extractor.model_config()).num_patches(frames) == patches
    assert extractor.spectrogram.num_frames(max(num_samples, 480)) == frames


def test_short_clips_are_extended_by_silence(extractor):
    short = clip(100)
    actual = extractor(short, sampling_rate=16_000)["input_features"]
    expected = extractor(np.pad(short, (0, 380)), sampling_rate=16_000)["input_features"]
    np.testing.assert_array_equal(actual, expected)


def test_a_batch_has_the_spectrograms_of_its_clips(extractor):
    clips = [clip(length, seed) for seed, length in enumerate((7_777, 300, 40_000, 16_000))]
    clips[3] *= 1e-5  # far below the floor of the others
    batch = extractor(clips, sampling_rate=16_000, return_tensors="pt")
    for row, one in enumerate(clips):
        alone = extractor(one, sampling_rate=16_000, return_tensors="pt")
        frames = alone["input_features"].shape[1]
        torch.testing.assert_close(
            batch["input_features"][row, :frames], alone["input_features"][0], atol=1e-3, rtol=0
        )
        assert (batch["input_features"][row, frames:] == -100).all()
        assert batch["attention_mask"][row].sum() == alone["attention_mask"].numel()
        assert batch["attention_mask"][row, : alone["attention_mask"].numel()].all()


@torch.no_grad()
def test_a_clip_has_the_same_scores_alone_and_in_any_batch(extractor):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
    torch.manual_seed(0)
    model = DashengForAudioClassification(DashengConfig(**sizes, initializer_range=0.2)).eval()
    model.dasheng.embeddings.batch_norm.running_mean.fill_(-30.0)
    model.dasheng.embeddings.batch_norm.running_var.fill_(200.0)
    clips = [clip(length, seed) for seed, length in enumerate((16_000, 1, 170_011, 5_000))]
    together = model(**extractor(clips, sampling_rate=16_000, return_tensors="pt")).logits
    wide = extractor(clips, sampling_rate=16_000, padding="max_length", max_length=2300, return_tensors="pt")
    torch.testing.assert_close(model(**wide).logits, together, atol=1e-5, rtol=0)
    for row, one in enumerate(clips):
        alone = model(**extractor(one, sampling_rate=16_000, return_tensors="pt")).logits[0]
        torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=0)
    official = DashengFeatureExtractor(official_padding=True)(clips, sampling_rate=16_000, return_tensors="pt")
    assert (model(**official).logits - together).abs().max() > 1e-4


def test_every_kind_of_input_gives_the_same(extractor):
    samples = clip(6_000)
    expected = extractor(samples, sampling_rate=16_000)["input_features"]
    inputs = [
        samples.tolist(),
        torch.from_numpy(samples),
        np.stack([samples, samples]),
        [samples],
        {"array": samples, "sampling_rate": 16_000},
        [{"raw": samples, "sampling_rate": 16_000}],
        samples.astype(np.float64),
    ]
    for one in inputs:
        np.testing.assert_allclose(extractor(one, sampling_rate=16_000)["input_features"], expected, atol=1e-4)
    pcm = np.round(samples * 32768).astype(np.int16)
    as_float = extractor(pcm / np.float32(32768), sampling_rate=16_000)["input_features"]
    np.testing.assert_allclose(extractor(pcm, sampling_rate=16_000)["input_features"], as_float, atol=1e-4)


def test_other_rates_are_resampled(extractor):
    tones = [0.3 * np.sin(2 * np.pi * 1000 * np.arange(rate) / rate) for rate in (44_100, 16_000)]
    actual, expected = (extractor(tone, sampling_rate=len(tone))["input_features"][0] for tone in tones)
    assert actual.shape == expected.shape
    peak = expected[50].argmax()
    np.testing.assert_allclose(actual[5:-5, peak], expected[5:-5, peak], atol=0.05)


def test_long_clips_are_computed_in_chunks():
    samples = clip(160 * (CHUNK + 100))
    spectrogram = MelDecibels()
    whole = spectrogram(torch.from_numpy(samples)[None])[0]
    # Chunks begin where another clip ended.
    chunked = spectrogram.batch([torch.from_numpy(clip(4000)), torch.from_numpy(samples)])[1]
    torch.testing.assert_close(chunked, whole, atol=1e-3, rtol=0)


def test_a_tone_has_its_level_and_its_bin():
    rate, frequency = 16_000, 1000.0
    tone = 0.5 * np.sin(2 * np.pi * frequency * np.arange(rate) / rate)
    features = DashengFeatureExtractor()(tone, sampling_rate=rate)["input_features"][0, 50]
    mel = 2595 * np.log10(1 + frequency / 700)
    highest = 2595 * np.log10(1 + 8000 / 700)
    assert abs(features.argmax() - (mel / highest * 65 - 1)) < 1
    # The sum of a Hann window is half of its length, and half of the amplitude is at the positive frequency.
    assert features.max() == pytest.approx(20 * np.log10(0.25 * 256), abs=3.0)


def test_the_range_below_the_loudest_is_limited():
    silence_then_noise = np.concatenate([np.zeros(8_000, np.float32), clip(8_000)])
    features = DashengFeatureExtractor(db_range=30)(silence_then_noise, sampling_rate=16_000)["input_features"]
    assert features.min() == pytest.approx(features.max() - 30)


def test_rms_makes_spectrograms_independent_of_the_level():
    samples = clip(5_000)
    extractor = DashengFeatureExtractor(normalize="rms")
    loud, soft = (extractor(gain * samples, sampling_rate=16_000)["input_features"] for gain in (1.0, 0.125))
    np.testing.assert_allclose(loud, soft, atol=1e-4)
    assert extractor.normalization["normalize"] == "rms" and DashengFeatureExtractor().normalization == {}


def test_truncation_and_multiples(extractor):
    clips = [clip(16_000), clip(5_000)]
    cut = extractor(clips, sampling_rate=16_000, truncation=True, max_length=40, return_tensors="np")
    assert cut["input_features"].shape == (2, 40, 64) and cut["attention_mask"].sum(1).tolist() == [10, 8]
    rounded = extractor(clips, sampling_rate=16_000, pad_to_multiple_of=16, return_tensors="np")
    assert rounded["input_features"].shape == (2, 112, 64) and rounded["attention_mask"].shape == (2, 28)
    ragged = extractor(clips, sampling_rate=16_000, padding=False)
    assert [len(one) for one in ragged["input_features"]] == [101, 32]


def test_saved_settings_are_loaded(tmp_path):
    extractor = DashengFeatureExtractor(db_range=80.0, official_padding=True, normalize="rms")
    extractor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved["db_range"] == 80.0 and not any(key.startswith("_") for key in saved)
    loaded = DashengFeatureExtractor.from_pretrained(tmp_path)
    samples = [clip(5_000), clip(9_000)]
    for copy in (loaded, pickle.loads(pickle.dumps(extractor))):
        expected, actual = (one(samples, sampling_rate=16_000) for one in (extractor, copy))
        np.testing.assert_array_equal(actual["input_features"], expected["input_features"])
        np.testing.assert_array_equal(actual["attention_mask"], expected["attention_mask"])


def test_features_made_in_inference_mode_can_be_trained_on():
    with torch.inference_mode():
        features = DashengFeatureExtractor()(clip(5_000), sampling_rate=16_000, return_tensors="pt")["input_features"]
    assert not features.is_inference() and not features.requires_grad


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"db_range": 0.0}, "`db_range` must be a positive number of dB"),
        ({"db_range": float("nan")}, "`db_range` must be a positive number of dB"),
        ({"frames_per_patch": 0}, "`frames_per_patch` must be a whole number"),
        ({"feature_size": 6.4}, "`feature_size` must be a whole number"),
        ({"padding_side": "left"}, "`padding_side` must be 'right'"),
        ({"normalize": "peak"}, "`normalize` must be None or 'rms'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        DashengFeatureExtractor(**settings)


@pytest.mark.parametrize(
    ("clips", "options", "message"),
    [
        ([clip(3_000), np.array([], np.float32)], {}, "clip 2 of 2 is empty"),
        ([np.array([0.0, np.nan])], {}, "NaN"),
        ([clip(3_000)], {"max_length": 3}, "`max_length` counts frames and must be at least 4, got 3"),
        ([clip(3_000)], {"truncation": True}, "needs `max_length`"),
    ],
)
def test_wrong_clips_are_named(extractor, clips, options, message):
    with pytest.raises(ValueError, match=message):
        extractor(clips, sampling_rate=16_000, **options)
