"""The synthetic sound events."""

from collections import Counter

import numpy as np
import pytest

from audioformer.data import SOUND_EVENTS, synthesize_sound_events


def test_the_set_is_balanced_within_range_and_named_uniquely():
    clips = synthesize_sound_events(5, seed=1)
    assert Counter(clip.label for clip in clips) == dict.fromkeys(SOUND_EVENTS, 5)
    assert len({clip.id for clip in clips}) == len(clips)
    for clip in clips:
        assert clip.waveform.dtype == np.float32 and np.abs(clip.waveform).max() <= 1.0
        assert np.isfinite(clip.waveform).all() and np.abs(clip.waveform).max() > 0.02
        assert 1.59 < clip.duration_s < 2.41
    assert Counter(clip.fold for clip in clips) == {fold: len(SOUND_EVENTS) for fold in range(5)}


def test_a_seed_repeats_the_samples_and_more_clips_do_not_change_the_first():
    few, many, other = (synthesize_sound_events(n, seed=s) for n, s in [(2, 7), (3, 7), (2, 8)])
    by_id = {clip.id: clip.waveform for clip in many}
    assert all(np.array_equal(clip.waveform, by_id[clip.id]) for clip in few)
    assert not any(np.array_equal(a.waveform, b.waveform) for a, b in zip(few, other, strict=True))


def test_the_sweeps_go_the_way_they_are_named():
    def centroid_hz(waveform: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(waveform)) ** 2
        return float((np.fft.rfftfreq(len(waveform), 1 / 24000) * power).sum() / power.sum())

    for clip in synthesize_sound_events(4, seed=2):
        quarter = len(clip.waveform) // 4
        first, last = centroid_hz(clip.waveform[:quarter]), centroid_hz(clip.waveform[-quarter:])
        if clip.label == "rising_sweep":
            assert first < last
        if clip.label == "falling_sweep":
            assert first > last


@pytest.mark.parametrize(("arguments", "message"), [((0,), "got 0"), ((1, 0, 0.1), "at least 0.5 s, got 0.1")])
def test_too_few_or_too_short_clips_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        synthesize_sound_events(*arguments)
