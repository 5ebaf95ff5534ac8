"""Synthetic clips without end."""

import numpy as np
import pytest

from audioformer.data import SyntheticClips
from audioformer.data.synthetic import KINDS


def test_a_clip_depends_on_seed_and_number_alone():
    few, many = SyntheticClips(3, 5, 0.5), SyntheticClips(10**9, 5, 0.5)
    backwards = [many[index] for index in (2, 1, 0)][::-1]
    assert all(np.array_equal(a, b) for a, b in zip(few, backwards, strict=True))
    others = [SyntheticClips(3, 6, 0.5)[0], few[1], few[2]]
    assert not any(np.array_equal(few[0], other) for other in others)


def test_the_set_is_a_sequence():
    clips = SyntheticClips(4, 1, 0.25, 16000)
    assert len(clips) == 4 and len(list(clips)) == 4
    assert np.array_equal(clips[-1], clips[3]) and np.array_equal(clips[np.int64(3)], clips[3])
    assert [len(clip) for clip in clips[1:3]] == [4000, 4000]
    for index in (4, -5):
        with pytest.raises(IndexError, match=f"clip {index} of 4"):
            clips[index]


def test_kinds_take_turns_and_names_are_unique():
    clips = SyntheticClips(2 * len(KINDS), 3, 0.25, kinds=KINDS)
    assert [clips.kind(index) for index in range(len(KINDS))] == list(KINDS)
    assert len({*clips.ids, *SyntheticClips(14, 4, 0.25, kinds=KINDS).ids}) == 28
    assert clips.ids[3] == clips.id(3) and clips.kind(3) in clips.id(3)
    assert SyntheticClips(1, 0, 1.0).kind(0) == "scenes"


def test_scenes_have_all_levels():
    peaks = [20 * np.log10(np.abs(clip).max()) for clip in SyntheticClips(60, 0, 0.5)]
    assert -40.01 < min(peaks) < -34 and -6 < max(peaks) <= 0.0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"num_clips": -1}, "`num_clips` must be at least 0, got -1"),
        ({"seed": -1}, "`seed` must be at least 0, got -1"),
        ({"duration_s": 0.05}, "`duration_s` must be at least 0.25, got 0.05"),
        ({"duration_s": float("nan")}, "`duration_s` must be at least 0.25, got nan"),
        ({"sampling_rate": 4000}, "`sampling_rate` must be at least 8000, got 4000"),
        ({"kinds": ["voices", "music"]}, r"`kinds` must be some of textures, .*, scenes, got \['voices', 'music'\]"),
        ({"kinds": []}, "`kinds` must be some of"),
    ],
)
def test_wrong_settings_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        SyntheticClips(**{"num_clips": 1, "seed": 0, "duration_s": 1.0} | changed)
