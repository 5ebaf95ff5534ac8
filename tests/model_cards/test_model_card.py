"""The card: metadata that the Hub's own classes read back, every fact, a snippet that runs, and nothing invented."""

import json
import re
import shutil
import socket

import numpy as np
import pytest
from huggingface_hub import ModelCard

from audioformer.model_cards import TINY_ESC10
from audioformer.model_cards.check import check_folder
from audioformer.model_cards.facts import read_facts
from audioformer.model_cards.push import prepare_folder
from audioformer.model_cards.render import render_model_card, render_plain_card

from .common import make_facts


def test_metadata_are_read_back_by_the_hub(tmp_path):
    render_model_card(make_facts(base_model="user/audioformer-c1"), license="cc-by-4.0").save(tmp_path / "README.md")
    card = ModelCard.load(tmp_path / "README.md")
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("accuracy", 0.7125, "esc10")
    assert result.task_type == card.data.pipeline_tag == "audio-classification"
    assert (card.data.license, card.data.base_model) == ("cc-by-4.0", "user/audioformer-c1")
    assert (card.data.get("library_name"), card.data.model_name) == ("transformers", "tiny-sounds")


def test_every_fact_is_told():
    text = render_model_card(make_facts(), license="cc-by-4.0").text
    for fact in (
        "**accuracy 71.2%**, 95 % bootstrap interval 60.5% to 80.8%, on 80 test clips",
        "Checkpoint selected on: a held-out part of the training clips",
        "| started from | C1 |",
        "row C1 of the codes",
        "75 frames a second, 1,024 entries a codebook",
        "320 of 322 listed clips, 1 not there, 1 left out; 0.45 hours",
        "| train | 240 |",
        "Recipe `tiny_ft2`",
        "| `num_train_epochs` | 3.0 | given |",
        "1 x x86_64 CPU, 2 threads, float32; 216 training clips, 350 steps of 16; 3.5 minutes; peak memory 1.25 GB",
        "transformers 5.23.0",
        "training.png",
        "Weights: cc-by-4.0.",
        "arXiv preprint arXiv:2308.07221",
    ):
        assert fact in text, fact
    assert "{{" not in text and "None" not in text


def test_the_text_follows_from_the_facts():
    fresh = render_model_card(make_facts(base_model=None, has_curves=False)).text
    assert "started from fresh weights" in fresh and "training.png" not in fresh
    assert "Weights: not stated yet" in fresh
    codec = {**make_facts().codec, "codec": "facebook/encodec_24khz", "codec_revision": "abc123"}
    assert "[facebook/encodec_24khz](https://huggingface.co/facebook/encodec_24khz), revision `abc123`" in (
        render_model_card(make_facts(codec=codec)).text
    )
    data = {**make_facts().results["data"], "source": "audioset", "layout": "audioset"}
    results = {key: value for key, value in make_facts().results.items() if key != "accuracy"} | {"mAP": 0.35}
    tagged = render_model_card(make_facts(loss="lsep", results={**results, "data": data})).text
    assert "mean average precision 35.0%" in tagged
    assert "AudioSet's labels are noisy" in tagged and "LSEP ranks classes" in tagged
    assert "AudioSet" not in fresh and "LSEP" not in fresh


def test_rendering_needs_no_network_and_is_the_same_every_time(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("no network")

    monkeypatch.setattr(socket, "socket", refuse)
    assert str(render_model_card(make_facts())) == str(render_model_card(make_facts()))


def test_the_snippet_of_a_card_runs(tmp_path, capsys):
    folder = tmp_path / "user" / "repository"
    shutil.copytree(TINY_ESC10, folder)
    render_model_card(make_facts()).save(folder / "README.md")
    prepare_folder(folder, "user/repository", license="cc-by-4.0")
    text = (folder / "README.md").read_text()
    (snippet,) = re.findall(r"^## Use\n\n```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert 'model="user/repository"' in snippet and "USER/REPOSITORY" not in text
    waveform = np.sin(np.arange(24000) * 0.05).astype(np.float32)
    exec(snippet.replace('"user/repository"', repr(str(folder))), {"waveform": waveform})
    said = capsys.readouterr().out
    assert "score" in said and "label" in said


@pytest.mark.parametrize("missing", ["card_facts.json", "eval_results.json"])
def test_facts_are_kept_beside_the_model(tmp_path, missing):
    facts = make_facts()
    facts.save(tmp_path)
    (tmp_path / "eval_results.json").write_text(json.dumps(facts.results))
    assert read_facts(tmp_path) == facts
    (tmp_path / missing).unlink()
    with pytest.raises(ValueError, match=f"has no {missing}"):
        read_facts(tmp_path)


def test_the_licence_is_entered_when_it_is_said(tmp_path):
    facts = make_facts()
    render_model_card(facts).save(tmp_path / "README.md")
    assert any("states no licence" in finding for finding in check_folder(tmp_path))
    prepare_folder(tmp_path, "user/repository", license="apache-2.0")
    assert not any("licence" in finding for finding in check_folder(tmp_path))
    assert "Weights: apache-2.0." in (tmp_path / "README.md").read_text()


def test_a_pretrained_model_has_a_card_that_can_be_published(tmp_path):
    render_plain_card("pretrained-C2", facts={"held-out loss": "2.913 nats"}).save(tmp_path / "README.md")
    prepare_folder(tmp_path, "user/c2", license="cc-by-4.0")
    text = (tmp_path / "README.md").read_text()
    assert check_folder(tmp_path) == [] and "| held-out loss | 2.913 nats |" in text and '"user/c2"' in text
    assert "Nothing was recorded" in render_plain_card("x").text
