"""Codes of several sources, one after the other."""

import numpy as np
import pytest

from audioformer.training.examples.codes import CodeExamples
from audioformer.training.examples.synthetic_codes import JoinedCodes


class Codes(list):
    @property
    def lengths(self) -> np.ndarray:
        return np.array([(clip[0] if isinstance(clip, list) else clip).shape[-1] for clip in self])


def codes(first: int, *lengths: int) -> Codes:
    return Codes(np.full((2, length), first + index) for index, length in enumerate(lengths))


def test_joined_codes_are_those_of_their_parts_in_order():
    joined = JoinedCodes([codes(10, 3, 4), codes(20), codes(30, 5)])
    assert len(joined) == 3 and joined.lengths.tolist() == [3, 4, 5]
    assert [int(joined[index][0, 0]) for index in (0, 1, 2, -1, -3)] == [10, 11, 30, 30, 10]
    for index in (3, -4):
        with pytest.raises(IndexError, match=f"clip {index} of 3"):
            joined[index]
    examples = CodeExamples(joined, codebook=1)
    assert examples.lengths.tolist() == [5, 6, 7] and len(examples[2]["input_ids"]) == 7


def test_clips_without_copies_are_their_own_beside_clips_with_copies():
    with_copies = Codes([list(codes(10, 3, 3)), list(codes(12, 4, 4))])
    joined = JoinedCodes([codes(30, 5), with_copies])
    assert [len(joined[index]) for index in range(3)] == [1, 2, 2]
    assert joined.lengths.tolist() == [5, 3, 4]
    examples = CodeExamples(joined)
    assert set(examples[0]["input_ids"][1:-1].tolist()) == {33}
    seen = set()
    for epoch in range(20):
        examples.set_epoch(epoch)
        seen |= set(examples[1]["input_ids"][1:-1].tolist())
    assert seen == {13, 14}
