"""Uploads a model or a data set of codes in one commit, after everything in it has been checked."""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi

from audioformer.files import CODES_MANIFEST, CONFIG

from .check import check_files
from .contents import lacks_code, read_contents
from .licenses import check_license
from .prepare import prepare_folder
from .readers import PICTURES, picture_without_text
from .render import is_repo_id

logger = logging.getLogger(__name__)

COMMIT_MESSAGE = "Upload with audioformer"
SHOWN = 10
"""Files that are left out and named in the log."""


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    license: str | None = None,
    codec_revision: str | None = None,
    revision: str | None = None,
    commit_message: str = COMMIT_MESSAGE,
    token: str | None = None,
    include: Sequence[str] = (),
    own_numbers: bool = False,
    complete: Callable[[Path], None] | None = None,
    check: Callable[[Path], Iterable[str]] | None = None,
) -> CommitInfo:
    """Upload a folder of `audioformer finetune`, `pretrain` or `encode` in one commit.

    First the repository, the licence and the revision of the codec are entered into the card and the settings of the
    folder, see [`prepare_folder`]. Then the files that a model or a folder of codes consists of are checked, and
    exactly these are uploaded; of pictures, only the pixels. Other files are left out and named in a warning.

    Args:
        folder (`str` or `Path`): What to upload. A folder with `codes.json` becomes a data set, any other a model.
        repo_id (`str`): `user/name`. The repository is created if it does not exist.
        private (`bool`, defaults to `False`): Whether a new repository is private.
        license (`str`, *optional*): Licence of the weights or codes, an identifier of the Hub.
        codec_revision (`str`, *optional*): Commit of the codec on the Hub that the feature extractor refers to.
        revision (`str`, *optional*): Branch, created if it does not exist; `main` by default.
        commit_message (`str`, defaults to `"Upload with audioformer"`): Title of the commit.
        token (`str`, *optional*): A token of the Hub; by default that of `hf auth login`.
        include (sequence of `str`): Names of further files in the folder to upload. They are checked as well.
        own_numbers (`bool`, defaults to `False`): Accept numbers on the card that no recorded result gives.
        complete (`Callable[[Path], None]`, *optional*): Called with a temporary copy of a folder that names no code in
            `auto_map`, or code that is missing. It must save the code there. The copy is then checked and uploaded.
        check (`Callable[[Path], Iterable[str]]`, *optional*): Called with the folder; what else must not be published,
            one sentence each.

    Returns:
        `huggingface_hub.CommitInfo`: The commit, with its address and `oid`.

    Raises:
        ValueError: If the folder, the name or the licence cannot be used, or if something in the folder must not be
            published. The message lists everything that was found.
    """
    folder = Path(folder)
    _check_target(folder, repo_id)
    if license is not None:
        check_license(license)
    prepare_folder(folder, repo_id, license, codec_revision)
    with _completed(folder, complete, include) as source:
        contents = read_contents(source, include)
        findings = [*contents.findings, *check_files(source, contents.files, own_numbers=own_numbers)]
        if check is not None and not findings:
            findings += check(source)
        refuse(folder, findings)
        left_out = read_contents(folder, include).left_out
        if left_out:
            others = f" and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
            logger.warning(
                "Not uploaded, because they are not part of a model or of codes: %s%s. Name those that should go "
                "along with --include.",
                ", ".join(left_out[:SHOWN]),
                others,
            )
        return upload(
            source,
            contents.files,
            repo_id,
            repo_type="dataset" if (source / CODES_MANIFEST).is_file() else "model",
            private=private,
            revision=revision,
            token=token,
            commit_message=commit_message,
        )


def refuse(folder: Path | str, findings: Sequence[str]) -> None:
    """Raise an error if there are findings.

    Raises:
        ValueError: With all findings, one on a line.
    """
    if findings:
        listing = "\n".join(f"  {finding}" for finding in findings)
        raise ValueError(f"Nothing was uploaded. {folder} must not be published as it is:\n{listing}")


def upload(
    folder: Path,
    files: Sequence[Path],
    repo_id: str,
    *,
    repo_type: str = "model",
    private: bool | None = False,
    revision: str | None = None,
    token: str | bool | None = None,
    **commit: Any,
) -> CommitInfo:
    """Upload files in one commit, without checking them again. The repository and the branch are created.

    Args:
        folder (`Path`): The folder of the repository's names.
        files (`Sequence[Path]`): Files in it. Of pictures, the pixels are uploaded.
        repo_id, repo_type, private, revision, token: As in `HfApi.create_repo` and `HfApi.create_commit`.
        commit: Further arguments of `HfApi.create_commit`, `commit_message` among them.
    """
    operations = []
    for path in files:
        content = picture_without_text(path) if path.suffix.lower() in PICTURES else path
        operations.append(CommitOperationAdd(path.relative_to(folder).as_posix(), content))
    api = HfApi(token=token)
    api.create_repo(repo_id, private=private, repo_type=repo_type, exist_ok=True)
    if revision is not None and not revision.startswith("refs/"):
        api.create_branch(repo_id, branch=revision, repo_type=repo_type, exist_ok=True)
    return api.create_commit(repo_id, operations, repo_type=repo_type, revision=revision, **commit)


def _check_target(folder: Path, repo_id: str) -> None:
    if not folder.is_dir():
        raise ValueError(f"`folder` {str(folder)!r} does not exist or is not a folder.")
    if not any((folder / name).is_file() for name in (CONFIG, CODES_MANIFEST)):
        models = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
        hint = f" Push one of the models in it: {', '.join(models)}." if models else ""
        raise ValueError(f"{folder} holds neither a model ({CONFIG}) nor codes ({CODES_MANIFEST}).{hint}")
    if not is_repo_id(repo_id):
        raise ValueError(f"`repo_id` must be USER/NAME, got {repo_id!r}.")


@contextmanager
def _completed(folder: Path, complete: Callable[[Path], None] | None, include: Sequence[str]) -> Iterator[Path]:
    """The folder itself, or for the time of the upload a copy that has the code the folder lacks."""
    contents = read_contents(folder, include)
    if complete is None or not lacks_code(folder) or contents.findings:
        yield folder
        return
    with TemporaryDirectory() as temporary:
        copy = Path(temporary) / "folder"
        # Copies, not links: whatever `complete` overwrites, the folder of the user stays as it is.
        for path in contents.files:
            target = copy / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            copyfile(path, target)
        complete(copy)
        yield copy
