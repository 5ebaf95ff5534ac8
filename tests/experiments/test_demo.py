"""The demonstration behind `make demo`, at a fraction of its size."""

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from transformers import pipeline

from audioformer.classify import classify_file
from audioformer.experiments.demo import main, run


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory) -> tuple[Path, float, str]:
    """The folder of a small demonstration, the accuracy it returned, and what it printed."""
    output = tmp_path_factory.mktemp("demo")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        accuracy = run(output, clips_per_class=5, pretrain_epochs=1, finetune_epochs=1, seed=0)
    return output, accuracy, printed.getvalue()


@pytest.mark.slow
def test_the_accuracy_is_that_of_the_saved_model_on_the_held_out_files(demonstration):
    output, accuracy, printed = demonstration
    classifier = pipeline("audio-classification", model=str(output / "model"))
    files = sorted((output / "sounds" / "test").rglob("*.wav"))
    answers = [next(iter(classify_file(file, classifier).scores)) for file in files]
    assert len(files) == 8 and len({file.parent.name for file in files}) == 8
    assert accuracy == np.mean([answer == file.parent.name for answer, file in zip(answers, files, strict=True)])
    assert f"AudioFormer                     {accuracy:6.1%}" in printed
    assert "always the most frequent class   12.5%" in printed


@pytest.mark.slow
def test_the_example_gets_the_printed_scores_and_a_picture(demonstration):
    output, _, printed = demonstration
    assert (output / "demo.png").read_bytes().startswith(b"\x89PNG")
    waveform, sampling_rate = soundfile.read(output / "example.wav", dtype="float32")
    assert sampling_rate == 24000
    scores = pipeline("audio-classification", model=str(output / "model"))(waveform, top_k=None)
    assert len(scores) == 8
    assert sum(item["score"] for item in scores) == pytest.approx(1.0, abs=1e-5)
    for item in scores[:3]:
        assert f"{item['label']:<22} {item['score']:.3f}" in printed


@pytest.mark.slow
def test_reports_are_in_the_logs_and_a_second_run_replaces_the_first(demonstration):
    output, accuracy, _ = demonstration
    reports = {name: (output / name).read_text() for name in ("pretrain.log", "finetune.log")}
    assert "held-out loss" in reports["pretrain.log"]
    assert f"accuracy {accuracy:.1%}" in reports["finetune.log"]
    again = run(output, clips_per_class=5, pretrain_epochs=1, finetune_epochs=1, seed=0)
    assert again == accuracy
    assert (output / "finetune.log").read_text().count("95 % interval") == 1


def test_too_few_clips_are_refused(capsys, tmp_path):
    with pytest.raises(SystemExit):
        main(["--output", str(tmp_path / "demo"), "--clips-per-class", "4"])
    assert "must be at least 5" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
