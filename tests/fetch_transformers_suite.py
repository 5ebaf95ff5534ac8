"""Fetches the common model tests of the installed transformers, which its wheel leaves out, into the environment.

Run as `python -m tests.fetch_transformers_suite`; `make test` does so. Nothing happens if they are already there.
"""

import importlib.metadata
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path


def suite_folder() -> Path:
    """Where the tests of the installed version belong: a folder of the virtual environment, outside the repository."""
    return Path(sys.prefix) / "transformers-tests" / importlib.metadata.version("transformers")


def fetch() -> Path:
    """Download the source distribution of the installed version and keep only its `tests/`.

    Returns:
        `Path`: the folder that holds `tests/`.

    Raises:
        `subprocess.CalledProcessError`: pip could not download the source distribution.
    """
    folder = suite_folder()
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as work:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        # Without build isolation pip reads the metadata with the setuptools at hand instead of installing another.
        source_only = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation"]
        subprocess.run([*pip, *source_only, "--dest", work, f"transformers=={folder.name}"], check=True)
        (archive,) = Path(work).glob("*.tar.gz")
        unpacked = Path(work) / "unpacked"
        with tarfile.open(archive) as source:
            for member in source:
                root, _, name = member.name.partition("/")
                if root and name.startswith("tests/"):
                    member.name = name
                    source.extract(member, unpacked, filter="data")
        # The source distribution leaves this file out as well; the configuration tests open it.
        (unpacked / "tests" / "__init__.py").touch()
        # The rename comes last, so a folder of this name is complete.
        unpacked.rename(folder)
    return folder


if __name__ == "__main__":
    fetch()
