"""The README's Python, run as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from transformers import RoFormerConfig, RoFormerForMaskedLM

README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.mark.slow
def test_every_python_block_runs_in_order(tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.S)
    assert len(blocks) >= 5
    monkeypatch.chdir(tmp_path)
    soundfile.write("dog.ogg", 0.1 * np.random.default_rng(0).standard_normal(44100), 44100)
    config = RoFormerConfig(vocab_size=1028, pad_token_id=1, num_hidden_layers=12, hidden_size=768, embedding_size=768)
    names = {"roformer": RoFormerForMaskedLM(config)}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)
    assert names["outputs"].last_hidden_state.shape[0] == 2
    assert len(names["model"].state_dict()) > 100


def test_nothing_was_left_to_fill_in():
    assert "@@" not in README
