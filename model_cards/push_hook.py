"""Lets classes of transformers that this package defines push with the checks of `audioformer push`.

Importing this module is cheap: what uploads is imported by the first upload.
"""

import functools
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

from huggingface_hub import CommitInfo

_MARK = "_checks_before_upload"


def install(cls: type) -> None:
    """Let instances of a class be pushed with checks, by `push_to_hub` and by `save_pretrained(push_to_hub=True)`.

    The classes travel to the Hub, where this package need not be installed: there they keep what transformers does.

    Args:
        cls (`type`): A class with transformers' `PushToHubMixin`.
    """
    original: Any = cls.push_to_hub  # type: ignore[attr-defined]
    if getattr(original, _MARK, False):
        return

    @functools.wraps(original)
    def push_to_hub(
        self: Any,
        repo_id: str,
        *,
        commit_message: str | None = None,
        commit_description: str | None = None,
        private: bool | None = None,
        token: bool | str | None = None,
        revision: str | None = None,
        create_pr: bool = False,
        max_shard_size: int | str | None = "50GB",
        tags: list[str] | str | None = None,
        license: str | None = None,
    ) -> CommitInfo:
        own = getattr(self, "model_tags", None) or []
        given = [tags] if isinstance(tags, str) else tags or []
        from .push_saved import push_saved

        with TemporaryDirectory() as temporary:
            self.save_pretrained(temporary, max_shard_size=max_shard_size)
            return push_saved(
                Path(temporary),
                repo_id,
                license=license,
                tags=[*own, *given],
                token=token,
                revision=revision,
                private=private,
                create_pr=create_pr,
                commit_message=commit_message or _message(self),
                commit_description=commit_description,
            )

    def upload_modified_files(
        self: Any,
        working_dir: str,
        repo_id: str,
        files_timestamps: dict[str, float],
        commit_message: str | None = None,
        token: bool | str | None = None,
        create_pr: bool = False,
        revision: str | None = None,
        commit_description: str | None = None,
    ) -> CommitInfo:
        from .contents import read_contents
        from .push import refuse
        from .push_saved import push_saved

        source = Path(working_dir)
        contents = read_contents(source)
        refuse(source, contents.findings)
        with TemporaryDirectory() as temporary:
            # A copy, because the card of the repository is put beside the files.
            for path in contents.files:
                target = Path(temporary) / path.relative_to(source)
                target.parent.mkdir(parents=True, exist_ok=True)
                copyfile(path, target)
            return push_saved(
                Path(temporary),
                repo_id,
                token=token,
                revision=revision,
                create_pr=create_pr,
                commit_message=commit_message or _message(self),
                commit_description=commit_description,
            )

    push_to_hub.__doc__ = f"{original.__doc__ or ''}\n\n{_NOTE}"
    setattr(push_to_hub, _MARK, True)
    # Private in transformers: there is no public hook below `save_pretrained(push_to_hub=True)`.
    for name, method in (("push_to_hub", push_to_hub), ("_upload_modified_files", upload_modified_files)):
        setattr(cls, name, method)


_NOTE = """With the package audioformer, everything is checked as by `audioformer push` before the one commit is
made, and `license` (an identifier of the Hub) is needed unless the card of the repository states one."""


def _message(pushed: Any) -> str:
    return f"Upload {type(pushed).__name__} with audioformer"
