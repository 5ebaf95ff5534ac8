"""A Hub for tests: the part of the REST protocol of huggingface.co that `huggingface_hub` uses, on this machine.

Two servers on free ports, as two hosts of the real one: the Hub itself, and the storage of large files, to which
uploads and downloads are sent with addresses that need no token. Nothing is written to disk. Xet is not spoken:
clients need `HF_HUB_DISABLE_XET=1`.
"""

import base64
import json
import re
import threading
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from .handlers import Fault, Handler, HttpError, Request, StorageHandler
from .repositories import Commit, Repository, StoredFile

TOKEN = "hf_tokenofthetests"
USER = "tester"
# A larger file has to go to the storage, whatever it holds; the Hub has the same limit.
MAX_REGULAR_SIZE = 10 * 1024**2

_API = r"/api/(?P<type>models|datasets|spaces)/(?P<id>[^/]+/[^/]+)"
_PAGE = r"/(?:(?P<type>datasets|spaces)/)?(?P<id>[^/]+/[^/]+)"
_REVISION = r"(?P<revision>[^/]+)"


class HubServer:
    """The Hub and its storage, running in threads of this process from `__enter__` to `__exit__`.

    Attributes:
        url (`str`): What `HF_ENDPOINT` has to be.
        repositories (`dict`): `("models", "owner/name")` to the repository.
        objects (`dict[str, bytes]`): Large files by their SHA-256, committed or not.
        requests (`list[Request]`): What came in, in the order of the answers.
    """

    def __init__(self) -> None:
        self.repositories: dict[tuple[str, str], Repository] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[Request] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._servers = [self._listen(HubHandler), self._listen(StorageHandler)]
        self.url, self.storage_url = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)

    def _listen(self, handler: type["Handler"]) -> ThreadingHTTPServer:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type(handler.__name__, (handler,), {"hub": self}))
        server.daemon_threads = True
        return server

    def __enter__(self) -> "HubServer":
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def model(self, repo_id: str) -> Repository:
        """The repository of a model that was pushed."""
        return self.repositories["models", repo_id]

    def break_next(
        self, method: str, pattern: str, *, status: int | None = None, drop_after: int | None = None, times: int = 1
    ) -> None:
        """Let the next `times` requests fail whose method fits and in whose path `pattern` (a regex) is found.

        Args:
            status (`int`, *optional*): Answer with this status.
            drop_after (`int`, *optional*): Cut the connection after so many bytes of the body, received or sent.
        """
        self._faults.append(Fault(method, pattern, times, status, drop_after))

    def repair(self) -> None:
        """Nothing goes wrong from now on."""
        self._faults.clear()

    def take_fault(self, method: str, path: str) -> Fault | None:
        """The fault that this request has to play, if any; it is counted down."""
        with self._lock:
            for fault in self._faults:
                if fault.times and fault.method == method and re.search(fault.pattern, path):
                    fault.times -= 1
                    return fault
        return None


class HubHandler(Handler):
    """The Hub's own addresses."""

    routes = (
        ("GET", r"/api/whoami-v2", "whoami"),
        ("POST", r"/api/repos/create", "create"),
        ("POST", r"/api/validate-yaml", "validate_card"),
        ("POST", rf"{_API}/branch/{_REVISION}", "create_branch"),
        ("POST", rf"{_API}/preupload/{_REVISION}", "preupload"),
        ("POST", rf"{_API}/commit/{_REVISION}", "commit"),
        ("POST", rf"{_API}/paths-info/{_REVISION}", "paths_info"),
        ("GET", rf"{_API}/tree/{_REVISION}(?:/(?P<folder>.+))?", "tree"),
        ("GET", rf"{_API}(?:/revision/{_REVISION})?", "info"),
        ("POST", rf"{_PAGE}\.git/info/lfs/objects/batch", "lfs_batch"),
        ("POST", rf"{_PAGE}\.git/info/lfs/objects/verify", "lfs_verify"),
        ("GET|HEAD", rf"{_PAGE}/resolve/{_REVISION}/(?P<path>.+)", "resolve"),
    )

    def dispatch(self) -> None:
        # The Hub refuses a wrong token even where none would be needed.
        if self.token not in (None, TOKEN):
            raise HttpError(401, "Invalid credentials in Authorization header")
        super().dispatch()

    def check_may_write(self) -> None:
        if self.token is None:
            raise HttpError(401, "Invalid username or password.")

    def page(self, repo_type: str, repo_id: str) -> str:
        """Address of a repository for people and for git."""
        return "/".join([self.hub.url, *([] if repo_type == "models" else [repo_type]), repo_id])

    def find(self, repo_type: str | None, repo_id: str) -> Repository:
        repository = self.hub.repositories.get((repo_type or "models", repo_id))
        if repository is None or (repository.private and self.token is None):
            # Who may not see a repository is not told whether it exists.
            raise HttpError(401 if self.token is None else 404, "Repository not found", "RepoNotFound")
        return repository

    def find_commit(self, repository: Repository, revision: str | None) -> Commit:
        commit = repository.find(revision or "main")
        if commit is None:
            raise HttpError(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return commit

    def whoami(self) -> None:
        self.check_may_write()
        self.reply(200, {"type": "user", "name": USER, "fullname": USER, "orgs": [], "auth": {"type": "access_token"}})

    def create(self) -> None:
        self.check_may_write()
        wanted = self.json_body()
        repo_type = wanted.get("type", "model") + "s"
        repo_id = f"{wanted.get('organization') or USER}/{wanted['name']}"
        url = self.page(repo_type, repo_id)
        if (repo_type, repo_id) in self.hub.repositories:
            return self.reply(409, {"error": "You already created this repo", "url": url})
        private = wanted.get("visibility") == "private"
        self.hub.repositories[repo_type, repo_id] = Repository(repo_type, repo_id, private)
        return self.reply(200, {"url": url, "name": repo_id})

    def validate_card(self) -> None:
        front = re.match(r"---\n(.*?)\n---", self.json_body()["content"], re.DOTALL)
        try:
            metadata = yaml.safe_load(front[1]) if front else {}
        except yaml.YAMLError as error:
            metadata = str(error)
        if not isinstance(metadata, dict):
            error = {"message": f"The metadata are no mapping: {metadata}"}
            return self.reply(400, {"errors": [error], "warnings": []})
        return self.reply(200, {"errors": [], "warnings": []})

    def create_branch(self, type: str, id: str, revision: str) -> None:
        self.check_may_write()
        repository = self.find(type, id)
        if revision in repository.branches:
            raise HttpError(409, "Reference already exists")
        repository.branches[revision] = self.find_commit(repository, self.json_body().get("startingPoint")).sha
        self.reply(200, {})

    def preupload(self, type: str, id: str, revision: str) -> None:
        self.check_may_write()
        known = self.find_commit(self.find(type, id), revision).files
        files = []
        for file in self.json_body()["files"]:
            # As git does, a zero byte at the beginning is taken to make a file binary.
            is_large = b"\0" in base64.b64decode(file["sample"]) or file["size"] > MAX_REGULAR_SIZE
            entry = {"path": file["path"], "uploadMode": "lfs" if is_large else "regular", "shouldIgnore": False}
            if file["path"] in known:
                entry["oid"] = known[file["path"]].etag
            files.append(entry)
        self.reply(200, {"files": files})

    def lfs_batch(self, type: str | None, id: str) -> None:
        self.check_may_write()
        repository = self.find(type, id)
        objects = []
        for entry in self.json_body()["objects"]:
            answer = {"oid": entry["oid"], "size": entry["size"]}
            if entry["oid"] not in self.hub.objects:
                answer["actions"] = {
                    "upload": {"href": f"{self.hub.storage_url}/{entry['oid']}"},
                    "verify": {"href": f"{self.page(repository.repo_type, id)}.git/info/lfs/objects/verify"},
                }
            objects.append(answer)
        self.reply(200, {"transfer": "basic", "objects": objects})

    def lfs_verify(self, type: str | None, id: str) -> None:
        wanted = self.json_body()
        if len(self.hub.objects.get(wanted["oid"], b"")) != wanted["size"]:
            raise HttpError(404, "The object was not uploaded, or not all of it.")
        self.reply(200, {})

    def commit(self, type: str, id: str, revision: str) -> None:
        self.check_may_write()
        repository = self.find(type, id)
        parent = self.find_commit(repository, revision)
        title, added, removed = "", {}, set()
        for line in self.body.splitlines():
            operation = json.loads(line)
            key, value = operation["key"], operation["value"]
            if key == "header":
                title = value["summary"]
            elif key == "file":
                added[value["path"]] = StoredFile(base64.b64decode(value["content"]), is_large=False)
            elif key == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    raise HttpError(400, f"{value['path']}: the object {value['oid']} was never uploaded.")
                added[value["path"]] = StoredFile(self.hub.objects[value["oid"]], is_large=True)
            elif key == "deletedFile":
                removed.add(value["path"])
            elif key == "deletedFolder":
                removed |= {path for path in parent.files if path.startswith(value["path"].rstrip("/") + "/")}
            else:
                raise HttpError(400, f"The test Hub knows no operation {key!r}.")
        sha = repository.commit(revision, title, added, removed).sha
        self.reply(200, {"success": True, "commitOid": sha, "commitUrl": f"{self.page(type, id)}/commit/{sha}"})

    def info(self, type: str, id: str, revision: str | None) -> None:
        repository = self.find(type, id)
        commit = self.find_commit(repository, revision)
        facts = {"id": id, "sha": commit.sha, "private": repository.private, "tags": [], "downloads": 0, "likes": 0}
        self.reply(200, {**facts, "siblings": [{"rfilename": path} for path in commit.files]})

    def tree(self, type: str, id: str, revision: str, folder: str | None) -> None:
        commit = self.find_commit(self.find(type, id), revision)
        recursive = parse_qs(urlsplit(self.path).query).get("recursive", ["false"])[0].lower() == "true"
        prefix = f"{folder}/" if folder else ""
        entries: dict[str, dict[str, Any]] = {}
        for path in commit.files:
            if not path.startswith(prefix):
                continue
            parts = path.removeprefix(prefix).split("/")
            for depth in range(1, len(parts) if recursive else 2):
                name = prefix + "/".join(parts[:depth])
                if name != path:
                    entries[name] = {"type": "directory", "path": name, "oid": commit.sha, "size": 0}
            if recursive or len(parts) == 1:
                entries[path] = describe(path, commit.files[path])
        if folder and not entries:
            raise HttpError(404, f"{folder} does not exist on {revision!r}", "EntryNotFound", commit)
        self.reply(200, list(entries.values()))

    def paths_info(self, type: str, id: str, revision: str) -> None:
        commit = self.find_commit(self.find(type, id), revision)
        found = []
        for path in parse_qs(self.body.decode()).get("paths", []):
            if path in commit.files:
                found.append(describe(path, commit.files[path]))
            elif any(name.startswith(f"{path}/") for name in commit.files):
                found.append({"type": "directory", "path": path, "oid": commit.sha, "size": 0})
        self.reply(200, found)

    def resolve(self, type: str | None, id: str, revision: str, path: str) -> None:
        commit = self.find_commit(self.find(type, id), revision)
        if path not in commit.files:
            raise HttpError(404, "Entry not found", "EntryNotFound", commit)
        file = commit.files[path]
        headers = {"X-Repo-Commit": commit.sha, "ETag": f'"{file.etag}"'}
        if not file.is_large:
            return self.reply_file(file.content, headers)
        linked = {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(len(file.content))}
        location = {"Location": f"{self.hub.storage_url}/{file.sha256}"}
        return self.reply(302, b"", {**headers, **linked, **location})


def describe(path: str, file: StoredFile) -> dict[str, Any]:
    """A file in a listing."""
    entry = {"type": "file", "path": path, "oid": file.blob_id, "size": len(file.content)}
    if file.is_large:
        pointer_size = len(file.pointer(file.sha256))
        entry["lfs"] = {"oid": file.sha256, "size": len(file.content), "pointerSize": pointer_size}
    return entry
