"""The padding contract of transformers' sequence feature extractors, with their own `pad` as the reference."""

import numpy as np
import pytest
import torch
from transformers import BatchFeature
from transformers.feature_extraction_sequence_utils import SequenceFeatureExtractor

from audioformer.feature_extraction import AudioFormerFeatureExtractor

SEQUENCES = [np.arange(3, 3 + length) for length in (40, 62, 47, 62)]

# Arguments that leave unequal lengths, which no tensor can hold.
RAGGED = [{"padding": "max_length", "max_length": 47}, {"padding": False}]


class Reference(SequenceFeatureExtractor):
    """Pads `input_ids` as transformers itself does."""

    model_input_names = ["input_ids", "attention_mask"]


def both(padding_side):
    arguments = {"sampling_rate": 24000, "padding_value": 1, "padding_side": padding_side}
    return AudioFormerFeatureExtractor(codec=None, **arguments), Reference(feature_size=1, **arguments)


def variants():
    as_lists = [sequence.tolist() for sequence in SEQUENCES]
    yield lambda: BatchFeature({"input_ids": list(SEQUENCES)})
    yield lambda: {"input_ids": as_lists}
    yield lambda: [{"input_ids": sequence} for sequence in SEQUENCES]
    yield lambda: [{"input_ids": torch.from_numpy(sequence)} for sequence in SEQUENCES]
    yield lambda: {"input_ids": list(SEQUENCES), "attention_mask": [np.ones(len(x), np.int32) for x in SEQUENCES]}


@pytest.mark.parametrize("padding_side", ["right", "left"])
@pytest.mark.parametrize("features", list(variants()))
@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"padding": "longest", "return_tensors": "np"},
        {"padding": True, "return_tensors": "pt"},
        {"padding": "max_length", "max_length": 70},
        {"padding": "max_length", "max_length": 70, "pad_to_multiple_of": 16},
        {"padding": "max_length", "max_length": 40, "truncation": True, "return_tensors": "np"},
        {"padding": "max_length", "max_length": 50, "truncation": True, "pad_to_multiple_of": 12},
        {"padding": "max_length", "max_length": 47},
        {"padding": "longest", "max_length": 50, "truncation": True},
        {"padding": False},
        {"pad_to_multiple_of": 10},
        {"return_attention_mask": False},
    ],
)
def test_same_as_the_pad_of_transformers(padding_side, features, arguments):
    given = features()
    if isinstance(given, list) and torch.is_tensor(given[0]["input_ids"]) and arguments in RAGGED:
        for extractor in both(padding_side):
            with pytest.raises(ValueError, match="padding=True"):
                extractor.pad(features(), **arguments)
        return
    ours, reference = (extractor.pad(features(), **arguments) for extractor in both(padding_side))
    if arguments.get("return_attention_mask") is False:
        # The `pad` of transformers returns a mask that was passed in unpadded.
        reference.pop("attention_mask", None)
    assert set(ours) == set(reference)
    for key in reference:
        assert type(ours[key]) is type(reference[key]) or arguments.get("return_tensors") is None
        assert len(ours[key]) == len(reference[key])
        for got, expected in zip(ours[key], reference[key], strict=True):
            np.testing.assert_array_equal(np.asarray(got), np.asarray(expected))


@pytest.mark.parametrize(
    "arguments", [{"padding": "max_length"}, {"truncation": True}, {"padding": "longest", "truncation": True}]
)
def test_missing_max_length(arguments):
    for extractor in both("right"):
        with pytest.raises(ValueError, match="max_length"):
            extractor.pad({"input_ids": list(SEQUENCES)}, **arguments)


def test_class_and_defaults():
    extractor = AudioFormerFeatureExtractor()
    assert isinstance(extractor, SequenceFeatureExtractor)
    assert (extractor.feature_size, extractor.sampling_rate, extractor.padding_value) == (1, 24000, 1)
    assert (extractor.codebooks, extractor.bandwidth) == (0, 3.0)
    assert extractor.model_input_names == ["input_ids", "attention_mask"]


@pytest.mark.parametrize("multiple", [0, -8, 2.5])
def test_multiples_below_one_are_refused(extractor, multiple):
    with pytest.raises(ValueError, match="`pad_to_multiple_of` must be a whole number of at least 1, got"):
        extractor.pad({"input_ids": [[0, 2]]}, pad_to_multiple_of=multiple, padding=False)


def test_features_with_unequal_keys_are_refused_by_name(extractor):
    features = [{"input_ids": [0, 2]}, {"input_ids": [0, 2], "label": 1}]
    for order in (features, features[::-1]):
        with pytest.raises(ValueError, match="same keys, but 'label' .* feature 2 of 2"):
            extractor.pad(order)
