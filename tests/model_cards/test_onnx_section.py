"""The card's section about ONNX: its Python runs without PyTorch and gives the scores of the pipeline."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from transformers import pipeline

from audioformer.model_cards import TINY_ESC10
from audioformer.model_cards.prepare import prepare_folder
from audioformer.model_cards.render import render_model_card

from .common import make_facts, write_folder

WITHOUT_TORCH = "import sys\nfor name in ('torch', 'transformers', 'audioformer'):\n    sys.modules[name] = None\n"


@pytest.mark.slow
def test_the_snippet_runs_without_pytorch(exported_tiny, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(TINY_ESC10, folder)
    write_folder(folder, make_facts(codebook=None, reads="codebooks 0 to 3 (C1 to C4) of a neural audio codec"))
    prepare_folder(folder, "user/name", "cc-by-4.0")
    assert "onnxruntime" not in (folder / "README.md").read_text()
    shutil.copytree(exported_tiny / "onnx", folder / "onnx")
    for _ in range(2):
        prepare_folder(folder, "user/name", "cc-by-4.0")
    text = (folder / "README.md").read_text()
    (snippet,) = re.findall(r"^## Run it without PyTorch$.*?```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)

    waveform = (0.1 * np.random.default_rng(0).standard_normal(30000)).astype(np.float32)
    soundfile.write(folder / "dog.wav", waveform, 24000, subtype="FLOAT")
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH + snippet], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = [line.split() for line in done.stdout.splitlines()]
    expected = pipeline("audio-classification", model=str(folder))(waveform, top_k=3)
    assert [label for label, _ in said] == [entry["label"] for entry in expected]
    assert [float(score) for _, score in said] == pytest.approx([entry["score"] for entry in expected], abs=6e-4)


@pytest.mark.parametrize("codebook", [None, 0])
def test_ids_are_those_of_one_codebook_or_of_all(codebook):
    text = render_model_card(make_facts(has_onnx=True, codebook=codebook, reads="codes of a codec")).text
    (line,) = re.findall(r"^ids = .*$", text, re.MULTILINE)
    codes = np.array(
        [[[5, 7], [6, 8]]]
    )  # Of shape `(batch_size, num_frames, num_codebooks)`, as the encoder gives it.
    found: dict = {"np": np, "codes": codes}
    exec(line, found)
    expected = [[0, 0], [8, 10], [9, 11], [2, 2]] if codebook is None else [0, 8, 9, 2]
    np.testing.assert_array_equal(found["ids"], [expected])


def test_several_labels_have_sigmoids():
    one_label = render_model_card(make_facts(has_onnx=True)).text
    results = {key: value for key, value in make_facts().results.items() if key != "accuracy"} | {"mAP": 0.35}
    several = render_model_card(make_facts(has_onnx=True, results=results)).text
    assert "scores.sum()" in one_label and "1 / (1 + np.exp(-logits[0]))" not in one_label
    assert "1 / (1 + np.exp(-logits[0]))" in several and "scores.sum()" not in several


def test_it_says_that_the_encoder_sets_the_level():
    said = "# The encoder scales each waveform to one level by itself."
    level = {"normalize": "rms", "target_rms": 0.1, "min_rms": 0.001}
    plain = make_facts(has_onnx=True)
    assert said not in render_model_card(plain).text and "| level |" not in render_model_card(plain).text
    text = render_model_card(make_facts(has_onnx=True, codec={**plain.codec, **level})).text
    assert said in text and "| level | each clip is scaled to a root mean square of 0.1 (-20 dBFS);" in text


def test_it_is_there_for_models_that_read_codes_and_are_exported():
    assert "onnxruntime" not in render_model_card(make_facts()).text
    waveforms = make_facts(
        has_onnx=True, codec=None, codebook=None, reads="a log-mel spectrogram", sampling_rate=16000
    )
    assert "onnxruntime" not in render_model_card(waveforms).text
