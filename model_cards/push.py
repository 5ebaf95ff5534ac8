"""Uploads a model or a data set of codes in one commit, after everything in it has been checked."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory

from huggingface_hub import CommitInfo, CommitOperationAdd, HfApi

from audioformer.files import CODES_MANIFEST, CONFIG

from .check import check_files, files_to_upload, lacks_code
from .prepare import prepare_folder


def push_folder(
    folder: str | Path,
    repo_id: str,
    *,
    private: bool = False,
    license: str | None = None,
    codec_revision: str | None = None,
    revision: str | None = None,
    commit_message: str = "Upload with audioformer",
    token: str | None = None,
    complete: Callable[[Path], None] | None = None,
) -> CommitInfo:
    """Upload a folder of `audioformer finetune`, `pretrain` or `encode` in one commit.

    First the repository, the licence and the revision of the codec are entered into the card and the settings of the
    folder, see [`prepare_folder`]. Then all files that would be uploaded are checked, and exactly these are uploaded.

    Args:
        folder (`str` or `Path`): What to upload. A folder with `codes.json` becomes a data set, any other a model.
        repo_id (`str`): `user/name`. The repository is created if it does not exist.
        private (`bool`, defaults to `False`): Whether a new repository is private.
        license (`str`, *optional*): Licence of the weights or codes, an identifier of the Hub.
        codec_revision (`str`, *optional*): Commit of the codec on the Hub that the feature extractor refers to.
        revision (`str`, *optional*): Branch; `main` by default.
        commit_message (`str`, defaults to `"Upload with audioformer"`): Title of the commit.
        token (`str`, *optional*): A token of the Hub; by default that of `hf auth login`.
        complete (`Callable[[Path], None]`, *optional*): Called with a temporary copy of a folder that names no code in
            `auto_map`, or code that is missing. It must save the code there. The copy is then checked and uploaded.

    Returns:
        `huggingface_hub.CommitInfo`: The commit, with its address and `oid`.

    Raises:
        ValueError: If the folder or the name cannot be used, or if something in the folder must not be published. The
            message lists everything that was found.
    """
    folder = Path(folder)
    _check_target(folder, repo_id)
    prepare_folder(folder, repo_id, license, codec_revision)
    with _completed(folder, complete) as source:
        files = files_to_upload(source)
        findings = check_files(source, files)
        if findings:
            listing = "\n".join(f"  {finding}" for finding in findings)
            raise ValueError(f"Nothing was uploaded. {folder} must not be published as it is:\n{listing}")
        repo_type = "dataset" if (source / CODES_MANIFEST).is_file() else "model"
        api = HfApi(token=token)
        api.create_repo(repo_id, private=private, repo_type=repo_type, exist_ok=True)
        return api.create_commit(
            repo_id,
            [CommitOperationAdd(path.relative_to(source).as_posix(), path) for path in files],
            commit_message=commit_message,
            repo_type=repo_type,
            revision=revision,
        )


def _check_target(folder: Path, repo_id: str) -> None:
    if not folder.is_dir():
        raise ValueError(f"`folder` {str(folder)!r} does not exist or is not a folder.")
    if not any((folder / name).is_file() for name in (CONFIG, CODES_MANIFEST)):
        models = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
        hint = f" Push one of the models in it: {', '.join(models)}." if models else ""
        raise ValueError(f"{folder} holds neither a model ({CONFIG}) nor codes ({CODES_MANIFEST}).{hint}")
    if repo_id.count("/") != 1 or not all(repo_id.split("/")):
        raise ValueError(f"`repo_id` must be USER/NAME, got {repo_id!r}.")


@contextmanager
def _completed(folder: Path, complete: Callable[[Path], None] | None) -> Iterator[Path]:
    """The folder itself, or for the time of the upload a copy that has the code the folder lacks."""
    if complete is None or not lacks_code(folder):
        yield folder
        return
    with TemporaryDirectory() as temporary:
        copy = Path(temporary) / "folder"
        # Copies, not links: whatever `complete` overwrites, the folder of the user stays as it is.
        for path in files_to_upload(folder):
            target = copy / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            copyfile(path, target)
        complete(copy)
        yield copy
