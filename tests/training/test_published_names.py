"""What a card may say about where training started: ids of the Hub, and of local folders the last name alone."""

import pytest

from audioformer.training.results import published_name


@pytest.mark.parametrize("name", ["runs/c1", "./runs/c1", "runs/../runs/c1", "runs/c1/"])
def test_of_a_local_folder_only_its_name_is_told(name, tmp_path, monkeypatch):
    (tmp_path / "runs" / "c1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert published_name(name) == published_name(str(tmp_path / "runs" / "c1")) == "c1"


@pytest.mark.parametrize("name", [None, "user/c1", "bert-base"])
def test_ids_of_the_hub_stay(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert published_name(name) == name


def test_an_absolute_path_that_is_gone_is_still_one():
    assert published_name("/gone/runs/c1") == "c1"
