"""Waveforms of any kind to BEATs' spectrograms; the numbers themselves are compared in tests/modeling_beats."""

import json
import pickle
import warnings

import numpy as np
import pytest
import torch

from audioformer.feature_extraction import BeatsFeatureExtractor
from audioformer.feature_extraction.framewise import CHUNK
from audioformer.feature_extraction.kaldi_filterbank import KaldiFilterbank
from audioformer.modeling_beats import BeatsConfig, BeatsForAudioClassification


@pytest.fixture(scope="module")
def extractor() -> BeatsFeatureExtractor:
    return BeatsFeatureExtractor()


def clip(num_samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


@pytest.mark.parametrize(
    ("num_samples", "frames", "patches"),
    [(1, 16, 8), (399, 16, 8), (2799, 16, 8), (2800, 16, 8), (2959, 16, 8), (2960, 17, 8), (5360, 32, 16)]
    + [(10_000, 61, 24), (16_000, 98, 48), (160_000, 998, 496)],
)
def test_lengths(extractor, num_samples, frames, patches):
    inputs = extractor(clip(num_samples), sampling_rate=16_000)
    assert inputs["input_features"].shape == (1, frames, 128) and inputs["input_features"].dtype == np.float32
    assert inputs["attention_mask"].shape == (1, patches) and inputs["attention_mask"].all()
    assert BeatsConfig(**extractor.model_config()).num_patches(frames) == patches


def test_short_clips_are_extended_by_silence(extractor):
    short = clip(500)
    actual = extractor(short, sampling_rate=16_000)["input_features"]
    expected = extractor(np.pad(short, (0, 2300)), sampling_rate=16_000)["input_features"]
    np.testing.assert_array_equal(actual, expected)


def test_a_batch_has_the_spectrograms_of_its_clips(extractor):
    clips = [clip(length, seed) for seed, length in enumerate((7_777, 700, 40_000, 16_000))]
    batch = extractor(clips, sampling_rate=16_000, return_tensors="pt")
    for row, one in enumerate(clips):
        alone = extractor(one, sampling_rate=16_000, return_tensors="pt")
        frames = alone["input_features"].shape[1]
        torch.testing.assert_close(
            batch["input_features"][row, :frames], alone["input_features"][0], atol=1e-5, rtol=0
        )
        assert not batch["input_features"][row, frames:].any()
        assert batch["attention_mask"][row].sum() == alone["attention_mask"].numel()
        assert batch["attention_mask"][row, : alone["attention_mask"].numel()].all()


@torch.no_grad()
def test_a_clip_has_the_same_scores_alone_and_in_any_batch(extractor):
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32}
    torch.manual_seed(0)
    model = BeatsForAudioClassification(BeatsConfig(**sizes, patch_embedding_size=16, initializer_range=0.2)).eval()
    clips = [clip(length, seed) for seed, length in enumerate((16_000, 1, 30_011, 5_000))]
    together = model(**extractor(clips, sampling_rate=16_000, return_tensors="pt")).logits
    wide = extractor(clips, sampling_rate=16_000, padding="max_length", max_length=300, return_tensors="pt")
    torch.testing.assert_close(model(**wide).logits, together, atol=1e-5, rtol=0)
    for row, one in enumerate(clips):
        alone = model(**extractor(one, sampling_rate=16_000, return_tensors="pt")).logits[0]
        torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=0)
    official = BeatsFeatureExtractor(official_padding=True)(clips, sampling_rate=16_000, return_tensors="pt")
    assert (model(**official).logits - together).abs().max() > 1e-3


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
        np.testing.assert_allclose(extractor(one, sampling_rate=16_000)["input_features"], expected, atol=1e-6)
    pcm = np.round(samples * 32768).astype(np.int16)
    as_float = extractor(pcm / np.float32(32768), sampling_rate=16_000)["input_features"]
    np.testing.assert_allclose(extractor(pcm, sampling_rate=16_000)["input_features"], as_float, atol=1e-6)


def test_other_rates_are_resampled(extractor):
    time_s = np.arange(44_100) / 44_100
    tone = 0.3 * np.sin(2 * np.pi * 1000 * time_s)
    at_16k = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)
    actual = extractor(tone, sampling_rate=44_100)["input_features"][0]
    expected = extractor(at_16k, sampling_rate=16_000)["input_features"][0]
    assert actual.shape == expected.shape
    peak = expected[50].argmax()
    np.testing.assert_allclose(actual[5:-5, peak], expected[5:-5, peak], atol=0.01)


def test_long_clips_are_computed_in_chunks(extractor):
    samples = clip(160 * (CHUNK + 100))
    filterbank = KaldiFilterbank()
    whole = filterbank(torch.from_numpy(samples)[None])[0]
    # Chunks begin where another clip ended.
    chunked = filterbank.batch([torch.from_numpy(clip(4000)), torch.from_numpy(samples)])[1]
    torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=1e-6)


def test_mean_and_std_are_settings():
    samples = clip(5_000)
    first = BeatsFeatureExtractor()(samples, sampling_rate=16_000)["input_features"]
    second = BeatsFeatureExtractor(mean=11.72215, std=10.60431)(samples, sampling_rate=16_000)["input_features"]
    energies = first * 2 * 6.55582 + 15.41663
    np.testing.assert_allclose(second, (energies - 11.72215) / (2 * 10.60431), atol=1e-5)


def test_rms_makes_spectrograms_independent_of_the_level():
    samples = clip(5_000)
    extractor = BeatsFeatureExtractor(normalize="rms")
    loud, soft = (extractor(gain * samples, sampling_rate=16_000)["input_features"] for gain in (1.0, 0.125))
    np.testing.assert_allclose(loud, soft, atol=1e-5)


def test_truncation_and_multiples(extractor):
    clips = [clip(16_000), clip(5_000)]
    cut = extractor(clips, sampling_rate=16_000, truncation=True, max_length=40, return_tensors="np")
    assert cut["input_features"].shape == (2, 40, 128) and cut["attention_mask"].shape == (2, 16)
    rounded = extractor(clips, sampling_rate=16_000, pad_to_multiple_of=16, return_tensors="np")
    assert rounded["input_features"].shape == (2, 112, 128) and rounded["attention_mask"].shape == (2, 56)
    assert rounded["attention_mask"].sum(1).tolist() == [48, 8]
    ragged = extractor(clips, sampling_rate=16_000, padding=False)
    assert [len(one) for one in ragged["input_features"]] == [98, 29]


def test_pad_joins_what_was_extracted_one_by_one(extractor):
    clips = [clip(16_000), clip(5_000, 1)]
    one_by_one = [
        {key: value[0] for key, value in extractor(one, sampling_rate=16_000, return_tensors="pt").items()}
        for one in clips
    ]
    labelled = [{**item, "labels": index} for index, item in enumerate(one_by_one)]
    padded = extractor.pad(labelled, return_tensors="pt")
    together = extractor(clips, sampling_rate=16_000, return_tensors="pt")
    torch.testing.assert_close(padded["input_features"], together["input_features"])
    assert torch.equal(padded["attention_mask"], together["attention_mask"])
    assert padded["labels"].tolist() == [0, 1]
    assert "attention_mask" not in extractor.pad(one_by_one, return_attention_mask=False)


def test_saved_settings_are_loaded(tmp_path):
    extractor = BeatsFeatureExtractor(mean=1.0, std=2.0, official_padding=True, normalize="rms")
    extractor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved["mean"] == 1.0 and not any(key.startswith("_") for key in saved)
    loaded = BeatsFeatureExtractor.from_pretrained(tmp_path)
    samples = [clip(5_000), clip(9_000)]
    for copy in (loaded, pickle.loads(pickle.dumps(extractor))):
        expected, actual = (one(samples, sampling_rate=16_000) for one in (extractor, copy))
        np.testing.assert_array_equal(actual["input_features"], expected["input_features"])
        np.testing.assert_array_equal(actual["attention_mask"], expected["attention_mask"])


def test_features_made_in_inference_mode_can_be_trained_on():
    with torch.inference_mode():
        features = BeatsFeatureExtractor()(clip(5_000), sampling_rate=16_000, return_tensors="pt")["input_features"]
    assert not features.is_inference() and not features.requires_grad


def test_the_empty_triangle_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BeatsFeatureExtractor()(clip(3_000), sampling_rate=16_000)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"std": 0.0}, "`std` positive"),
        ({"mean": float("nan")}, "`mean` must be finite"),
        ({"patch_size": 0}, "`patch_size` must be a whole number"),
        ({"feature_size": 100}, "`feature_size` must be a multiple of `patch_size`"),
        ({"padding_side": "left"}, "`padding_side` must be 'right'"),
        ({"normalize": "peak"}, "`normalize` must be None or 'rms'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        BeatsFeatureExtractor(**settings)


@pytest.mark.parametrize(
    ("clips", "options", "message"),
    [
        ([clip(3_000), np.array([], np.float32)], {}, "clip 2 of 2 is empty"),
        ([np.array([0.0, np.nan])], {}, "NaN"),
        ([clip(3_000)], {"max_length": 15}, "`max_length` counts frames and must be at least 16, got 15"),
        ([clip(3_000)], {"truncation": True}, "needs `max_length`"),
        ([clip(3_000)], {"pad_to_multiple_of": 0}, "`pad_to_multiple_of` must be"),
    ],
)
def test_wrong_clips_are_named(extractor, clips, options, message):
    with pytest.raises(ValueError, match=message):
        extractor(clips, sampling_rate=16_000, **options)
