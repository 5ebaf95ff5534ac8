"""The card's section about ONNX: its Python runs without PyTorch and gives the scores of the pipeline."""

import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from transformers import pipeline

from audioformer.cli import main
from audioformer.model_cards import TINY_ESC10
from audioformer.model_cards.push import prepare_folder
from audioformer.model_cards.render import onnx_section, render_model_card

from .common import make_facts

WITHOUT_TORCH = "import sys\nfor name in ('torch', 'transformers', 'audioformer'):\n    sys.modules[name] = None\n"


@pytest.mark.slow
def test_the_snippet_runs_without_pytorch(tmp_path):
    pytest.importorskip("onnxruntime", reason="pip install '.[onnx]'")
    pytest.importorskip("onnxscript", reason="pip install '.[onnx]'")
    folder = tmp_path / "model"
    shutil.copytree(TINY_ESC10, folder)
    render_model_card(make_facts()).save(folder / "README.md")
    prepare_folder(folder, "user/name", "cc-by-4.0")
    assert "onnxruntime" not in (folder / "README.md").read_text()
    assert main(["export", "--onnx", "--model", str(folder), "--output", str(folder / "onnx")]) == 0
    for _ in range(2):
        prepare_folder(folder, "user/name", "cc-by-4.0")
    text = (folder / "README.md").read_text()
    (snippet,) = re.findall(
        r"^## How to run it without PyTorch$.*?```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL
    )

    waveform = (0.1 * np.random.default_rng(0).standard_normal(30000)).astype(np.float32)
    soundfile.write(folder / "dog.wav", waveform, 24000, subtype="FLOAT")
    done = subprocess.run([sys.executable, "-c", WITHOUT_TORCH + snippet], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said = [line.split() for line in done.stdout.splitlines()]
    expected = pipeline("audio-classification", model=str(folder))(waveform, top_k=3)
    assert [label for label, _ in said] == [entry["label"] for entry in expected]
    assert [float(score) for _, score in said] == pytest.approx([entry["score"] for entry in expected], abs=6e-4)


def test_several_labels_have_sigmoids():
    assert "1 / (1 + np.exp(-logits[0]))" in onnx_section(True) and "scores.sum()" in onnx_section(False)
    assert "scores_of_logits" not in onnx_section(True)
