"""Codes that exist decide how audio was read: what contradicts them is refused, and results state what was done."""

import json
from pathlib import Path

import pytest

from audioformer.files import CODES_MANIFEST
from audioformer.training.examples.code_source import state_reading_of_codes
from audioformer.training.results import describe_recipe, describe_settings
from audioformer.training.settings import create_settings

STORED = {"max_length_s": 5.0, "long_files": "windows", "keep_silent": False}


@pytest.fixture
def codes(tmp_path: Path) -> str:
    (tmp_path / "codes").mkdir()
    others = ("codec_fingerprint", "label_ids", "labels", "multi_label", "num_codebooks", "report")
    manifest = {**dict.fromkeys(others), "settings": STORED}
    (tmp_path / "codes" / CODES_MANIFEST).write_text(json.dumps(manifest))
    return str(tmp_path / "codes")


@pytest.mark.parametrize(
    ("name", "value"), [("max_length_s", 8.0), ("long_files", "cut"), ("keep_silent", True), ("max_length_s", 10.0)]
)
def test_another_reading_than_that_of_the_codes_is_refused(tmp_path, codes, name, value):
    settings = create_settings("finetune", output_dir=tmp_path / "run", codes=codes, **{name: value})
    with pytest.raises(ValueError, match=rf"`{name}` {value!r} does not fit the codes in .* {STORED[name]!r}"):
        state_reading_of_codes(settings, codes)


def test_results_and_card_state_how_the_codes_were_made(tmp_path, codes):
    (tmp_path / "recipe.yaml").write_text("long_files: cut\nmax_length_s: 7\nkeep_silent: true\n")
    settings = create_settings("finetune", tmp_path / "recipe.yaml", output_dir=tmp_path / "run", codes=codes)
    assert describe_recipe(settings)["own"] == {"long_files": "cut", "max_length_s": 7, "keep_silent": True}
    state_reading_of_codes(settings, codes, is_main=False)
    assert settings.data.max_length_s == 7
    state_reading_of_codes(settings, codes)
    assert describe_recipe(settings)["own"] == STORED
    described = describe_settings(settings)
    assert described["max_length_s"] == 5.0 and "long_files" not in described
    given = create_settings("finetune", output_dir=tmp_path / "run", codes=codes, max_length_s=5)
    state_reading_of_codes(given, codes)
    assert describe_recipe(given)["flags"]["max_length_s"] == 5


def test_a_pattern_that_begins_with_a_slash_is_stated_as_it_is(tmp_path, codes):
    pattern = r"/(speaker\d+)/[^/]+$"
    (tmp_path / "recipe.yaml").write_text(f"group_pattern: '{pattern}'\n")
    settings = create_settings("pretrain", tmp_path / "recipe.yaml", output_dir=tmp_path / "run", codes=codes)
    assert settings.data.group_pattern == pattern and describe_settings(settings)["group_pattern"] == pattern
    given = create_settings("finetune", output_dir=tmp_path / "run", codes=codes, group_pattern=pattern)
    assert describe_recipe(given)["flags"]["group_pattern"] == pattern
