"""Codes of clips that are scaled to one level: the same however loud a recording is, and silence stays silence."""

import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codec import accepted_fingerprints, codec_fingerprint
from audioformer.feature_extraction.codes_fingerprint import accepted_codes_fingerprints, codes_fingerprint
from audioformer.feature_extraction.level import normalize_rms
from audioformer.feature_extraction.waveforms import prepare_waveforms

from .common import make_clip

RATE = 24000


def rms(waveform: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(waveform, dtype=np.float64))))


@pytest.fixture(scope="module")
def leveled(codec):
    return AudioFormerFeatureExtractor(codec=codec, codebooks=[0, 1, 2, 3], normalize="rms")


@given(length=st.integers(1, 9000), seed=st.integers(0, 5), power=st.integers(-6, 6))
@settings(derandomize=True, deadline=None, max_examples=25)
def test_codes_do_not_depend_on_the_level(leveled, length, seed, power):
    """For powers of two from 1/64 to 64, multiplying a clip does not round."""
    clip = make_clip(length, seed)
    clip *= np.float32(0.2 / rms(clip))
    (expected,) = leveled.encode(clip, RATE)
    (codes,) = leveled.encode(clip * np.float32(2.0**power), RATE)
    np.testing.assert_array_equal(codes, expected)


def test_codes_of_the_paper_depend_on_it(codec):
    plain = AudioFormerFeatureExtractor(codec=codec)
    clip = make_clip(9000)
    assert (plain.encode(clip, RATE)[0] != plain.encode(clip / 16, RATE)[0]).mean() > 0.1


@given(gain=st.floats(0.01, 100), length=st.integers(1, 200_000))
@settings(derandomize=True, deadline=None, max_examples=25)
def test_clips_above_the_floor_have_the_target(gain, length):
    clip = make_clip(length)
    clip *= np.float32(gain * 0.2 / rms(clip))
    scaled = normalize_rms(clip, 0.1, 0.001)
    assert scaled.dtype == np.float32 and scaled.shape == clip.shape
    assert rms(scaled) == pytest.approx(0.1, rel=1e-6)
    np.testing.assert_allclose(scaled, clip * (0.1 / rms(clip)), rtol=1e-6)


@pytest.mark.parametrize("level", [0.0, 1e-45, 1e-30, 1e-6, 9.99e-4])
def test_clips_below_the_floor_are_amplified_as_one_at_the_floor(level):
    clip = np.full(1000, level, dtype=np.float32)
    scaled = normalize_rms(clip, 0.1, 0.001)
    assert np.isfinite(scaled).all()
    np.testing.assert_array_equal(scaled, (clip.astype(np.float64) * (0.1 / 0.001)).astype(np.float32))
    assert scaled.any() == clip.any()


def test_silence_has_the_codes_of_silence(codec, leveled):
    plain = AudioFormerFeatureExtractor(codec=codec, codebooks=[0, 1, 2, 3])
    silence = np.zeros(4000, dtype=np.float32)
    np.testing.assert_array_equal(leveled.encode(silence, RATE)[0], plain.encode(silence, RATE)[0])


def test_loud_clips_are_not_clipped(codec, leveled):
    """Samples far beyond 1, as float files may hold, and the largest of float32."""
    clip = make_clip(3000)
    (expected,) = leveled.encode(clip, RATE)
    np.testing.assert_array_equal(leveled.encode(clip * np.float32(2.0**20), RATE)[0], expected)
    huge = np.array([3e38, -3e38] * 500, dtype=np.float32)
    assert rms(normalize_rms(huge, 0.1, 0.001)) == pytest.approx(0.1, rel=1e-6)


def test_it_is_what_the_codec_reads_of_the_resampled_mono_clip(codec, leveled):
    plain = AudioFormerFeatureExtractor(codec=codec, codebooks=[0, 1, 2, 3])
    stereo = np.stack([make_clip(8000), make_clip(8000, 1)]) * np.float32(0.02)
    (mono,) = prepare_waveforms(stereo, 16000, RATE)
    (expected,) = plain.encode(normalize_rms(mono, 0.1, 0.001), RATE)
    np.testing.assert_array_equal(leveled.encode(stereo, 16000)[0], expected)


@given(lengths=st.lists(st.integers(1, 9000), min_size=1, max_size=6), size=st.integers(1, 6))
@settings(derandomize=True, deadline=None, max_examples=8)
def test_a_clip_has_the_same_codes_in_every_batch(leveled, lengths, size):
    clips = [make_clip(length, number) * np.float32(0.3**number) for number, length in enumerate(lengths)]
    alone = [leveled.encode(clip, RATE)[0] for clip in clips]
    batched = [codes for i in range(0, len(clips), size) for codes in leveled.encode(clips[i : i + size], RATE)]
    for codes, expected in zip(batched, alone, strict=True):
        np.testing.assert_array_equal(codes, expected)


def test_the_whole_clip_decides_the_level_where_it_is_cut(leveled):
    """A soft beginning before a loud end."""
    clip = make_clip(24000)
    clip[:12000] *= np.float32(0.01)
    ids = leveled(clip, sampling_rate=RATE)["input_ids"][0]
    cut = leveled(clip, sampling_rate=RATE, max_length=22, truncation=True)["input_ids"][0]
    np.testing.assert_array_equal(cut[:-1], ids[:21])
    alone = leveled(clip[:12000], sampling_rate=RATE, max_length=22, truncation=True)["input_ids"][0]
    assert (alone != cut).any()


def test_settings_are_saved(codec, tmp_path):
    extractor = AudioFormerFeatureExtractor(codec=codec, normalize="rms", target_rms=0.05, min_rms=0.002)
    extractor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert (saved["normalize"], saved["target_rms"], saved["min_rms"]) == ("rms", 0.05, 0.002)
    clip = make_clip(4000) * np.float32(0.01)
    expected = extractor(clip, sampling_rate=RATE)["input_ids"]
    others = (
        AudioFormerFeatureExtractor.from_pretrained(tmp_path),
        pickle.loads(pickle.dumps(extractor)),
        extractor.with_codebooks(0),
    )
    for other in others:
        assert other.normalization == extractor.normalization
        np.testing.assert_array_equal(other(clip, sampling_rate=RATE)["input_ids"], expected)
    assert AudioFormerFeatureExtractor.from_pretrained(tmp_path, normalize=None).normalization == {}


def test_settings_of_earlier_versions_encode_waveforms_as_they_are(codec, tmp_path):
    extractor = AudioFormerFeatureExtractor(codec=codec)
    extractor.save_pretrained(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    saved = json.loads(file.read_text())
    earlier = {name: value for name, value in saved.items() if name not in ("normalize", "target_rms", "min_rms")}
    assert len(earlier) == len(saved) - 3 and saved["normalize"] is None
    file.write_text(json.dumps(earlier))
    loaded = AudioFormerFeatureExtractor.from_pretrained(tmp_path)
    assert loaded.normalize is None and loaded.normalization == {}
    clip = make_clip(4000) * np.float32(0.01)
    np.testing.assert_array_equal(loaded.encode(clip, RATE)[0], extractor.encode(clip, RATE)[0])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"normalize": "peak"}, "`normalize` must be None or 'rms', got 'peak'"),
        ({"normalize": True}, "`normalize` must be None or 'rms', got True"),
        ({"target_rms": 0}, r"`target_rms` must be an amplitude in \[1e-09, 1\], where 1 is full scale, got 0"),
        ({"target_rms": float("nan")}, "`target_rms` must be .* got nan"),
        ({"min_rms": 0.0}, "`min_rms` must be .* got 0.0"),
        ({"min_rms": -60}, "`min_rms` must be .* got -60"),
        ({"min_rms": "0.001"}, "`min_rms` must be .* got '0.001'"),
    ],
)
def test_wrong_settings_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        AudioFormerFeatureExtractor(codec=None, **wrong)


def test_codes_of_every_level_have_a_fingerprint_of_their_own(codec):
    def extractor(**options: object) -> AudioFormerFeatureExtractor:
        return AudioFormerFeatureExtractor(codec=codec, **options)

    plain = extractor()
    assert codes_fingerprint(plain) == codec_fingerprint(codec)
    assert accepted_codes_fingerprints(plain) == accepted_fingerprints(codec)
    assert codes_fingerprint(extractor(target_rms=0.2)) == codes_fingerprint(plain), "without effect"
    others = [extractor(normalize="rms", **change) for change in ({}, {"target_rms": 0.2}, {"min_rms": 0.01})]
    found = {codes_fingerprint(other) for other in others}
    assert len(found) == 3 and not found & set(accepted_fingerprints(codec))
    assert all(accepted_codes_fingerprints(other) == [codes_fingerprint(other)] for other in others)


def test_tensors_are_not_changed(leveled):
    clip = torch.from_numpy(make_clip(2000))
    before = clip.clone()
    leveled.encode(clip, RATE)
    assert torch.equal(clip, before)
