"""Encoded clips as training examples."""

import numpy as np
import pytest
import torch

from audioformer.feature_extraction import AudioFormerFeatureExtractor
from audioformer.model_cards import TINY_CODEC
from audioformer.training.code_examples import CodeExamples, encode_waveforms


def test_codes_are_the_extractors_ids_without_special_ids():
    extractor = AudioFormerFeatureExtractor(codec=str(TINY_CODEC), codebooks=0)
    rng = np.random.default_rng(0)
    waveforms = [0.1 * rng.standard_normal(n).astype(np.float32) for n in (3200, 4801, 100)]
    codes = encode_waveforms(waveforms, extractor, 24000, batch_size=2)
    assert [len(c) for c in codes] == [10, 16, 1]
    for clip_codes, waveform in zip(codes, waveforms, strict=True):
        ids = extractor(waveform, sampling_rate=24000)["input_ids"][0]
        assert clip_codes.dtype == np.uint16
        assert [0, *(clip_codes.astype(int) + 3), 2] == list(ids)


def test_an_item_is_boa_codes_eoa_and_label():
    examples = CodeExamples([[np.array([0, 1023], dtype=np.uint16)]], labels=[4])
    assert examples[0]["input_ids"].tolist() == [0, 3, 1026, 2]
    assert examples[0]["labels"].item() == 4
    assert "labels" not in CodeExamples([[np.array([5])]])[0]


def test_crops_and_copies_are_drawn_from_the_global_generator():
    codes = np.arange(100, dtype=np.uint16)
    examples = CodeExamples([[codes, codes + 500]], crop_frames=10)
    torch.manual_seed(0)
    drawn = [examples[0]["input_ids"] for _ in range(50)]
    assert all(len(ids) == 12 for ids in drawn)
    assert all(torch.equal(ids[2:-1] - ids[1:-2], torch.ones(9, dtype=torch.int64)) for ids in drawn)
    assert len({ids[1].item() for ids in drawn}) > 20
    assert {ids[1].item() >= 503 for ids in drawn} == {True, False}
    torch.manual_seed(0)
    assert all(torch.equal(examples[0]["input_ids"], ids) for ids in drawn)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="2 labels for 1 clips"):
        CodeExamples([[np.array([1])]], labels=[0, 1])
    with pytest.raises(ValueError, match="at least one array"):
        CodeExamples([[]])
