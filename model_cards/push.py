"""One commit with a model or a data set of codes, after everything in it was checked."""

import json
from pathlib import Path

from huggingface_hub import CommitInfo, HfApi, ModelCard

from audioformer.files import CARD, CODES_MANIFEST, CONFIG, ONNX_CLASSIFIER, ONNX_FOLDER, PREPROCESSOR_CONFIG

from .check import LEFTOVERS, check_folder, files_to_upload
from .render import NO_LICENSE, REPOSITORY, onnx_section


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
) -> CommitInfo:
    """Upload a folder of `audioformer finetune`, `pretrain` or `encode` in one commit.

    The licence and the codec's revision are entered into the folder's own files first, the repository into the snippet
    of its card, and a section about `onnx/` if `audioformer export` has written there.

    Args:
        folder (`str` or `Path`): What to upload. A folder with `codes.json` becomes a data set, others a model.
        repo_id (`str`): `user/name`; made if it is not there.
        private (`bool`, defaults to `False`): Whether a new repository is private.
        license (`str`, *optional*): Licence of the weights or codes, an identifier of the Hub.
        codec_revision (`str`, *optional*): Commit of a codec on the Hub that the extractor refers to.
        revision (`str`, *optional*): Branch; `main` by default.
        commit_message (`str`): Title of the commit.
        token (`str`, *optional*): A token of the Hub; by default the one of `hf auth login`.

    Returns:
        `huggingface_hub.CommitInfo`: The commit, with its address and `oid`.

    Raises:
        ValueError: If the folder or the name is wrong, or something in the folder must not be published; with all
            findings.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"`folder` {str(folder)!r} does not exist.")
    if not any((folder / name).is_file() for name in (CONFIG, CODES_MANIFEST)):
        rows = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
        inside = f" Push one of {', '.join(rows)} in it." if rows else ""
        raise ValueError(f"{folder} holds neither a model (config.json) nor codes (codes.json).{inside}")
    if repo_id.count("/") != 1 or not all(repo_id.split("/")):
        raise ValueError(f"`repo_id` must be USER/NAME, got {repo_id!r}.")
    prepare_folder(folder, repo_id, license, codec_revision)
    findings = check_folder(folder)
    if findings:
        listing = "\n".join(f"  {finding}" for finding in findings)
        raise ValueError(f"Nothing was uploaded. {folder} must not be published as it is:\n{listing}")
    repo_type = "dataset" if (folder / CODES_MANIFEST).is_file() else "model"
    api = HfApi(token=token)
    api.create_repo(repo_id, private=private, repo_type=repo_type, exist_ok=True)
    return api.upload_folder(
        repo_id=repo_id,
        folder_path=folder,
        repo_type=repo_type,
        revision=revision,
        commit_message=commit_message,
        ignore_patterns=list(LEFTOVERS),
    )


def prepare_folder(
    folder: Path, repo_id: str, license: str | None = None, codec_revision: str | None = None
) -> list[Path]:
    """Enter what is only known when a folder is published: licence, repository, and whether there are ONNX files.

    Returns:
        `list[Path]`: The files that an upload would take.
    """
    file = folder / CARD
    if file.is_file():
        card = ModelCard.load(file)
        if license is not None:
            card.data["license"] = license
            card.text = card.text.replace(NO_LICENSE, license)
        card.text = card.text.replace(REPOSITORY, repo_id)
        if (folder / ONNX_FOLDER / ONNX_CLASSIFIER).is_file() and "onnxruntime" not in card.text:
            config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            card.text += "\n" + onnx_section(config.get("problem_type") == "multi_label_classification")
        card.save(file)
    settings_file = folder / PREPROCESSOR_CONFIG
    if codec_revision is not None and settings_file.is_file():
        settings = json.loads(settings_file.read_text(encoding="utf-8"))
        settings["codec_revision"] = codec_revision
        settings_file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return files_to_upload(folder)
