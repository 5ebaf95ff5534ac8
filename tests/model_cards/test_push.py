"""What is asked of the Hub in one push: the branch, the card that is there, and nothing before the checks."""

import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from huggingface_hub import ModelCard
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from audioformer.model_cards import push, push_saved
from audioformer.model_cards.render import render_plain_card
from audioformer.modeling_audioformer import AudioFormerConfig, AudioFormerForAudioClassification


class Hub:
    """Stands for `HfApi`: keeps the cards of one repository by their branches, and notes what it is asked for."""

    def __init__(self, cards: dict[str, str] | None = None) -> None:
        self.cards = cards
        self.asked: list[tuple[str, str | None]] = []
        self.files: dict[str, bytes] = {}

    def __call__(self, token: Any = None) -> "Hub":
        return self

    def hf_hub_download(self, repo_id: str, name: str, *, revision: str | None, local_dir: Path) -> None:
        response = httpx.Response(404, request=httpx.Request("GET", "http://hub"))
        if self.cards is None:
            raise RepositoryNotFoundError("There is no such repository.", response=response)
        if (revision or "main") not in self.cards:
            raise RevisionNotFoundError("There is no such branch.", response=response)
        (local_dir / name).write_text(self.cards[revision or "main"])

    def create_repo(self, repo_id: str, **options: Any) -> None:
        self.asked.append(("repository", None))

    def create_branch(self, repo_id: str, *, branch: str, **options: Any) -> None:
        self.asked.append(("branch", branch))

    def create_commit(self, repo_id: str, operations: list[Any], *, revision: str | None, **options: Any) -> None:
        self.asked.append(("commit", revision))
        for operation in operations:
            with operation.as_file() as file:
                self.files[operation.path_in_repo] = file.read()


@pytest.fixture(scope="module")
def saved(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    AudioFormerForAudioClassification(AudioFormerConfig(**sizes)).save_pretrained(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path) -> Path:
    return shutil.copytree(saved, tmp_path / "model")


@pytest.fixture
def start_hub(monkeypatch):
    def start(cards: dict[str, str] | None = None) -> Hub:
        hub = Hub(cards)
        for module in (push, push_saved):
            monkeypatch.setattr(module, "HfApi", hub)
        return hub

    return start


def card_with(line: str) -> str:
    return str(render_plain_card("name", "mit", repo_id="user/name")).rstrip() + f"\n\n## More\n\n{line}\n"


@pytest.mark.parametrize(
    ("revision", "branches"),
    [(None, []), ("v2", [("branch", "v2")]), ("refs/pr/1", []), ("refs", [("branch", "refs")])],
)
def test_branches_are_created_but_not_references_of_pull_requests(folder, start_hub, revision, branches):
    hub = start_hub()
    push.upload(folder, [folder / "config.json"], "user/name", revision=revision)
    assert hub.asked == [("repository", None), *branches, ("commit", revision)]
    assert hub.files == {"config.json": (folder / "config.json").read_bytes()}


def test_numbers_on_a_card_are_accepted_from_the_hub_alone(folder, start_hub):
    """Those that are there were vouched for when they went there."""
    card = card_with("Twice as good: 99 %.")
    hub = start_hub()
    (folder / "README.md").write_text(card)
    with pytest.raises(ValueError, match=r"Nothing was uploaded.*\n.*states a number in the section 'More'"):
        push_saved.push_saved(folder, "user/name", license="mit")
    assert hub.asked == []
    (folder / "README.md").unlink()
    hub = start_hub({"main": card})
    push_saved.push_saved(folder, "user/name", license="mit")
    assert hub.files["README.md"].decode() == card


@pytest.mark.parametrize(("revision", "expected"), [(None, "of main"), ("v2", "of v2"), ("v3", "of main")])
def test_the_card_of_the_branch_stays_and_a_new_branch_has_that_of_main(folder, start_hub, revision, expected):
    hub = start_hub({"main": card_with("of main"), "v2": card_with("of v2")})
    push_saved.push_saved(folder, "user/name", revision=revision, tags=["sounds"])
    card = ModelCard(hub.files["README.md"].decode())
    assert expected in card.text and card.data.license == "mit" and "sounds" in card.data.tags
    assert hub.asked[-1] == ("commit", revision)
