"""Waveforms of any kind to MaskSpec' spectrograms; the numbers themselves are compared in tests/modeling_maskspec."""

import json
import pickle

import numpy as np
import pytest
import torch

from audioformer.feature_extraction import MaskSpecFeatureExtractor
from audioformer.feature_extraction.emphasized_mel import EmphasizedMel
from audioformer.feature_extraction.framewise import CHUNK
from audioformer.modeling_maskspec import MaskSpecConfig, MaskSpecForAudioClassification


@pytest.fixture(scope="module")
def extractor() -> MaskSpecFeatureExtractor:
    return MaskSpecFeatureExtractor()


def clip(num_samples: int, seed: int = 0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).standard_normal(num_samples)).astype(np.float32)


@pytest.mark.parametrize(
    ("num_samples", "frames", "patches"),
    [(1, 16, 8), (401, 16, 8), (4800, 16, 8), (4801, 16, 8), (5120, 16, 8), (5121, 17, 8), (9921, 32, 16)]
    + [(32_000, 100, 48), (160_000, 500, 248), (320_000, 1000, 496)],
)
def test_lengths(extractor, num_samples, frames, patches):
    inputs = extractor(clip(num_samples), sampling_rate=32_000)
    assert inputs["input_features"].shape == (1, frames, 128) and inputs["input_features"].dtype == np.float32
    assert inputs["attention_mask"].shape == (1, patches) and inputs["attention_mask"].all()
    assert MaskSpecConfig(**extractor.model_config()).num_patches(frames) == patches


def test_short_clips_are_extended_by_silence(extractor):
    short = clip(500)
    actual = extractor(short, sampling_rate=32_000)["input_features"]
    expected = extractor(np.pad(short, (0, 4301)), sampling_rate=32_000)["input_features"]
    np.testing.assert_array_equal(actual, expected)


def test_a_batch_has_the_spectrograms_of_its_clips(extractor):
    clips = [clip(length, seed) for seed, length in enumerate((17_777, 700, 80_000, 32_000))]
    batch = extractor(clips, sampling_rate=32_000, return_tensors="pt")
    for row, one in enumerate(clips):
        alone = extractor(one, sampling_rate=32_000, return_tensors="pt")
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
    model = MaskSpecForAudioClassification(
        MaskSpecConfig(**sizes, num_time_positions=8, classifier_initializer_range=0.2)
    ).eval()
    clips = [clip(length, seed) for seed, length in enumerate((32_000, 1, 60_011, 9_000))]
    together = model(**extractor(clips, sampling_rate=32_000, return_tensors="pt")).logits
    wide = extractor(clips, sampling_rate=32_000, padding="max_length", max_length=300, return_tensors="pt")
    torch.testing.assert_close(model(**wide).logits, together, atol=1e-5, rtol=0)
    for row, one in enumerate(clips):
        alone = model(**extractor(one, sampling_rate=32_000, return_tensors="pt")).logits[0]
        torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=0)


def test_every_kind_of_input_gives_the_same(extractor):
    samples = clip(6_000)
    expected = extractor(samples, sampling_rate=32_000)["input_features"]
    inputs = [
        samples.tolist(),
        torch.from_numpy(samples),
        np.stack([samples, samples]),
        [samples],
        {"array": samples, "sampling_rate": 32_000},
        [{"raw": samples, "sampling_rate": 32_000}],
        samples.astype(np.float64),
    ]
    for one in inputs:
        np.testing.assert_allclose(extractor(one, sampling_rate=32_000)["input_features"], expected, atol=1e-6)
    pcm = np.round(samples * 32768).astype(np.int16)
    as_float = extractor(pcm / np.float32(32768), sampling_rate=32_000)["input_features"]
    np.testing.assert_allclose(extractor(pcm, sampling_rate=32_000)["input_features"], as_float, atol=1e-6)


def test_other_rates_are_resampled(extractor):
    time_s = np.arange(44_100) / 44_100
    tone = 0.3 * np.sin(2 * np.pi * 1000 * time_s)
    at_32k = 0.3 * np.sin(2 * np.pi * 1000 * np.arange(32_000) / 32_000)
    actual = extractor(tone, sampling_rate=44_100)["input_features"][0]
    expected = extractor(at_32k, sampling_rate=32_000)["input_features"][0]
    assert actual.shape == expected.shape
    peak = expected[50].argmax()
    np.testing.assert_allclose(actual[5:-5, peak], expected[5:-5, peak], atol=0.01)


def test_long_clips_are_computed_in_chunks(extractor):
    samples = clip(320 * (CHUNK + 100))
    module = EmphasizedMel()
    whole = module(torch.from_numpy(samples)[None])[0]
    # Chunks begin where another clip ended.
    chunked = module.batch([torch.from_numpy(clip(8000)), torch.from_numpy(samples)])[1]
    torch.testing.assert_close(chunked, whole, atol=1e-5, rtol=1e-6)
    assert len(whole) == module.num_frames(len(samples))


def test_mean_and_std_are_settings(extractor):
    samples = clip(10_000)
    (energies,) = extractor.log_energies(samples, 32_000)
    expected = (energies - torch.tensor(extractor.mean)) / torch.tensor(extractor.std)
    first = extractor(samples, sampling_rate=32_000, return_tensors="pt")["input_features"][0]
    torch.testing.assert_close(first, expected)
    for mean, std in ((0.5, 2.0), ([0.5] * 128, [2.0] * 128)):
        other = MaskSpecFeatureExtractor(mean=mean, std=std)(samples, sampling_rate=32_000, return_tensors="pt")
        torch.testing.assert_close(other["input_features"][0], (energies - 0.5) / 2)


def test_a_lowpass_hides_what_mp3_never_had(extractor):
    samples = clip(32_000)
    plain, filtered = (
        one(samples, sampling_rate=32_000)["input_features"][0]
        for one in (extractor, MaskSpecFeatureExtractor(lowpass_hz=11_900))
    )
    assert plain[:, 120:].min() > 50 and np.abs(filtered[:, 120:]).max() < 0.1
    np.testing.assert_array_equal(plain[:, :118], filtered[:, :118])


def test_short_clips_are_stretched_if_asked_for(extractor):
    clips = [clip(32_000), clip(9_000), clip(320 * 120)]
    stretching = MaskSpecFeatureExtractor(stretch_to=100)
    inputs = stretching(clips, sampling_rate=32_000, return_tensors="pt")
    assert inputs["attention_mask"].sum(1).tolist() == [48, 48, 56]
    # A clip is stretched alone, and so is the same in any batch; longer clips keep their length.
    for row, frames in ((0, 100), (1, 100), (2, 120)):
        alone = stretching(clips[row], sampling_rate=32_000, return_tensors="pt")["input_features"][0]
        assert alone.shape == (frames, 128)
        torch.testing.assert_close(inputs["input_features"][row, :frames], alone, atol=1e-5, rtol=0)
    short = extractor(clips[1], sampling_rate=32_000, return_tensors="pt")["input_features"][0]
    torch.testing.assert_close(inputs["input_features"][1, [0, 99]], short[[0, -1]], atol=1e-4, rtol=0)


def test_a_copy_has_other_settings(extractor):
    other = extractor.with_settings(mean=0.0, std=None, lowpass_hz=12_000)
    assert (other.mean, other.std, other.lowpass_hz) == ([0.0] * 128, extractor.std, 12_000)
    assert extractor.lowpass_hz is None and extractor.with_settings(mean=None) is extractor


def test_rms_makes_spectrograms_independent_of_the_level():
    samples = clip(10_000)
    extractor = MaskSpecFeatureExtractor(normalize="rms")
    loud, soft = (extractor(gain * samples, sampling_rate=32_000)["input_features"] for gain in (1.0, 0.125))
    np.testing.assert_allclose(loud, soft, atol=1e-3)


def test_truncation_and_multiples(extractor):
    clips = [clip(32_000), clip(9_600)]
    cut = extractor(clips, sampling_rate=32_000, truncation=True, max_length=40, return_tensors="np")
    assert cut["input_features"].shape == (2, 40, 128) and cut["attention_mask"].shape == (2, 16)
    rounded = extractor(clips, sampling_rate=32_000, pad_to_multiple_of=16, return_tensors="np")
    assert rounded["input_features"].shape == (2, 112, 128) and rounded["attention_mask"].shape == (2, 56)
    assert rounded["attention_mask"].sum(1).tolist() == [48, 8]
    ragged = extractor(clips, sampling_rate=32_000, padding=False)
    assert [len(one) for one in ragged["input_features"]] == [100, 30]


def test_pad_joins_what_was_extracted_one_by_one(extractor):
    clips = [clip(32_000), clip(9_600, 1)]
    one_by_one = [
        {key: value[0] for key, value in extractor(one, sampling_rate=32_000, return_tensors="pt").items()}
        for one in clips
    ]
    labelled = [{**item, "labels": index} for index, item in enumerate(one_by_one)]
    padded = extractor.pad(labelled, return_tensors="pt")
    together = extractor(clips, sampling_rate=32_000, return_tensors="pt")
    torch.testing.assert_close(padded["input_features"], together["input_features"])
    assert torch.equal(padded["attention_mask"], together["attention_mask"])
    assert padded["labels"].tolist() == [0, 1]
    assert "attention_mask" not in extractor.pad(one_by_one, return_attention_mask=False)


def test_saved_settings_are_loaded(tmp_path):
    extractor = MaskSpecFeatureExtractor(
        mean=1.0, lowpass_hz=12_000, stretch_to=40, half_precision=True, normalize="rms"
    )
    extractor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved["mean"] == [1.0] * 128 and not any(key.startswith("_") for key in saved)
    loaded = MaskSpecFeatureExtractor.from_pretrained(tmp_path)
    samples = [clip(7_000), clip(19_000)]
    for copy in (loaded, pickle.loads(pickle.dumps(extractor))):
        expected, actual = (one(samples, sampling_rate=32_000) for one in (extractor, copy))
        np.testing.assert_array_equal(actual["input_features"], expected["input_features"])
        np.testing.assert_array_equal(actual["attention_mask"], expected["attention_mask"])


def test_features_made_in_inference_mode_can_be_trained_on():
    with torch.inference_mode():
        features = MaskSpecFeatureExtractor()(clip(5_000), sampling_rate=32_000, return_tensors="pt")["input_features"]
    assert not features.is_inference() and not features.requires_grad


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"std": 0.0}, "`std` positive"),
        ({"mean": float("nan")}, "`mean` must be finite"),
        ({"patch_size": 0}, "`patch_size` must be a whole number"),
        ({"std": [1.0] * 127}, "one for each of the 128 mel bins, got 127"),
        ({"feature_size": 64}, "one for each of the 64 mel bins, got 128, those of AudioSet: give your own"),
        ({"lowpass_hz": 0}, "`lowpass_hz` must be a positive number of Hz"),
        ({"stretch_to": 8}, "`stretch_to` must be a whole number of frames"),
        ({"sampling_rate": 4000}, "`sampling_rate` must be at least 8000"),
        ({"feature_size": 100}, "`feature_size` must be a multiple of `patch_size`"),
        ({"padding_side": "left"}, "`padding_side` must be 'right'"),
        ({"normalize": "peak"}, "`normalize` must be None or 'rms'"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        MaskSpecFeatureExtractor(**settings)


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
        extractor(clips, sampling_rate=32_000, **options)


def test_edges_of_mel_bins_may_differ_from_clip_to_clip():
    extractor, rng = MaskSpecFeatureExtractor(), np.random.default_rng(0)
    clips = [0.1 * rng.standard_normal(length).astype(np.float32) for length in (9000, 16000)]
    moved = extractor.log_energies(clips, 32000, mel_edges=[(0.0, 15000.0), (0.0, 14200.0)])
    torch.testing.assert_close(moved[0], extractor.log_energies(clips, 32000)[0], atol=1e-6, rtol=0)
    torch.testing.assert_close(moved[1], EmphasizedMel(high_hz=14200.0).batch([torch.from_numpy(clips[1])])[0])
    assert (moved[1] - extractor.log_energies(clips, 32000)[1]).abs().max() > 0.1
    # A logarithm of 0 in the authors' scale.
    torch.testing.assert_close(extractor.mask_values, extractor.scaled(torch.full((128,), 0.9)))
