"""The demonstration behind `make demo`, at a fraction of its size."""

import numpy as np
import pytest
import soundfile
from transformers import pipeline

from audioformer.experiments.demo import run


@pytest.mark.slow
def test_the_demo_writes_a_model_that_classifies_and_a_picture(tmp_path, capsys):
    accuracy = run(tmp_path, clips_per_class=5, pretrain_epochs=1, finetune_epochs=1, seed=0)
    printed = capsys.readouterr().out
    assert 0 <= accuracy <= 1
    for text in ("always the commonest class    12.5%", f"AudioFormer                  {accuracy:6.1%}"):
        assert text in printed
    assert (tmp_path / "demo.png").read_bytes().startswith(b"\x89PNG")
    waveform, sampling_rate = soundfile.read(tmp_path / "example.wav", dtype="float32")
    assert sampling_rate == 24000
    scores = pipeline("audio-classification", model=str(tmp_path / "model"))(waveform, top_k=None)
    assert len(scores) == 8
    assert np.isclose(sum(item["score"] for item in scores), 1.0, atol=1e-5)
    best = scores[0]
    assert f"{best['label']:<22} {best['score']:.3f}" in printed
