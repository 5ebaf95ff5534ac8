"""Where windows begin, what is rejected from the header alone, and what a window sounds like."""

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audioformer.data.audio import ReadingSettings, Window, open_audio, plan_windows, read_window, window_starts
from audioformer.data.audio.clip_reading import read_clip
from audioformer.data.audio.windows import MIN_REMAINDER_S, OverlapReader, clip_id_of, window_start_s
from audioformer.data.listing import ListedClip

RATE = 8000


def write_noise(path, seconds: float) -> np.ndarray:
    samples = 0.1 * np.random.default_rng(0).standard_normal(round(seconds * RATE)).astype(np.float32)
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return samples


@pytest.mark.parametrize(
    "seconds, window_s, expected_s",
    [
        (25.0, 10.0, [0, 10, 15]),  # the last window is moved back
        (20.44, 10.0, [0, 10, 10.44]),
        (20.1, 10.0, [0, 10, 10.1]),  # the remainder is a tenth of a second
        (20.09, 10.0, [0, 10]),
        (20.0, 10.0, [0, 10]),
        (1.05, 0.5, [0, 0.5, 0.55]),  # the remainder is a tenth of a window
        (1.04, 0.5, [0, 0.5]),
        (10.0, 10.0, [0]),
        (0.001, 10.0, [0]),  # the whole clip
    ],
)
def test_where_windows_begin(seconds, window_s, expected_s):
    start = 123
    starts = window_starts(start, start + round(seconds * RATE), round(window_s * RATE), RATE)
    assert [(first - start) / RATE for first in starts] == expected_s


def test_windows_may_overlap():
    assert window_starts(0, 100, 40, 10, 20) == [0, 20, 40, 60]
    assert window_starts(0, 105, 40, 10, 20) == [0, 20, 40, 60, 65]
    assert window_starts(0, 30, 40, 10, 20) == [0]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    start=st.integers(0, 1000),
    length=st.integers(1, 5000),
    window_length=st.integers(1, 600),
    hop_share=st.floats(0.01, 1.0),
    sampling_rate=st.sampled_from([1, 10, 100, 1000]),
)
def test_windows_are_whole_and_hear_everything(start, length, window_length, hop_share, sampling_rate):
    hop_length = max(1, round(hop_share * window_length))
    starts = window_starts(start, start + length, window_length, sampling_rate, hop_length)
    heard = np.zeros(length, dtype=bool)
    for first in starts:
        window = heard[first - start :][:window_length]
        assert len(window) == min(window_length, length)
        window[:] = True
    assert starts[0] == start and starts == sorted(set(starts))
    assert all(following - first == hop_length for first, following in zip(starts[:-2], starts[1:-1], strict=True))
    assert heard.sum() == heard.argmin() or heard.all()
    assert (~heard).sum() < max(1, min(MIN_REMAINDER_S * sampling_rate, window_length / 10))


def test_a_hop_that_makes_no_sense_is_refused():
    assert ReadingSettings(hop_s=10.0).window_hop_s == ReadingSettings().window_hop_s == 10.0
    assert ReadingSettings(max_length_s=4.0, hop_s=0.5).window_hop_s == 0.5
    assert ReadingSettings(long_files="cut").window_hop_s is None
    for hop_s in (0.0, -1.0, 10.5, float("nan"), float("inf")):
        with pytest.raises(
            ValueError, match=rf"`hop_s` must be more than 0 s and at most a window \(10 s\), got {hop_s:g}"
        ):
            ReadingSettings(hop_s=hop_s)
    with pytest.raises(ValueError, match="`hop_s` 5 needs windows, but `long_files` is 'cut'"):
        ReadingSettings(hop_s=5.0, long_files="cut")


def test_names_of_windows_say_where_they_begin():
    names = ["a#12.5", "a#3", "a", "b#1.wav", "c#x#0.04"]
    assert [window_start_s(name) for name in names] == [12.5, 3.0, 0.0, 0.0, 0.04]
    assert [clip_id_of(name) for name in names] == ["a", "a", "a", "b#1.wav", "c#x"]


@pytest.mark.parametrize("source", ["file", "memory"])
def test_overlapping_windows_decode_each_sample_once(tmp_path, monkeypatch, source):
    samples = write_noise(tmp_path / "a.wav", 5.3)
    decoded = []
    read = soundfile.SoundFile.read

    def read_and_count(self, frames=-1, *arguments, **options):
        decoded.append(frames)
        return read(self, frames, *arguments, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", read_and_count)
    audio = str(tmp_path / "a.wav") if source == "file" else {"array": samples, "sampling_rate": RATE}
    windows, following = read_clip(ListedClip("a", audio), RATE, ReadingSettings(max_length_s=2.0, hop_s=0.5))
    assert following is None
    starts_s = [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.3]
    assert [window.id for window in windows] == [f"a#{start_s:g}" for start_s in starts_s]
    for window, start_s in zip(windows, starts_s, strict=True):
        np.testing.assert_array_equal(window.waveform, samples[round(start_s * RATE) :][: 2 * RATE])
    assert sum(decoded) == (len(samples) if source == "file" else 0)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(pieces=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=8), length=st.integers(0, 50))
def test_pieces_are_those_of_the_audio_in_any_order(pieces, length):
    samples = np.arange(length, dtype=np.float32)
    with open_audio({"array": samples, "sampling_rate": RATE}) as audio:
        reader = OverlapReader(audio)
        for start, size in pieces:
            np.testing.assert_array_equal(reader.read(start, start + size), samples[start : start + size])


def test_windows_of_a_clip_keep_what_is_known_of_it(tmp_path):
    samples = write_noise(tmp_path / "a.wav", 30.0)
    clip = ListedClip("a", str(tmp_path / "a.wav"), ("x", "y"), "train", 3, start_s=1.25, end_s=26.5)
    windows = plan_windows(clip, ReadingSettings())
    assert [(w.id, w.start_s, w.end_s, w.duration_s) for w in windows] == [
        ("a#1.25", 1.25, 11.25, 10.0),
        ("a#11.25", 11.25, 21.25, 10.0),
        ("a#16.5", 16.5, 26.5, 10.0),
    ]
    assert all(w.clip is clip and w.group == "a" and w.sampling_rate == RATE for w in windows)
    np.testing.assert_array_equal(read_window(windows[1], RATE), samples[90000:170000])
    assert len(read_window(windows[2], 16000)) == 10 * 16000
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
