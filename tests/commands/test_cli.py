"""The command line and the windows behind it."""

import json

import numpy as np
import pytest
import soundfile
import soxr
from transformers import pipeline

from audioformer.classify import classify_file, read_windows
from audioformer.cli import main
from audioformer.model_cards import TINY_ESC10


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
    assert [(w["start_s"], w["end_s"]) for w in report["windows"]] == [(0.0, 10.0), (10.0, 20.0), (20.0, 25.0)]
    assert len(report["scores"]) == 10
    for label, score in report["scores"].items():
        parts = [w["scores"][label] * (w["end_s"] - w["start_s"]) for w in report["windows"]]
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


def test_windows_cover_the_file_without_gap_or_overlap(tmp_path):
    file, waveform = tmp_path / "ramp.wav", np.linspace(-0.5, 0.5, 24000 * 3 + 123)
    soundfile.write(file, waveform, 24000, subtype="FLOAT")
    windows = list(read_windows(file, 1.0, 24000))
    assert [len(w) for _, w in windows] == [24000, 24000, 24000, 123]
    np.testing.assert_allclose(np.concatenate([w for _, w in windows]), waveform, atol=1e-6)


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
    assert f"--model {tmp_path / 'nothing'}" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--top-k", "0"], ["--window-s", "-1"], ["--window-s", "nan"], []])
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["classify", *(["file.wav"] if arguments else []), *arguments])
    assert stopped.value.code == 2


def test_a_wrong_window_is_refused_by_the_function_too(tmp_path, classifier):
    with pytest.raises(ValueError, match="window_s must be more than 0 s, got 0"):
        classify_file(tmp_path / "any.wav", classifier, window_s=0)
