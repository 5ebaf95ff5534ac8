"""Clients of the test Hub: scripts in processes of their own, each with a cache of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import audioformer

from .server import HubServer

# Put in front of a script, it makes the installed package invisible.
WITHOUT_THE_PACKAGE = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "audioformer":
            raise ImportError(f"{name} is not installed here")

sys.meta_path.insert(0, Blocker())
"""


def start_client(
    script: str, *arguments: str, server: HubServer, home: Path, token: str | None = None
) -> subprocess.Popen:
    """Start a Python script whose Hub is the test server.

    Args:
        script (`str`): Its source; `arguments` are in `sys.argv[1:]`.
        home (`Path`): `HF_HOME`, with the caches of downloads and code; made if missing, and the working folder.
        token (`str`, *optional*): The token that the user is logged in with.
    """
    home.mkdir(parents=True, exist_ok=True)
    dropped = ("HF_", "HUGGING", "TRANSFORMERS_", "PYTHONPATH", "PYTEST_")
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(dropped)}
    environment |= {
        "HF_ENDPOINT": server.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1",
        # The package that is being tested, even where another checkout of it is installed.
        "PYTHONPATH": str(Path(audioformer.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
    }
    if token is not None:
        environment["HF_TOKEN"] = token
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_client(script: str, *arguments: str, timeout_s: float = 200, **options: Any) -> subprocess.CompletedProcess:
    """`start_client`, waited for."""
    process = start_client(script, *arguments, **options)
    try:
        output, errors = process.communicate(timeout=timeout_s)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def ask_client(script: str, *arguments: str, **options: Any) -> Any:
    """What a script that must succeed prints as its last line, in JSON."""
    finished = run_client(script, *arguments, **options)
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout.splitlines()[-1])
