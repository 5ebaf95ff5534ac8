"""Synthetic clips become codes like those of any data set, and never files of audio."""

from pathlib import Path

import numpy as np
import pytest

from audioformer.data import SyntheticClips
from audioformer.data.codes.cache import encode_listing
from audioformer.data.listing import listing_fingerprint
from audioformer.data.synthetic import clips as clips_module
from audioformer.data.synthetic.listing import list_synthetic_clips
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_CODEC


@pytest.fixture(scope="module")
def extractor() -> AudioFormerFeatureExtractor:
    return AudioFormerFeatureExtractor(codec=str(TINY_CODEC), codebooks=[0, 1, 2, 3])


@pytest.fixture
def generated(monkeypatch) -> list[int]:
    """The numbers of the clips that are generated from now on."""
    numbers: list[int] = []
    generate = SyntheticClips.__getitem__

    def counted(self: SyntheticClips, index: int) -> np.ndarray:
        numbers.append(index)
        return generate(self, index)

    monkeypatch.setattr(SyntheticClips, "__getitem__", counted)
    return numbers


def encode(clips: SyntheticClips, extractor: AudioFormerFeatureExtractor, cache: Path):
    return encode_listing(list_synthetic_clips(clips), extractor, cache, clips_per_shard=4, progress=False)


def test_codes_are_those_of_the_clips_and_are_made_once(tmp_path, extractor, generated):
    clips = SyntheticClips(6, 3, 0.5)
    encoded = encode(clips, extractor, tmp_path)
    assert generated == list(range(6))
    assert encoded.ids == clips.ids and encoded.labels == [] and encoded.report.hours == pytest.approx(3 / 3600)
    for codes, waveform in zip(encoded.codes, clips, strict=True):
        (expected,) = extractor.encode([waveform], clips.sampling_rate)
        # Neighbours in a batch may turn a tie of two entries, no more.
        assert codes.shape == (4, 38) and (codes == np.asarray(expected).T).mean() > 0.99
    assert not [file for file in tmp_path.rglob("*") if file.suffix in (".wav", ".flac", ".npy")]
    generated.clear()
    assert encode(SyntheticClips(6, 3, 0.5), extractor, tmp_path).digest == encoded.digest
    assert generated == []


def test_encoding_goes_on_where_it_was_interrupted(tmp_path, extractor, generated, monkeypatch):
    counted = SyntheticClips.__getitem__

    def killed(self: SyntheticClips, index: int) -> np.ndarray:
        if index == 5:
            raise KeyboardInterrupt
        return counted(self, index)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SyntheticClips, "__getitem__", killed)
        encode(SyntheticClips(8, 0, 0.25), extractor, tmp_path / "resumed")
    generated.clear()
    resumed = encode(SyntheticClips(8, 0, 0.25), extractor, tmp_path / "resumed")
    assert generated == [4, 5, 6, 7]
    assert resumed.digest == encode(SyntheticClips(8, 0, 0.25), extractor, tmp_path / "whole").digest


def test_the_fingerprint_stands_for_the_sound_without_making_it(generated, monkeypatch):
    settings = {"num_clips": 10**9, "seed": 0, "duration_s": 5.0, "sampling_rate": 24000, "kinds": None}
    changes = {"num_clips": 10, "seed": 1, "duration_s": 4.0, "sampling_rate": 16000, "kinds": ["voices"]}

    def fingerprint(**changed) -> str:
        return listing_fingerprint(list_synthetic_clips(SyntheticClips(**(settings | changed))))

    own = fingerprint()
    assert own == fingerprint()
    others = [fingerprint(**{name: value}) for name, value in changes.items()]
    monkeypatch.setattr(clips_module, "VERSION", 10**6)
    others.append(fingerprint())
    assert len({own, *others}) == 7
    assert generated == []


def test_the_generators_have_not_changed_without_their_version():
    # Whoever changes what a seed gives raises `VERSION`, or codes of other sound are taken from the cache, and adapts
    # these numbers: the mean RMS of some clips of each kind.
    assert clips_module.VERSION == 1
    for kind, expected in RMS_OF_VERSION_1.items():
        clips = SyntheticClips(12, 0, 0.5, kinds=[kind])
        assert np.mean([np.sqrt(np.mean(clip**2)) for clip in clips]) == pytest.approx(expected, rel=1e-3), kind


RMS_OF_VERSION_1 = {
    "textures": 0.1399003,
    "impacts": 0.1603125,
    "chirps": 0.4708927,
    "modulated_noise": 0.2240122,
    "rhythms": 0.2674622,
    "voices": 0.2145651,
    "scenes": 0.0224341,
}
