"""The codes of augmented copies: which clips have them, and what is encoded once."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Audio, Dataset, DatasetDict, Features, Value

from audioformer.data.audio import ReadingSettings
from audioformer.data.audio.augmentation import Augmentation
from audioformer.data.codes.cache import encode_listing
from audioformer.data.codes.copies import encode_copies
from audioformer.data.codes.encoded import ClipVersions, EncodedClips, read_codes_info
from audioformer.data.listing import Listing, listing_fingerprint, parts_of_listing
from audioformer.data.readers import read_listing
from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_CODEC

RATE = 24_000
AUGMENTATION = Augmentation(speed=(0.5, 0.9))


@pytest.fixture(scope="module")
def extractor() -> AudioFormerFeatureExtractor:
    return AudioFormerFeatureExtractor(codec=str(TINY_CODEC))


@pytest.fixture
def listing(tmp_path) -> Listing:
    """Eight clips in two folds, one of them silent, one of them of two windows, and one of a fold that is no audio."""
    rows = [["path", "label", "fold"]]
    for index in range(8):
        length_s = 1.6 if index == 3 else 0.2 + 0.05 * index
        samples = 0.1 * np.random.default_rng(index).standard_normal(round(RATE * length_s)) * (index != 5)
        soundfile.write(tmp_path / f"{index}.wav", samples, RATE)
        rows.append([f"{index}.wav", "ab"[index % 2], str(1 + index // 4)])
    (tmp_path / "broken.wav").write_bytes(b"no audio")
    rows.append(["broken.wav", "a", "2"])
    with (tmp_path / "clips.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return read_listing(tmp_path / "clips.csv")


READING = ReadingSettings(max_length_s=1.0)


def encode(listing: Listing, extractor, cache: Path) -> EncodedClips:
    return encode_listing(listing, extractor, cache, READING, num_codebooks=2, max_rejected_share=0.3, progress=False)


def copies_of(listing, clips, extractor, cache, num_copies, augmentation=AUGMENTATION):
    return encode_copies(listing, clips, extractor, cache, READING, augmentation, num_copies, progress=False)


def test_each_clip_and_window_has_the_codes_of_its_own_copies(tmp_path, listing, extractor):
    encoded = encode(listing, extractor, tmp_path / "cache")
    clips = encoded.select([index for index in range(len(encoded)) if index not in (1, 2)][::-1])
    augmented = copies_of(listing, clips, extractor, tmp_path / "cache", 2)
    versions = augmented.versions
    assert isinstance(versions, ClipVersions) and clips.versions is clips.codes
    assert len(versions) == len(clips) == 6
    assert versions.lengths.tolist() == clips.codes.lengths.tolist()
    sounds = [clip for clip in listing.clips if clip.id != "broken.wav"]
    audio = {clip.id: soundfile.read(clip.audio, dtype="float32")[0] for clip in sounds}
    both = AudioFormerFeatureExtractor(codec=str(TINY_CODEC), codebooks=[0, 1])
    for index, name in enumerate(clips.ids):
        own, *copies = versions[index]
        np.testing.assert_array_equal(own, clips.codes[index])
        file, _, start_s = name.partition("#")
        start = round(float(start_s or 0) * RATE)
        waveform = audio[file][start : start + RATE]
        assert len(copies) == 2
        for number, codes in enumerate(copies, start=1):
            copy = AUGMENTATION.copy_of(waveform, name, number, RATE)
            (expected,) = both.encode([copy], sampling_rate=RATE)
            assert codes.shape == expected.T.shape and codes.dtype == np.uint16
            # Long or short neighbours in a batch may turn a tie of two entries, no more.
            assert (codes == expected.T).mean() > 0.99
            assert codes.shape[1] > own.shape[1] or len(copy) == RATE


def test_clips_that_are_selected_keep_their_copies(tmp_path, listing, extractor):
    clips = encode(listing, extractor, tmp_path / "cache")
    augmented = copies_of(listing, clips, extractor, tmp_path / "cache", 1)
    some = augmented.select([4, 1]).with_labels(["b", "a"])
    for index, row in enumerate((4, 1)):
        for codes, expected in zip(some.versions[index], augmented.versions[row], strict=True):
            np.testing.assert_array_equal(codes, expected)


def test_only_what_is_new_is_encoded_and_parts_without_training_clips_never_are(tmp_path, listing, extractor):
    cache = tmp_path / "cache"
    clips = encode(listing, extractor, cache)
    (whole,) = cache.glob("*/codes.json")

    def made() -> dict[Path, int]:
        return {file: file.stat().st_mtime_ns for file in cache.glob("*/codes.json") if file != whole}

    first_fold = clips.select([index for index, fold in enumerate(clips.dataset["fold"]) if fold == 1])
    copies_of(listing, first_fold, extractor, cache, 2)
    begun = made()
    assert len(begun) == 2
    stored = [read_codes_info(file.parent) for file in begun]
    assert [info["report"]["listed"] for info in stored] == [4, 4]
    for number in (1, 2):
        assert {**AUGMENTATION.to_dict(), "number": number} in [info["settings"]["augmented_copy"] for info in stored]
    copies_of(listing, first_fold.select([2, 0]), extractor, cache, 2)
    assert made() == begun
    copies_of(listing, clips, extractor, cache, 3)
    assert len(made()) == 2 * 3 and begun.items() <= made().items()
    copies_of(listing, first_fold, extractor, cache, 1, Augmentation(speed=(0.5, 0.9), seed=1))
    assert len(made()) == 7 and begun.items() <= made().items()


def test_a_clip_without_its_copy_is_an_error_that_names_it(tmp_path, listing, extractor):
    clips = encode(listing, extractor, tmp_path / "cache")
    Path(str(listing.clips[2].audio)).write_bytes(b"gone")
    with pytest.raises(ValueError, match="no augmented copy of clip '2.wav': its audio can no longer be read"):
        copies_of(listing, clips, extractor, tmp_path / "cache", 1)


def test_parts_of_a_data_set_of_datasets_keep_names_and_fingerprints(tmp_path):
    audio = [{"bytes": bytes([number]), "path": None} for number in range(6)]
    stored = {"bytes": Value("binary"), "path": Value("string")}
    features = Features({"audio": stored, "label": Value("string"), "fold": Value("int64")})
    values = {"audio": audio, "label": ["a", "b"] * 3, "fold": [1, 2, 1, 1, 2, 2]}
    table = Dataset.from_dict(values, features=features).cast_column("audio", Audio())
    DatasetDict({"train": table}).save_to_disk(tmp_path / "data")
    listing = read_listing(tmp_path / "data")
    parts = parts_of_listing(listing)
    assert set(parts) == {("train", 1), ("train", 2)}
    for (_, fold), part in parts.items():
        expected = [clip for clip in listing.clips if clip.fold == fold]
        assert list(part.clips) == expected and part.labels == listing.labels
    prints = [listing_fingerprint(part) for part in parts.values()]
    assert len({*prints, listing_fingerprint(listing)}) == 3
    again = parts_of_listing(read_listing(tmp_path / "data"))
    assert [listing_fingerprint(part) for part in again.values()] == prints
