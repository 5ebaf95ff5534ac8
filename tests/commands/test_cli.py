"""The command line and the windows behind it."""

import json

import numpy as np
import pytest
import soundfile
import soxr
from transformers import pipeline

from audioformer.classify import classify_file, read_windows
from audioformer.cli import main
from audioformer.data.audio import ReadingSettings, plan_windows, reading
from audioformer.data.listing import ListedClip
from audioformer.model_cards import TINY_ESC10

from ..data.audio.test_reading import M4A, install_decoder


@pytest.fixture(scope="module")
def classifier():
    return pipeline("audio-classification", model=str(TINY_ESC10))


def noise(seconds: float, sampling_rate: int, channels: int = 1) -> np.ndarray:
    return 0.1 * np.random.default_rng(0).standard_normal((round(seconds * sampling_rate), channels))


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3"])
@pytest.mark.parametrize(("sampling_rate", "channels"), [(8000, 1), (44100, 2), (24000, 1)])
def test_classify_prints_labels_of_any_format_and_rate(tmp_path, capsys, suffix, sampling_rate, channels):
    file = tmp_path / f"noise.{suffix}"
    soundfile.write(file, noise(1.0, sampling_rate, channels), sampling_rate)
    assert main(["classify", str(file), "--top-k", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(str(file)) and " s)" in lines[0]
    scores = [float(line.split()[1]) for line in lines[1:]]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)


def test_json_has_scores_of_the_whole_and_of_windows_with_times(tmp_path, capsys):
    file = tmp_path / "long.wav"
    soundfile.write(file, noise(25.0, 16000), 16000)
    assert main(["classify", str(file), "--json", "--top-k", "10"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["path"] == str(file) and report["duration_s"] == pytest.approx(25.0)
    assert [(w["start_s"], w["end_s"]) for w in report["windows"]] == [(0.0, 10.0), (10.0, 20.0), (15.0, 25.0)]
    assert len(report["scores"]) == 10
    for label, score in report["scores"].items():
        # The last two windows share the seconds from 15 to 20.
        parts = [w["scores"][label] * weight for w, weight in zip(report["windows"], (10, 7.5, 7.5), strict=True)]
        assert score == pytest.approx(sum(parts) / 25.0)
    assert sum(report["scores"].values()) == pytest.approx(1.0, abs=1e-5)


def test_scores_equal_those_of_the_pipeline_on_the_resampled_waveform(tmp_path, classifier):
    file, stereo = tmp_path / "clip.wav", noise(2.0, 44100, 2)
    soundfile.write(file, stereo, 44100, subtype="FLOAT")
    resampled = soxr.resample(stereo.mean(axis=1).astype(np.float32), 44100, 24000)
    expected = {item["label"]: item["score"] for item in classifier(resampled, top_k=None)}
    assert classify_file(file, classifier).scores == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("samples", [1, 10, 441])
def test_the_shortest_files_get_scores(tmp_path, classifier, samples):
    file = tmp_path / "blip.wav"
    soundfile.write(file, np.full(samples, 0.1), 44100)
    assert sum(classify_file(file, classifier).scores.values()) == pytest.approx(1.0, abs=1e-5)


def test_windows_cover_the_file_and_the_last_is_moved_back(tmp_path):
    file, waveform = tmp_path / "ramp.wav", np.linspace(-0.5, 0.5, 24000 * 3 + 12345)
    soundfile.write(file, waveform, 24000, subtype="FLOAT")
    for hop_s, starts in ((None, [0, 24000, 48000, 60345]), (0.5, [0, 12000, 24000, 36000, 48000, 60000])):
        windows = list(read_windows(file, 1.0, 24000, hop_s))
        assert [round(24000 * start_s) for start_s, _, _ in windows] == starts
        for (start_s, end_s, window), start in zip(windows, starts, strict=True):
            assert end_s - start_s == pytest.approx(1.0)
            np.testing.assert_allclose(window, waveform[start : start + 24000], atol=1e-6)


@pytest.mark.parametrize("hop_s", [None, 0.7])
def test_windows_are_those_of_training(tmp_path, classifier, hop_s):
    file, settings = tmp_path / "clip.wav", ReadingSettings(max_length_s=2.0, hop_s=hop_s)
    for seconds in (1.9, 4.05, 4.44, 5.0):
        soundfile.write(file, noise(seconds, 24000), 24000)
        result = classify_file(file, classifier, window_s=2.0, hop_s=hop_s)
        planned = plan_windows(ListedClip("clip", str(file)), settings)
        assert [(w.start_s, w.end_s) for w in result.windows] == [(w.start_s, w.end_s) for w in planned]
        assert result.duration_s == pytest.approx(seconds)


@pytest.mark.parametrize("hop_s", [None, 0.3])
def test_each_moment_counts_once(tmp_path, classifier, hop_s):
    file = tmp_path / "clip.wav"
    soundfile.write(file, noise(2.4, 24000), 24000)
    result = classify_file(file, classifier, window_s=1.0, hop_s=hop_s)
    moments_s = (np.arange(2400) + 0.5) / 1000
    for label, score in result.scores.items():
        heard = [[w.scores[label] for w in result.windows if w.start_s < t < w.end_s] for t in moments_s]
        assert score == pytest.approx(np.mean([np.mean(scores) for scores in heard]), abs=1e-6)


def test_the_windows_of_a_file_that_is_cut_off_end_where_it_ends(tmp_path, classifier, monkeypatch):
    soundfile.write(tmp_path / "whole.wav", noise(2.6, 24000), 24000, subtype="FLOAT")
    (tmp_path / "short.wav").write_bytes((tmp_path / "whole.wav").read_bytes())
    expected = classify_file(tmp_path / "whole.wav", classifier, window_s=1.0)
    # As of an MP3 whose header promises four seconds.
    init = reading._FileAudio.__init__

    def promise_more(self, file, name, num_samples):
        init(self, file, name, 4 * 24000)

    monkeypatch.setattr(reading._FileAudio, "__init__", promise_more)
    result = classify_file(tmp_path / "short.wav", classifier, window_s=1.0)
    assert [(w.start_s, w.end_s) for w in result.windows] == [(0, 1), (1, 2), (1.6, 2.6)]
    assert result.windows == expected.windows and result.scores == expected.scores
    assert result.duration_s == expected.duration_s == 2.6
    assert len(list(read_windows(tmp_path / "short.wav", 1.0, 24000, 0.3))) == 7


def test_a_long_file_is_read_one_window_at_a_time(tmp_path, monkeypatch, classifier):
    file, lengths = tmp_path / "long.wav", []
    soundfile.write(file, noise(12.0, 8000), 8000)
    read = soundfile.SoundFile.read

    def read_and_note(self, frames=-1, *arguments, **options):
        lengths.append(frames)
        return read(self, frames, *arguments, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", read_and_note)
    assert len(classify_file(file, classifier, window_s=1.0).windows) == 12
    assert lengths == [8000] * 12


def test_audio_in_memory_has_the_scores_of_its_file(tmp_path, classifier):
    file, waveform = tmp_path / "clip.wav", noise(1.5, 24000)[:, 0].astype(np.float32)
    soundfile.write(file, waveform, 24000, subtype="FLOAT")
    expected = classify_file(file, classifier)
    for source in ({"bytes": file.read_bytes()}, {"array": waveform, "sampling_rate": 24000}, file.open("rb")):
        result = classify_file(source, classifier)
        assert result.scores == expected.scores and result.windows == expected.windows


def test_what_soundfile_cannot_read_is_classified_where_torchcodec_can(tmp_path, monkeypatch, classifier, capsys):
    waveform = noise(13.0, 24000)[:, 0].astype(np.float32)
    soundfile.write(tmp_path / "same.wav", waveform, 24000, subtype="FLOAT")
    file = tmp_path / "sound.m4a"
    file.write_bytes(M4A)
    install_decoder(monkeypatch, np.stack([waveform, waveform]), 24000)
    assert classify_file(file, classifier).windows == classify_file(tmp_path / "same.wav", classifier).windows
    assert main(["classify", str(file)]) == 0 and "13.00 s" in capsys.readouterr().out


def test_samples_that_are_not_numbers_are_refused(tmp_path, classifier):
    file, waveform = tmp_path / "nan.wav", noise(1.0, 24000)
    waveform[5000] = np.nan
    soundfile.write(file, waveform, 24000, subtype="FLOAT")
    with pytest.raises(ValueError, match="nan.wav holds NaN or infinite samples"):
        classify_file(file, classifier)


def test_files_that_cannot_be_read_are_named_and_the_others_are_done(tmp_path, capsys):
    good, bad, empty = tmp_path / "good.wav", tmp_path / "bad.wav", tmp_path / "empty.wav"
    soundfile.write(good, noise(0.5, 24000), 24000)
    bad.write_text("this is not audio")
    soundfile.write(empty, np.zeros((0,)), 24000)
    absent = tmp_path / "absent.wav"
    assert main(["classify", str(absent), str(bad), str(empty), str(good)]) == 1
    printed = capsys.readouterr()
    assert printed.out.startswith(str(good))
    for file, reason in [(absent, "no such file"), (bad, "not readable as audio"), (empty, "holds no samples")]:
        assert any(str(file) in line and reason in line for line in printed.err.splitlines())
    assert "Traceback" not in printed.err


def test_a_model_that_is_not_there_is_named(tmp_path, capsys):
    file = tmp_path / "good.wav"
    soundfile.write(file, noise(0.5, 24000), 24000)
    assert main(["classify", str(file), "--model", str(tmp_path / "nothing")]) == 1
    assert f"`--model` {str(tmp_path / 'nothing')!r} does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--top-k", "0"], ["--window-s", "-1"], ["--window-s", "nan"], ["--hop-s", "11"], []]
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["classify", *(["file.wav"] if arguments else []), *arguments])
    assert stopped.value.code == 2


def test_a_wrong_window_is_refused_by_the_function_too(tmp_path, classifier):
    with pytest.raises(ValueError, match="window_s must be more than 0 s, got 0"):
        classify_file(tmp_path / "any.wav", classifier, window_s=0)
    with pytest.raises(ValueError, match=r"`hop_s` must be more than 0 s and at most a window \(2 s\), got 3"):
        classify_file(tmp_path / "any.wav", classifier, window_s=2, hop_s=3)


def test_windows_overlap_if_asked_for(tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", noise(2.2, 24000), 24000)
    assert main(["classify", str(tmp_path / "a.wav"), "--window-s", "1", "--hop-s", "0.5", "--json"]) == 0
    windows = json.loads(capsys.readouterr().out)["windows"]
    assert [(w["start_s"], w["end_s"]) for w in windows] == [(0, 1), (0.5, 1.5), (1, 2), (1.2, 2.2)]
