"""Where windows begin, what is rejected from the header alone, and what a window sounds like."""

import numpy as np
import pytest
import soundfile

from audioformer.data.audio import ReadingSettings, Window, open_audio, plan_windows, read_window, window_starts
from audioformer.data.audio.clip_reading import read_clip
from audioformer.data.listing import ListedClip

RATE = 8000


def write_noise(path, seconds: float) -> np.ndarray:
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * RATE)).astype(np.float32)
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return samples


@pytest.mark.parametrize(
    "seconds, window_s, expected_s",
    [
        (25.0, 10.0, [0, 10, 20]),
        (21.0, 10.0, [0, 10, 20]),  # the remainder is one second
        (20.9, 10.0, [0, 10]),
        (20.0, 10.0, [0, 10]),
        (1.2, 0.5, [0, 0.5]),
        (1.25, 0.5, [0, 0.5, 1]),  # the remainder is half a window
        (10.0, 10.0, [0]),
        (0.001, 10.0, [0]),  # the whole clip
    ],
)
def test_where_windows_begin(seconds, window_s, expected_s):
    start = 123
    starts = window_starts(start, start + round(seconds * RATE), round(window_s * RATE), RATE)
    assert [(first - start) / RATE for first in starts] == expected_s


def test_windows_of_a_clip_keep_what_is_known_of_it(tmp_path):
    samples = write_noise(tmp_path / "a.wav", 30.0)
    clip = ListedClip("a", str(tmp_path / "a.wav"), ("x", "y"), "train", 3, start_s=1.25, end_s=26.5)
    windows = plan_windows(clip, ReadingSettings())
    assert [(w.id, w.start_s, w.end_s, w.duration_s) for w in windows] == [
        ("a#1.25", 1.25, 11.25, 10.0),
        ("a#11.25", 11.25, 21.25, 10.0),
        ("a#21.25", 21.25, 26.5, 5.25),
    ]
    assert all(w.clip is clip and w.group == "a" and w.sampling_rate == RATE for w in windows)
    np.testing.assert_array_equal(read_window(windows[1], RATE), samples[90000:170000])
    assert len(read_window(windows[2], 16000)) == 5.25 * 16000
    grouped = ListedClip("a", str(tmp_path / "a.wav"), group="speaker")
    assert {w.group for w in plan_windows(grouped, ReadingSettings())} == {"speaker"}


def test_a_short_clip_and_a_clip_that_is_cut_are_one_window(tmp_path):
    write_noise(tmp_path / "a.wav", 12.0)
    clip = ListedClip("a", str(tmp_path / "a.wav"))
    assert plan_windows(clip, ReadingSettings(max_length_s=12.0)) == [Window(clip, "a", 0, 12, 12, RATE)]
    assert plan_windows(clip, ReadingSettings(long_files="cut")) == [Window(clip, "a", 0, 10, 12, RATE)]
    assert Window(clip, "a", 0, 12, 12, RATE).group is None


def test_reading_gives_the_windows_that_were_planned(tmp_path):
    write_noise(tmp_path / "a.wav", 7.6)
    clip = ListedClip("a", str(tmp_path / "a.wav"), start_s=0.3)
    for long_files in ("windows", "cut"):
        settings = ReadingSettings(max_length_s=2.0, long_files=long_files)
        planned, (read, following) = plan_windows(clip, settings), read_clip(clip, 4000, settings)
        assert following is None and len(planned) == len(read) == (4 if long_files == "windows" else 1)
        for window, one in zip(planned, read, strict=True):
            assert (window.id, window.duration_s, window.is_part) == (one.id, one.duration_s, one.is_window)
            np.testing.assert_array_equal(read_window(window, 4000), one.waveform)


def test_clips_are_rejected_from_their_headers(tmp_path):
    write_noise(tmp_path / "long.wav", 4.0)
    soundfile.write(tmp_path / "empty.wav", np.zeros(0), RATE)
    (tmp_path / "broken.wav").write_text("RIFF, or not")
    settings = ReadingSettings(max_duration_s=3.0)

    def kind_and_reason(name: str, **options) -> tuple[str, str]:
        rejection = plan_windows(ListedClip("a", str(tmp_path / name), **options), settings)
        assert rejection["id"] == "a" and rejection["path"] == str(tmp_path / name)
        return rejection["kind"], rejection["reason"]

    assert kind_and_reason("long.wav") == ("too long", "4.0 s, longer than 3 s")
    assert kind_and_reason("empty.wav") == ("empty", "no samples")
    assert kind_and_reason("long.wav", start_s=5.0) == ("empty", "no samples between 5.0 s and None s")
    for name in ("broken.wav", "gone.wav"):
        kind, reason = kind_and_reason(name)
        assert kind == "unreadable" and name in reason
    nothing = plan_windows(ListedClip("a", {"bytes": None, "path": None}), settings)
    assert nothing["kind"] == "unreadable" and nothing["path"] == "None"


def test_planning_decodes_nothing(tmp_path, monkeypatch):
    write_noise(tmp_path / "a.wav", 25.0)

    def read(*arguments, **options):
        raise AssertionError("it was decoded")

    monkeypatch.setattr(soundfile.SoundFile, "read", read)
    assert len(plan_windows(ListedClip("a", str(tmp_path / "a.wav")), ReadingSettings())) == 3


def test_damaged_windows_are_named(tmp_path):
    samples = write_noise(tmp_path / "a.wav", 4.0)
    first, *_, last = plan_windows(ListedClip("a", str(tmp_path / "a.wav")), ReadingSettings(max_length_s=1.0))
    samples[-1] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    assert len(read_window(first, RATE)) == RATE
    with pytest.raises(ValueError, match="a#3: NaN or infinite samples"):
        read_window(last, RATE)
    soundfile.write(tmp_path / "a.wav", samples[:100], RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match="a#3: "):
        read_window(last, RATE)
    (tmp_path / "a.wav").unlink()
    with pytest.raises(FileNotFoundError, match="a.wav"):
        read_window(first, RATE)


def test_silence_is_kept_only_if_asked_for(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(RATE), RATE)
    clip = ListedClip("a", str(tmp_path / "a.wav"))
    (silent,), _ = read_clip(clip, RATE, ReadingSettings())
    assert silent.waveform is None and silent.rejection["kind"] == "silent"
    (kept,), _ = read_clip(clip, RATE, ReadingSettings(keep_silent=True))
    assert len(kept.waveform) == RATE and kept.rejection is None


def test_windows_are_read_from_memory_too():
    samples = np.random.default_rng(0).standard_normal(4 * RATE).astype(np.float32)
    clip = ListedClip("a", {"array": samples, "sampling_rate": RATE})
    windows = plan_windows(clip, ReadingSettings(max_length_s=1.0))
    np.testing.assert_array_equal(np.concatenate([read_window(window, RATE) for window in windows]), samples)
    with open_audio(clip.audio) as audio:
        assert audio.num_samples == 4 * RATE


def test_defaults_and_wrong_settings():
    assert ReadingSettings() == ReadingSettings(
        max_length_s=10.0, long_files="windows", max_duration_s=None, keep_silent=False
    )
    for wrong, message in (
        ({"max_length_s": 0.0}, "`max_length_s` must be more than 0 seconds, got 0.0"),
        ({"max_duration_s": float("inf")}, "`max_duration_s` must be more than 0 seconds, got inf"),
        ({"long_files": "drop"}, "`long_files` must be 'windows' or 'cut', got 'drop'"),
    ):
        with pytest.raises(ValueError, match=message):
            ReadingSettings(**wrong)
