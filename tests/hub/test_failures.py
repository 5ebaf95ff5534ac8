"""Pushing and loading when something goes wrong: a wrong token, a server in trouble, connections that are cut."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from audioformer.commands.push import save_code
from audioformer.model_cards import TINY_ESC10

from .client import ask_client, run_client
from .pushed_files import differing
from .server import TOKEN, HubServer

WEIGHTS = (TINY_ESC10 / "model.safetensors").read_bytes()

PUSH = """
import sys
from audioformer.cli import main

sys.exit(main(["push", *sys.argv[1:]]))
"""

# The client tries six times and waits 23 s in between: this one does not wait.
IMPATIENT = """
import types
import huggingface_hub.utils._http as http

http.time = types.SimpleNamespace(sleep=lambda seconds: None)
"""

# Only whole chunks are kept of a download that was cut; 10 MB, the client's own size, are more than the whole file.
DOWNLOAD = """
import json
import sys
import huggingface_hub
from huggingface_hub import hf_hub_download

huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 100_000
print(json.dumps(hf_hub_download(sys.argv[1], sys.argv[2])))
"""


@pytest.fixture
def hub():
    """A Hub of its own for each test, so that nothing has been uploaded yet."""
    with HubServer() as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory) -> Iterator[Path]:
    """A classifier with its code and a card, ready to be pushed: what the command uploads is the folder as it is."""
    folder = tmp_path_factory.mktemp("pushed") / "tiny"
    shutil.copytree(TINY_ESC10, folder, ignore=shutil.ignore_patterns("*.py", "__pycache__"))
    save_code(folder)
    FOLDERS.append(folder)
    yield folder
    FOLDERS.remove(folder)


FOLDERS: list[Path] = []


def push(hub: HubServer, home: Path, *, token: str | None = TOKEN, prelude: str = ""):
    flags = [str(FOLDERS[0]), "tester/tiny", "--own-numbers"]
    return run_client(prelude + PUSH, *flags, server=hub, home=home, token=token)


def check_pushed(hub: HubServer) -> None:
    """All of the folder came, byte by byte, in one commit after the first."""
    repository = hub.model("tester/tiny")
    (folder,) = FOLDERS
    local = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    pushed = {path: file.content for path, file in repository.head.files.items() if path != ".gitattributes"}
    assert differing(pushed, local) == []
    assert len(repository.commits) == 2


def check_nothing_pushed(hub: HubServer) -> None:
    repository = hub.model("tester/tiny")
    assert len(repository.commits) == 1 and set(repository.head.files) == {".gitattributes"}


@pytest.mark.parametrize(
    "token, reason",
    [("hf_wrong", "Invalid credentials in Authorization header"), (None, "Invalid username or password")],
)
def test_who_may_not_push_is_told_and_nothing_is_made(hub, tmp_path, token, reason):
    finished = push(hub, tmp_path, token=token)
    assert finished.returncode == 1
    error = finished.stderr[finished.stderr.index("The Hub refused 'tester/tiny'") :]
    assert "401" in error and reason in error and "Traceback" not in finished.stderr
    assert "hf_wrong" not in finished.stderr + finished.stdout
    assert hub.repositories == {} and hub.objects == {}


def test_a_server_in_trouble_is_asked_again(hub, tmp_path):
    hub.break_next("POST", "/preupload/", status=503)
    hub.break_next("PUT", "/", status=500, times=2)
    finished = push(hub, tmp_path)
    assert finished.returncode == 0, finished.stderr
    check_pushed(hub)
    for method, part, status in (("POST", "/preupload/", 503), ("PUT", "/", 500)):
        answers = [request.status for request in hub.requests if request.method == method and part in request.path]
        assert status in answers and answers[-1] == 200


def test_a_commit_that_failed_is_made_by_pushing_again(hub, tmp_path):
    """The client does not repeat a commit by itself, which might then be made twice; the weights stay uploaded."""
    hub.break_next("POST", "/commit/", status=503)
    finished = push(hub, tmp_path)
    assert finished.returncode == 1 and "503" in finished.stderr and "Traceback" not in finished.stderr
    check_nothing_pushed(hub)
    assert push(hub, tmp_path).returncode == 0
    check_pushed(hub)
    assert sum(request.method == "PUT" for request in hub.requests) == 2


def test_a_connection_cut_in_an_upload_is_made_up_for(hub, tmp_path):
    hub.break_next("PUT", "/", drop_after=1_000_000)
    assert push(hub, tmp_path).returncode == 0
    check_pushed(hub)
    assert any(request.method == "PUT" and request.status == 0 for request in hub.requests)


def test_an_upload_that_was_given_up_can_be_run_again(hub, tmp_path):
    # More often than the client tries for the two large files together.
    hub.break_next("PUT", "/", drop_after=1_000_000, times=50)
    finished = push(hub, tmp_path, prelude=IMPATIENT)
    assert finished.returncode == 1 and "Run the same command again" in finished.stderr
    assert "Traceback" not in finished.stderr
    check_nothing_pushed(hub)
    assert hub.objects == {}
    hub.repair()
    assert push(hub, tmp_path).returncode == 0
    check_pushed(hub)


def test_a_download_goes_on_where_it_was_cut(hub, tmp_path):
    assert push(hub, tmp_path / "push").returncode == 0
    hub.requests.clear()
    hub.break_next("HEAD", "/resolve/", status=502)
    hub.break_next("GET", "/[0-9a-f]{64}$", drop_after=1_000_000)
    path = ask_client(DOWNLOAD, "tester/tiny", "model.safetensors", server=hub, home=tmp_path / "load")
    assert Path(path).read_bytes() == WEIGHTS
    heads = [request.status for request in hub.requests if request.method == "HEAD"]
    assert heads == [502, 302]
    first, second = (request for request in hub.requests if request.method == "GET" and len(request.path) == 65)
    assert (first.status, first.range) == (0, None)
    assert (second.status, second.range) == (206, "bytes=1000000-")
