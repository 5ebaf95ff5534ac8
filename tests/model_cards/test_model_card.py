"""The card: metadata that the Hub's own classes read back, every fact, a snippet that runs, and nothing invented."""

import json
import re
import shutil
import socket
from dataclasses import replace

import numpy as np
import pytest
from huggingface_hub import ModelCard

from audioformer.model_cards import TINY_ESC10
from audioformer.model_cards.facts import PretrainedFacts, read_facts
from audioformer.model_cards.prepare import prepare_folder
from audioformer.model_cards.render import render_card, render_model_card, render_plain_card, render_pretrained_card

from .common import make_facts, write_folder


def test_metadata_are_read_back_by_the_hub(tmp_path):
    render_model_card(make_facts(base_model="user/audioformer-c1"), license="cc-by-4.0").save(tmp_path / "README.md")
    card = ModelCard.load(tmp_path / "README.md")
    (result,) = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_name) == ("accuracy", 0.7125, "esc10")
    assert result.task_type == card.data.pipeline_tag == "audio-classification"
    assert (card.data.license, card.data.base_model) == ("cc-by-4.0", "user/audioformer-c1")
    assert (card.data.get("library_name"), card.data.model_name) == ("transformers", "tiny-sounds")
    assert card.data.tags == ["audioformer", "audio-classification", "codec-tokens"]


def test_every_fact_is_told():
    text = render_model_card(make_facts(), license="cc-by-4.0").text
    for fact in (
        "**accuracy 71.2%**, 95 % bootstrap interval 60.5% to 80.8%, on 80 test clips.\n",
        "Checkpoint selected on: a held-out part of the training clips",
        "Training started from C1 and used the method FT2.",
        "| started from | C1 |",
        "| input | codebook C1 of a neural audio codec",
        "| codec | in `codec/` of this repository; 75 frames per second, 1,024 entries per codebook |",
        "320 of 322 listed clips, 1 missing, 1 left out; 0.45 hours",
        "| train | 240 |",
        "Recipe `tiny_ft2` of the package audioformer, with these settings:",
        "| `base` | tiny_ft1 | recipe |",
        "| `num_train_epochs` | 3.0 | command line |",
        "1 x x86_64 CPU, 2 threads, float32; 216 training clips, 350 steps with batches of 16; 3.5 minutes; "
        "peak memory 1.25 GB. Versions: audioformer 0.1.0, transformers 5.23.0",
        "](training.png)",
        "](classes.png)",
        "Weights: cc-by-4.0.",
        "journal={arXiv preprint arXiv:2308.07221}",
    ):
        assert fact in text, fact
    assert "{{" not in text and "{%" not in text and "None" not in text


def test_the_text_follows_from_the_facts():
    fresh = render_model_card(make_facts(base_model=None, has_curves=False, recipe={}, training={})).text
    assert "started from fresh weights" in fresh and "training.png" not in fresh
    assert "Weights: not stated yet" in fresh and "None" not in fresh
    codec = {**make_facts().codec, "codec": "facebook/encodec_24khz", "codec_revision": "abc123"}
    assert "[facebook/encodec_24khz](https://huggingface.co/facebook/encodec_24khz), revision `abc123`" in (
        render_model_card(make_facts(codec=codec)).text
    )
    data = {**make_facts().results["data"], "source": "audioset", "layout": "audioset"}
    results = {key: value for key, value in make_facts().results.items() if key != "accuracy"} | {"mAP": 0.35}
    tagged = render_model_card(make_facts(loss="lsep", results={**results, "data": data})).text
    assert "mean average precision 35.0%" in tagged
    assert "labels of AudioSet are noisy" in tagged and "LSEP ranks classes" in tagged
    assert "AudioSet" not in fresh and "LSEP" not in fresh
    many = render_model_card(make_facts(labels=[f"class {index}" for index in range(40)])).text
    assert "40: class 0," in many and "class 29, and 10 more" in many and "class 30" not in many


def test_clips_that_were_left_out_are_counted_over_all_reasons():
    results = make_facts().results
    data = {**results["data"], "rejected_counts": {"unreadable": 1200, "silent": 30, "empty": 4}}
    text = render_model_card(make_facts(results={**results, "data": data})).text
    assert "320 of 322 listed clips, 1 missing, 1,234 left out" in text
    data = {**data, "rejected_counts": {}}
    assert "1 missing, 0 left out" in render_model_card(make_facts(results={**results, "data": data})).text


def test_warnings_come_before_the_number_they_concern():
    changes = {"notes": ["Selected on the same clips."], "num_classes_without_positives": 2, "accuracy": 0.7125}
    text = render_model_card(make_facts(results=make_facts().results | changes)).text
    for part in text.split("## Results"):
        number = part.index("71.2%")
        assert 0 <= part.index("Selected on the same clips.") < number
    results = text[text.index("## Results") :]
    for warning in ("2 classes have no positive test clip", "Checkpoint selected on: a held-out part"):
        assert results.index(warning) < results.index("71.2%")


@pytest.mark.parametrize("name", ["/runs/c1", "runs/x/c1", "./c1", "../c1", "C1", "C:\\runs\\c1", "a--b/c", "a/b c"])
def test_what_is_no_id_of_the_hub_is_no_base_model_in_the_metadata(name):
    card = render_model_card(make_facts(base_model=name))
    assert card.data.base_model is None and "base_model" not in str(card)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (r"(cat|dog)_\d+", r"`(cat\|dog)_\d+`"),
        ("[`*]", "`` [`*] ``"),
        ("tiny_codec", "tiny_codec"),
        (["train", "test"], "['train', 'test']"),
        (0.1, "0.1"),
    ],
)
def test_settings_that_markdown_would_change_are_shown_as_they_are(value, shown):
    facts = make_facts(recipe={"recipe": None, "own": {}, "flags": {"group_pattern": value}})
    assert f"| `group_pattern` | {shown} | command line |\n" in render_model_card(facts).text


def test_sections_of_the_caller_come_before_the_limits():
    sections = [{"title": "How it was tested", "text": "By fold.\n"}, {"title": "Data used", "text": "Clips."}]
    text = render_model_card(make_facts(sections=sections)).text
    titles = re.findall(r"^## (.*)$", text, re.MULTILINE)
    first = titles.index("How it was tested")
    assert titles[first : first + 3] == ["How it was tested", "Data used", "Intended use and limits"]
    assert "## How it was tested\n\nBy fold.\n\n## Data used\n\nClips.\n\n" in text


def test_another_family_is_not_called_audioformer():
    facts = make_facts(
        title="Spectro Net",
        paper="arXiv 1234.56789",
        citation="@article{spectro}",
        reads="a log-mel spectrogram with 128 bands",
        sampling_rate=16000,
        codec=None,
        codebook=None,
        recipe={},
        training={},
    )
    card = render_model_card(facts)
    assert card.data.tags == ["spectro-net", "audio-classification"]
    for fact in (
        "a model of the Spectro Net family ([arXiv 1234.56789](https://arxiv.org/abs/1234.56789))",
        "| input | a log-mel spectrogram with 128 bands |",
        '"sampling_rate": 16000',
        "@article{spectro}",
    ):
        assert fact in card.text, fact
    assert "AudioFormer" not in card.text and "2308.07221" not in card.text and "codec" not in card.text
    unpublished = render_card(replace(facts, paper=None, citation=None))
    assert "authors of the paper" not in unpublished.text and "## Citation" not in unpublished.text
    plain = render_card(PretrainedFacts(name="x", title="Spectro Net", paper="https://example.org/a", citation=None))
    assert "the Spectro Net family (<https://example.org/a>)" in plain.text and "AudioFormer" not in plain.text


def test_what_the_card_cannot_do_without_is_asked_for():
    with pytest.raises(ValueError, match="`reads` must describe the input"):
        make_facts(codebook=None)
    with pytest.raises(ValueError, match="`sampling_rate` is needed"):
        make_facts(codec=None)
    with pytest.raises(ValueError, match="none of the metrics mAP, accuracy; they hold \\['loss'\\]"):
        render_model_card(make_facts(results={"loss": 1.0}))


def test_rendering_needs_no_network_and_is_the_same_every_time(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("no network")

    monkeypatch.setattr(socket, "socket", refuse)
    assert str(render_model_card(make_facts())) == str(render_model_card(make_facts()))


def test_the_snippet_of_a_card_runs(tmp_path, capsys):
    folder = tmp_path / "user" / "repository"
    shutil.copytree(TINY_ESC10, folder)
    write_folder(folder, make_facts())
    prepare_folder(folder, "user/repository", license="cc-by-4.0")
    text = (folder / "README.md").read_text()
    (snippet,) = re.findall(r"^## Use\n\n```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert 'model="user/repository"' in snippet and "USER/REPOSITORY" not in text
    waveform = np.sin(np.arange(24000) * 0.05).astype(np.float32)
    exec(snippet.replace('"user/repository"', repr(str(folder))), {"waveform": waveform})
    said = capsys.readouterr().out
    assert "score" in said and "label" in said


def test_a_pretrained_model_has_a_card():
    known = {"held-out loss": "2.913 nats"}
    card = render_plain_card("pretrained-C2", facts=known)
    assert "| held-out loss | 2.913 nats |" in card.text and "USER/REPOSITORY" in card.text
    assert str(card) == str(render_pretrained_card(PretrainedFacts(name="pretrained-C2", known=known)))
    assert "Nothing about its training was recorded." in render_plain_card("x").text


@pytest.mark.parametrize("missing", ["card_facts.json", "eval_results.json"])
def test_facts_are_kept_beside_the_model(tmp_path, missing):
    facts = make_facts(sections=[{"title": "More", "text": "Text."}], repo_id="user/name")
    facts.save(tmp_path)
    (tmp_path / "eval_results.json").write_text(json.dumps(facts.results))
    assert read_facts(tmp_path) == facts
    (tmp_path / missing).unlink()
    with pytest.raises(ValueError, match=f"has no {missing}"):
        read_facts(tmp_path)


def test_facts_of_a_pretrained_model_need_no_results(tmp_path):
    facts = PretrainedFacts(name="C2", known={"parameters": "12"})
    facts.save(tmp_path)
    assert read_facts(tmp_path) == facts


def test_facts_of_earlier_versions_still_give_a_card(tmp_path):
    """As the first version wrote them: without a kind, a family, sections or a repository."""
    facts = make_facts()
    names = ("name", "method", "base_model", "codebook", "codec", "labels", "num_parameters", "loss", "recipe")
    old = {name: getattr(facts, name) for name in (*names, "training", "has_curves")}
    (tmp_path / "card_facts.json").write_text(json.dumps(old))
    (tmp_path / "eval_results.json").write_text(json.dumps(facts.results))
    assert str(render_card(read_facts(tmp_path))) == str(render_model_card(facts))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"card": "other"}, "`card` must be one of classifier, pretrained, trained, got 'other'"),
        ({"colour": "blue"}, "unknown colour"),
        ({"labels": None}, "missing labels"),
    ],
)
def test_what_are_no_facts_is_refused(tmp_path, change, message):
    write_folder(tmp_path, make_facts())
    file = tmp_path / "card_facts.json"
    values = {**json.loads(file.read_text()), **change}
    file.write_text(
        json.dumps({name: value for name, value in values.items() if value is not None or name != "labels"})
    )
    with pytest.raises(ValueError, match=message):
        read_facts(tmp_path)
