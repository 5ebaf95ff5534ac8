"""Files that were cut off: only what was decoded counts, and what is missing is told everywhere by one rule."""

import io
import warnings
from functools import cache

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from audioformer.classify import read_windows
from audioformer.data.audio import ReadingSettings, list_audio_clips, load_audio, open_audio
from audioformer.data.audio.clip_reading import read_clip
from audioformer.data.audio.reading import describe_shortfall
from audioformer.data.listing import ListedClip, Listing

RATE = 8000
LENGTH_S = 6.0
FORMATS = {
    "WAV": "PCM_16",
    "AIFF": "PCM_16",
    "AU": "PCM_16",
    "W64": "PCM_16",
    "CAF": "PCM_16",
    "FLAC": "PCM_16",
    "OGG": "VORBIS",
    "MP3": "MPEG_LAYER_III",
}
STATE_THEIR_LENGTH = ("WAV", "AIFF", "AU", "FLAC", "MP3")
"""Ogg files state no length, and of the others libsndfile does not tell what is missing, or reads nothing."""


@cache
def encoded(name: str) -> bytes:
    """Six seconds of noise, which is as loud at the end as at the beginning."""
    samples = 0.2 * np.random.default_rng(0).standard_normal(round(LENGTH_S * RATE))
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=name, subtype=FORMATS[name])
    return file.getvalue()


@cache
def decoded(name: str) -> np.ndarray:
    return soundfile.read(io.BytesIO(encoded(name)), dtype="float32")[0]


def cut(name: str, share: float) -> bytes:
    return encoded(name)[: int(share * len(encoded(name)))]


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    name=st.sampled_from(list(FORMATS)),
    share=st.floats(0, 1),
    pieces=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=4),
)
def test_nothing_but_what_was_decoded_is_read(name, share, pieces):
    content, whole = cut(name, share), decoded(name)
    # Of the last frames, decoders of lossy formats may make something else when the next one is missing.
    tail = {"MP3": 4 * 1152, "OGG": 8192}.get(name, 0)
    tolerance = 1e-4 if tail else 0
    try:
        with open_audio({"bytes": content}) as audio:
            n = audio.num_samples
            assert n <= audio.stated_samples
            samples = audio.read(0, audio.stated_samples)
            assert len(samples) == n
            sure = max(0, n - tail)
            np.testing.assert_allclose(samples[:sure], whole[:sure], rtol=0, atol=tolerance)
            for first, last in pieces:
                start, stop = round(first * n), round(last * audio.stated_samples)
                piece = audio.read(start, stop)
                assert len(piece) == max(0, min(stop, n) - start)
                if name != "OGG":
                    np.testing.assert_allclose(piece, samples[start:stop], rtol=0, atol=2e-2 if tail else 0)
            if name in STATE_THEIR_LENGTH and n < 0.8 * LENGTH_S * RATE:
                assert describe_shortfall(audio).startswith(f"{n / RATE:.1f} s of the ")
            if share == 1:
                assert n == len(whole) and describe_shortfall(audio) is None
    except ValueError as error:
        assert share < 1 and "audio in memory" in str(error)


@pytest.mark.parametrize("name", STATE_THEIR_LENGTH)
@settings(derandomize=True, deadline=None, max_examples=8)
@given(share=st.floats(0.25, 0.75))
def test_everything_that_reads_says_what_is_missing(name, share):
    clip = ListedClip("a", {"bytes": cut(name, share), "path": f"a.{name.lower()}"}, ("x",))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        waveform, _ = load_audio(clip.audio)
    message = str(said[-1].message)
    assert "s of the 6.0 s that its header states" in message and f"a.{name.lower()}" in message
    length_s = len(waveform) / RATE
    # Two frames of FLAC are a second here.
    assert abs(length_s - share * LENGTH_S) < 1.5
    reading = ReadingSettings(max_length_s=1.0)
    read, _ = read_clip(clip, RATE, reading)
    *windows, missing = read
    assert missing.rejection["kind"] == "cut short" and missing.rejection["reason"] in message
    assert all(window.rejection is None for window in windows)
    # The last window is moved back to be whole.
    assert len(windows[-1].waveform) == min(RATE, len(waveform))
    listing = Listing("sounds", "manifest", "nowhere", [clip], ["x"], False)
    listed = list_audio_clips(listing, reading, max_rejected_share=0, progress=False)
    assert listed.ids == [window.id for window in windows]
    assert listed.report.rejected == [missing.rejection] and "1 cut short" in listed.report.to_text()
    assert len(listed.read(len(windows) - 1, RATE)) == len(windows[-1].waveform)
    assert len(list(read_windows(clip.audio, 1.0, RATE))) == len(windows)


def test_a_clip_before_the_missing_end_is_whole(tmp_path):
    (tmp_path / "a.mp3").write_bytes(cut("MP3", 0.5))
    for options, kinds in (
        ({"end_s": 2.0}, [None]),
        ({"start_s": 1.0, "end_s": 5.0}, [None, "cut short"]),
        ({"start_s": 4.0}, ["empty"]),
        ({}, [None, "cut short"]),
    ):
        read, _ = read_clip(ListedClip("a", str(tmp_path / "a.mp3"), **options), RATE, ReadingSettings())
        assert [None if one.rejection is None else one.rejection["kind"] for one in read] == kinds


def test_a_length_that_nobody_knew_is_not_missing():
    content = bytearray(encoded("WAV"))
    size = content.index(b"data") + 4
    content[4:8] = content[size : size + 4] = b"\xff\xff\xff\xff"
    with open_audio({"bytes": bytes(content)}) as audio:
        assert audio.num_samples == round(LENGTH_S * RATE) and describe_shortfall(audio) is None
