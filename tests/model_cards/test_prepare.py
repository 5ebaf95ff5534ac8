"""Before a push, the card is rendered again from the recorded facts, unless somebody edited it."""

import json
import logging
from dataclasses import replace

import pytest
from huggingface_hub import DatasetCard, ModelCard

from audioformer.model_cards.check import check_folder
from audioformer.model_cards.codes_card import render_codes_card, write_codes_card
from audioformer.model_cards.facts import PretrainedFacts, read_facts
from audioformer.model_cards.prepare import prepare_folder
from audioformer.model_cards.render import render_model_card, render_plain_card, render_pretrained_card

from .common import make_facts, write_folder


def card_of(folder) -> str:
    return (folder / "README.md").read_text()


def test_repository_and_licence_are_entered(tmp_path):
    write_folder(tmp_path, make_facts())
    assert any("states no licence" in finding for finding in check_folder(tmp_path))
    prepare_folder(tmp_path, "user/first", license="apache-2.0")
    assert not any("licence" in finding for finding in check_folder(tmp_path))
    assert card_of(tmp_path) == str(render_model_card(make_facts(repo_id="user/first"), license="apache-2.0"))
    # The licence stays when it is not stated again; the repository is always the one that is pushed to.
    prepare_folder(tmp_path, "user/second")
    assert card_of(tmp_path) == str(render_model_card(make_facts(repo_id="user/second"), license="apache-2.0"))
    assert "user/first" not in card_of(tmp_path) and read_facts(tmp_path).repo_id == "user/second"


def test_preparing_twice_changes_nothing(tmp_path):
    write_folder(tmp_path, make_facts())
    prepare_folder(tmp_path, "user/name", license="mit")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    prepare_folder(tmp_path, "user/name", license="mit")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_looks_like_a_placeholder_in_the_facts_stays(tmp_path):
    """Nothing is searched and replaced in the text: a class may be called anything."""
    write_folder(tmp_path, make_facts(labels=["USER/REPOSITORY", "not stated yet", "{{ license }}"]))
    prepare_folder(tmp_path, "user/name", license="mit")
    assert "| classes | 3: USER/REPOSITORY, not stated yet, {{ license }} |" in card_of(tmp_path)


def test_the_revision_of_the_codec_is_entered_into_card_and_settings(tmp_path):
    codec = {**make_facts().codec, "codec": "facebook/encodec_24khz"}
    write_folder(tmp_path, make_facts(codec=codec))
    (tmp_path / "preprocessor_config.json").write_text('{"codec": "facebook/encodec_24khz", "codec_revision": null}')
    assert "revision not pinned" in card_of(tmp_path)
    prepare_folder(tmp_path, "user/name", license="mit", codec_revision="abc123")
    assert "revision `abc123`" in card_of(tmp_path) and "not pinned" not in card_of(tmp_path)
    assert json.loads((tmp_path / "preprocessor_config.json").read_text())["codec_revision"] == "abc123"
    assert read_facts(tmp_path).codec["codec_revision"] == "abc123"


def test_onnx_files_are_described_while_they_are_there(tmp_path):
    write_folder(tmp_path, make_facts())
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").touch()
    prepare_folder(tmp_path, "user/name")
    # The code of the section needs the encoder of the codec as well.
    assert "onnxruntime" not in card_of(tmp_path)
    (tmp_path / "onnx" / "codec_encoder.onnx").touch()
    prepare_folder(tmp_path, "user/name")
    assert card_of(tmp_path).count("## Run it without PyTorch") == 1
    (tmp_path / "onnx" / "model.onnx").unlink()
    prepare_folder(tmp_path, "user/name")
    assert "onnxruntime" not in card_of(tmp_path)


def test_the_text_of_an_edited_card_stays(tmp_path, caplog):
    write_folder(tmp_path, make_facts())
    file = tmp_path / "README.md"
    file.write_text(file.read_text() + "\nMine.\n")
    text = ModelCard.load(file).text
    with caplog.at_level(logging.WARNING):
        prepare_folder(tmp_path, "user/name", license="cc-by-4.0")
    card = ModelCard.load(file)
    assert card.text == text and card.data.license == "cc-by-4.0"
    assert "still says USER/REPOSITORY" in caplog.text
    # Without a licence to enter, nothing at all is written.
    before = file.read_bytes()
    prepare_folder(tmp_path, "user/name")
    assert file.read_bytes() == before


def test_a_card_that_is_missing_is_rendered(tmp_path):
    write_folder(tmp_path, make_facts())
    (tmp_path / "README.md").unlink()
    prepare_folder(tmp_path, "user/name", license="mit")
    assert card_of(tmp_path) == str(render_model_card(make_facts(repo_id="user/name"), license="mit"))


def test_a_push_that_was_killed_before_it_recorded_the_facts_is_made_up_for(tmp_path):
    write_folder(tmp_path, make_facts())
    render_model_card(make_facts(repo_id="user/name"), license="mit").save(tmp_path / "README.md")
    prepare_folder(tmp_path, "user/name", license="apache-2.0")
    assert "Weights: apache-2.0." in card_of(tmp_path) and read_facts(tmp_path).repo_id == "user/name"


def test_a_pretrained_model_can_be_published(tmp_path):
    facts = PretrainedFacts(name="pretrained-C2", known={"held-out loss": "2.913 nats"})
    facts.save(tmp_path)
    render_pretrained_card(facts).save(tmp_path / "README.md")
    prepare_folder(tmp_path, "user/c2", license="cc-by-4.0")
    assert check_folder(tmp_path) == [] and '"user/c2"' in card_of(tmp_path)
    assert card_of(tmp_path) == str(render_pretrained_card(replace(facts, repo_id="user/c2"), license="cc-by-4.0"))


def test_a_card_without_recorded_facts_is_rendered_from_its_name(tmp_path):
    """What a trainer writes for a folder that has no card."""
    render_plain_card("by-trainer").save(tmp_path / "README.md")
    prepare_folder(tmp_path, "user/by-trainer", license="mit")
    assert "Weights: mit." in card_of(tmp_path) and '"user/by-trainer"' in card_of(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["README.md"]


@pytest.fixture
def codes(tmp_path):
    """A folder of codes with a made-up manifest."""
    manifest = {
        "source": "sounds",
        "codec": None,
        "codec_revision": None,
        "codec_fingerprint": "0" * 64,
        "num_codebooks": 1,
        "codebook_size": 4,
        "frame_rate": 75.0,
        "settings": {"max_length_s": 10.0, "long_files": "cut"},
        "report": {
            **{"found": 3, "listed": 4, "missing": 1, "rejected_counts": {}, "hours": 0.01},
            "clips_per_label": {"dog": 3},
        },
        "statistics": {"counts": [[1, 2, 3, 0]], "entries_used": [3], "entropy_bits": [1.4591]},
        "num_bytes": 1234,
    }
    (tmp_path / "codes.json").write_text(json.dumps(manifest))
    write_codes_card(tmp_path)
    return tmp_path, manifest


def test_the_licence_of_codes_is_entered(codes):
    folder, manifest = codes
    prepare_folder(folder, "user/codes")
    assert card_of(folder) == str(render_codes_card(manifest))
    for license in ("cc-by-4.0", "other", "cc0-1.0"):
        prepare_folder(folder, "user/codes", license=license)
        assert card_of(folder) == str(render_codes_card(manifest, license=license))


def test_the_text_of_an_edited_card_of_codes_stays(codes):
    folder, _ = codes
    file = folder / "README.md"
    file.write_text(file.read_text() + "\nMine.\n")
    text = DatasetCard.load(file).text
    prepare_folder(folder, "user/codes", license="cc-by-4.0")
    card = DatasetCard.load(file)
    assert card.text == text and card.data["license"] == "cc-by-4.0"
    assert card.data["configs"] == [{"config_name": "default", "data_files": "codes-*.parquet"}]


def test_a_card_of_codes_that_is_missing_is_written(codes):
    folder, manifest = codes
    (folder / "README.md").unlink()
    prepare_folder(folder, "user/codes", license="mit")
    assert card_of(folder) == str(render_codes_card(manifest, license="mit"))
