"""Codes of one level are never taken for those of another: folders, caches, messages and cards tell them apart."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from audioformer.cli import main
from audioformer.data.audio import ReadingSettings, list_audio_clips
from audioformer.data.codes import EncodingSettings, encode_shards, shards_of_listing
from audioformer.data.codes.cache import encode_listing
from audioformer.data.codes.encoded import load_codes
from audioformer.data.listing import ListedClip, Listing
from audioformer.data.readers import read_listing
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.feature_extraction.codec import codec_fingerprint
from audioformer.model_cards import TINY_CODEC

RATE = 24000


@pytest.fixture(scope="module")
def plain() -> AudioFormerFeatureExtractor:
    return AudioFormerFeatureExtractor(codec=str(TINY_CODEC))


@pytest.fixture(scope="module")
def leveled() -> AudioFormerFeatureExtractor:
    return AudioFormerFeatureExtractor(codec=str(TINY_CODEC), normalize="rms")


def listing() -> Listing:
    rng = np.random.default_rng(0)
    sounds = [(0.01 * (1 + index) * rng.standard_normal(9600)).astype(np.float32) for index in range(4)]
    clips = [
        ListedClip(str(index), {"array": sound, "sampling_rate": RATE}, ("x" if index % 2 else "y",))
        for index, sound in enumerate(sounds)
    ]
    return Listing("sounds", "datasets", "memory", clips, ["x", "y"], False)


def folders_in(cache: Path) -> int:
    return len(list(cache.glob("*/codes.json")))


def test_the_cache_keeps_every_level_apart(tmp_path, plain, leveled):
    reading = ReadingSettings(max_length_s=0.2)
    codes = encode_listing(listing(), leveled, tmp_path, reading, progress=False)
    assert encode_listing(listing(), leveled, tmp_path, reading, progress=False).source == codes.source
    other = AudioFormerFeatureExtractor(codec=str(TINY_CODEC), normalize="rms", target_rms=0.2)
    for extractor in (plain, other):
        assert encode_listing(listing(), extractor, tmp_path, reading, progress=False).source != codes.source
    assert folders_in(tmp_path) == 3
    # Each window is a clip of its own.
    assert len(codes) == 8
    extractor = leveled.with_codebooks([0, 1, 2, 3])
    for index, name in enumerate(codes.ids):
        clip, _, start = name.partition("#")
        first = round(float(start) * RATE)
        waveform = listing().clips[int(clip)].audio["array"][first : first + 4800]
        np.testing.assert_array_equal(codes.codes[index].T, extractor.encode(waveform, RATE)[0])


def test_folders_record_the_level(tmp_path, plain, leveled):
    codes, as_it_is = (encode_listing(listing(), one, tmp_path, progress=False) for one in (leveled, plain))
    level = {"normalize": "rms", "target_rms": 0.1, "min_rms": 0.001}
    assert codes.normalization == level and as_it_is.normalization == {}
    for name in ("codes.json", "encoding.json"):
        with_level, without = (json.loads((Path(one.source) / name).read_text()) for one in (codes, as_it_is))
        assert with_level.items() >= level.items() and not level.keys() & without.keys()
    # What the vectors of frozen models are named by, and what readers that do not know the setting compare.
    assert codes.codec_fingerprint != as_it_is.codec_fingerprint == codec_fingerprint(plain.codec)


def test_codes_of_another_level_are_refused_by_name(tmp_path, plain, leveled):
    codes, as_it_is = (encode_listing(listing(), one, tmp_path, progress=False) for one in (leveled, plain))
    codes.check_codec(leveled)
    as_it_is.check_codec(plain)
    with pytest.raises(
        ValueError, match=r"made with `normalize` 'rms', .* but the feature extractor has `normalize` N"
    ):
        codes.check_codec(plain)
    with pytest.raises(
        ValueError, match=r"made with `normalize` None, but the .* has `normalize` 'rms', `target_rms` 0"
    ):
        as_it_is.check_codec(leveled)
    other = AudioFormerFeatureExtractor(codec=str(TINY_CODEC), normalize="rms", min_rms=0.01)
    with pytest.raises(ValueError, match=r"`min_rms` 0.001, but the feature extractor has .* `min_rms` 0.01"):
        codes.check_codec(other)


def test_a_folder_is_continued_at_its_own_level_only(tmp_path, plain, leveled):
    shards, folder = shards_of_listing(listing(), 2), tmp_path / "codes"
    assert encode_shards(shards, leveled, folder, EncodingSettings(clips_per_shard=2), progress=False) == 0
    with pytest.raises(ValueError, match=r"normalize \(then 'rms', now None\)"):
        encode_shards(shards, plain, folder, EncodingSettings(clips_per_shard=2), progress=False)
    amplified = EncodingSettings(clips_per_shard=2, gain_db=-20)
    with pytest.raises(ValueError, match=r"gain_db \(then None, now -20\)"):
        encode_shards(shards, leveled, folder, amplified, progress=False)
    assert encode_shards(shards, plain, tmp_path / "soft", amplified, progress=False) == 0
    with pytest.raises(ValueError, match=r"gain_db \(then -20, now None\)"):
        encode_shards(shards, plain, tmp_path / "soft", EncodingSettings(clips_per_shard=2), progress=False)


@pytest.mark.parametrize("gain_db", [-20.0, -6.5, 10.0, 60.0])
def test_a_gain_is_applied_to_the_waveform(tmp_path, plain, gain_db):
    amplified = ReadingSettings(gain_db=gain_db)
    codes = encode_listing(listing(), plain, tmp_path, amplified, progress=False)
    clips = list_audio_clips(listing(), amplified, progress=False)
    extractor = plain.with_codebooks([0, 1, 2, 3])
    for index, clip in enumerate(listing().clips):
        expected = clip.audio["array"] * 10 ** (gain_db / 20)
        waveform = clips.read(index, RATE)
        assert waveform.dtype == np.float32
        np.testing.assert_allclose(waveform, expected, rtol=1e-6)
        np.testing.assert_array_equal(codes.codes[index].T, extractor.encode(waveform, RATE)[0])
    encode_listing(listing(), plain, tmp_path, progress=False)
    assert folders_in(tmp_path) == 2


def test_silence_is_decided_before_the_gain(tmp_path, plain):
    """So that the same clips are left at every gain."""
    sounds = listing()
    sounds.clips = [*sounds.clips, ListedClip("s", {"array": np.full(4000, 2e-5, np.float32), "sampling_rate": RATE})]
    for gain_db in (-60.0, 0.0, 60.0):
        codes = encode_listing(
            sounds, plain, tmp_path, ReadingSettings(gain_db=gain_db), progress=False, max_rejected_share=0.5
        )
        assert codes.ids == ["0", "1", "2", "3"]


@pytest.mark.parametrize("gain_db", [120.1, -121.0, float("nan"), float("inf")])
def test_gains_have_a_range(gain_db):
    with pytest.raises(ValueError, match=r"`gain_db` must be in \[-120, 120\], got "):
        ReadingSettings(gain_db=gain_db)


def test_the_command_encodes_at_one_level_and_its_card_says_so(tmp_path):
    for index in range(2):
        path = tmp_path / "sounds" / ("a", "b")[index] / "1.wav"
        path.parent.mkdir(parents=True)
        soundfile.write(path, 0.02 * np.random.default_rng(index).standard_normal(6000), RATE)
    assert main(["encode", str(tmp_path / "sounds"), "--output", str(tmp_path / "rms"), "--normalize", "rms"]) == 0
    assert main(["encode", str(tmp_path / "sounds"), "--output", str(tmp_path / "plain")]) == 0
    codes = load_codes(tmp_path / "rms")
    leveled = AudioFormerFeatureExtractor(codec=str(TINY_CODEC), codebooks=[0, 1, 2, 3], normalize="rms")
    codes.check_codec(leveled)
    for clip, found in zip(read_listing(tmp_path / "sounds").clips, codes.codes, strict=True):
        samples, rate = soundfile.read(clip.audio, dtype="float32")
        np.testing.assert_array_equal(found.T, leveled.encode(samples, rate)[0])
    card = (tmp_path / "rms" / "README.md").read_text()
    assert "| level | each clip is scaled to a root mean square of 0.1 (-20 dBFS); softer than -60 dBFS," in card
    assert "amplified by 40 dB |" in card and "and weights, and of the level |" in card
    card = (tmp_path / "plain" / "README.md").read_text()
    assert "level" not in card and "configuration and weights |" in card
