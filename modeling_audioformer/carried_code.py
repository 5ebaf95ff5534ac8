"""Saved folders that carry the code of all classes of a model family.

Model folders share this file by a link: what travels to the Hub can import only its siblings.
"""

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from transformers import PreTrainedConfig


def carry_code(
    config: PreTrainedConfig, save_directory: str | os.PathLike, auto_map: Mapping[str, str], files: Iterable[str]
) -> None:
    """
    Copy the code of a family into a saved folder, and name all its classes in the `auto_map` of the configuration.

    By default `save_pretrained` names only the class that is saved, and a folder that one class of a family has saved
    could not be loaded by another with `trust_remote_code=True`.

    Args:
        config ([`~transformers.PreTrainedConfig`]):
            The configuration that is being saved. Its `auto_map` is set.
        save_directory (`str` or `os.PathLike`):
            The folder, created if necessary.
        auto_map (mapping):
            `"file.Class"` by the name of the Auto class, for each class of the family.
        files (iterable of `str`):
            Names of the files beside this one that are copied: the code of these classes, and what it imports.
    """
    folder = Path(save_directory)
    folder.mkdir(parents=True, exist_ok=True)
    for name in files:
        # If only the configuration was downloaded, the other files are missing and cannot be copied.
        source = Path(__file__).with_name(name)
        if source.is_file() and source.parent.resolve() != folder.resolve():
            shutil.copyfile(source, folder / name)
    # A user's subclass has just written its own name and file, which are kept. Anything else is left over from
    # loading, such as "user/repository--modeling_audioformer.AudioFormerModel".
    wanted = {**auto_map, **(getattr(config, "auto_map", None) or {})}
    config.auto_map = {
        name: reference
        for name, default in auto_map.items()
        for reference in (default, wanted[name])
        if (folder / f"{reference.split('.')[0]}.py").is_file()
    }


class ConfigWithCode(PreTrainedConfig):
    """Base class of the configurations of model families, whose saved folders carry the code of all classes."""

    code_auto_map: ClassVar[Mapping[str, str]] = {}
    """`"file.Class"` by the name of the Auto class, for each class of the family."""
    code_files: ClassVar[Sequence[str]] = ()
    """Names of the files beside this one that are copied: the code of these classes, and what it imports."""

    def save_pretrained(self, save_directory: str | os.PathLike, push_to_hub: bool = False, **kwargs) -> None:
        """
        Save the configuration, the code of the model and an `auto_map` that names all classes.

        Args:
            save_directory (`str` or `os.PathLike`):
                The folder, created if necessary.
            push_to_hub (`bool`, *optional*, defaults to `False`):
                Whether to upload the saved files.
            kwargs (`dict`, *optional*):
                Passed to [`~transformers.PreTrainedConfig.save_pretrained`].
        """
        if self._auto_class is not None:
            carry_code(self, save_directory, self.code_auto_map, self.code_files)
        super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)


__all__ = ["ConfigWithCode", "carry_code"]
