"""Codes to token ids and back."""

import numpy as np
import pytest

from audioformer.feature_extraction import codes_to_ids, ids_to_codes


@pytest.mark.parametrize("dtype", [np.uint16, np.int64])
def test_ids_are_shifted_codes_between_boa_and_eoa(dtype):
    assert codes_to_ids(np.array([0, 1023], dtype=dtype)).tolist() == [0, 3, 1026, 2]
    ids = codes_to_ids(np.array([[0, 5], [65000, 7]]).astype(dtype))
    assert ids.dtype == np.int64
    assert ids.tolist() == [[0, 0], [3, 8], [65003, 10], [2, 2]]


@pytest.mark.parametrize("shape", [(0,), (1,), (9,), (0, 4), (9, 1), (9, 4)])
def test_codes_survive_the_way_to_ids_and_back(shape):
    codes = np.random.default_rng(0).integers(0, 1024, shape)
    back = ids_to_codes(codes_to_ids(codes))
    assert back.dtype == np.int64 and back.shape == shape
    np.testing.assert_array_equal(back, codes)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([0, 5, 2, 1], "end with EOA"),
        ([1, 0, 5, 2], "begin with BOA"),
        ([5, 6], "begin with BOA"),
        ([0], "end with EOA"),
        ([], "begin with BOA"),
        ([[0, 0], [5, 5], [2, 1]], "end with EOA"),
        ([0, 5, 1, 2], "3 or above; got 1"),
    ],
)
def test_ids_with_padding_or_without_their_ends_are_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        ids_to_codes(np.array(ids))
