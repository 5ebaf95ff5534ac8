"""The Python of the README and of `docs/python.md`, run as it stands."""

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from transformers import RoFormerConfig, RoFormerForMaskedLM

from audioformer.model_cards import TINY_CODEC

ROOT = Path(__file__).parents[1]


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.S)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "num_blocks"), [("README.md", 2), ("docs/python.md", 7)])
def test_every_python_block_runs_in_order(page, num_blocks, tmp_path, monkeypatch):
    blocks = python_blocks(page)
    assert len(blocks) >= num_blocks
    monkeypatch.chdir(tmp_path)
    soundfile.write("dog.ogg", 0.1 * np.random.default_rng(0).standard_normal(44100), 44100)
    names = {}
    if page == "docs/python.md":
        sizes = {"num_hidden_layers": 12, "hidden_size": 768, "embedding_size": 768}
        names["roformer"] = RoFormerForMaskedLM(RoFormerConfig(vocab_size=1028, pad_token_id=1, **sizes))
    for block in blocks:
        # Tests download no codec: the bundled one stands for EnCodec.
        block = block.replace("facebook/encodec_24khz", str(TINY_CODEC))
        exec(compile(block, page, "exec"), names)
    assert names["outputs"].last_hidden_state.shape[0] == 2
    if page == "docs/python.md":
        assert len(names["model"].state_dict()) > 100


@pytest.mark.parametrize(
    "page", sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md")) + ["README.md"]
)
def test_nothing_was_left_to_fill_in(page):
    assert "@@" not in (ROOT / page).read_text(encoding="utf-8")


def test_links_lead_to_files():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/*.md")]:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"
