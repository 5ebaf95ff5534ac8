"""Uploads what `save_pretrained` of a model or a feature extractor wrote, with the checks of `audioformer push`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import CommitInfo, HfApi
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

from audioformer.files import CARD

from .card_check import load_card
from .check import check_files
from .contents import read_contents
from .licenses import check_license
from .push import refuse, upload
from .render import is_repo_id, render_plain_card


def push_saved(
    folder: Path,
    repo_id: str,
    *,
    license: str | None = None,
    tags: Sequence[str] = (),
    token: str | bool | None = None,
    revision: str | None = None,
    **options: Any,
) -> CommitInfo:
    """Check what `save_pretrained` wrote, and upload it in one commit.

    A part of a repository may be uploaded, such as a feature extractor without its model. A card that the repository
    has stays as it is, but for `license` and `tags`; otherwise there must be one in the folder, or a plain one is
    rendered.

    Args:
        folder (`Path`): A folder that holds nothing else, to which the card may be added.
        repo_id (`str`): `user/name`, or `name` alone for the user who is logged in.
        license (`str`, *optional*): Licence, an identifier of the Hub, unless the card states one.
        tags (sequence of `str`): Tags to add to the card.
        token, revision (*optional*): As in `HfApi.create_commit`.
        options: Further arguments of [`upload`].

    Raises:
        ValueError: If something must not be published; nothing is uploaded then.
    """
    api = HfApi(token=token)
    if license is not None:
        check_license(license)
    if "/" not in repo_id:
        repo_id = f"{api.whoami()['name']}/{repo_id}"
    if not is_repo_id(repo_id):
        raise ValueError(f"`repo_id` must be USER/NAME, got {repo_id!r}.")
    is_published = False
    if not (folder / CARD).is_file():
        is_published = _fetch_card(api, repo_id, revision, folder)
    if not (folder / CARD).is_file():
        render_plain_card(repo_id.split("/")[-1], license, repo_id=repo_id).save(folder / CARD)
    _complete_card(folder / CARD, license, tags)
    contents = read_contents(folder)
    # The numbers on a card that is on the Hub already were checked, or vouched for, when it went there.
    findings = [*contents.findings, *check_files(folder, contents.files, own_numbers=is_published)]
    refuse(f"What was to be pushed to {repo_id}", findings)
    return upload(folder, contents.files, repo_id, revision=revision, token=token, **options)


def _fetch_card(api: HfApi, repo_id: str, revision: str | None, folder: Path) -> bool:
    """Put the card that a repository has into a folder; `False` if there is none."""
    for wanted in dict.fromkeys((revision, None)):
        try:
            api.hf_hub_download(repo_id, CARD, revision=wanted, local_dir=folder)
        except (EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError):
            continue
        return True
    return False


def _complete_card(file: Path, license: str | None, tags: Sequence[str]) -> None:
    card = load_card(file)
    known = card.data.get("tags") or []
    added = [tag for tag in dict.fromkeys(tags) if tag not in known]
    if license is not None and card.data.get("license") != license:
        card.data["license"] = license
    elif not added:
        return
    if added:
        card.data["tags"] = [*known, *added]
    card.save(file)
