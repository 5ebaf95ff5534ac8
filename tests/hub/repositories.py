"""What the test Hub keeps: repositories with commits and branches, in memory."""

import hashlib
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field


def git_blob_id(content: bytes) -> str:
    """The name that git gives to a file: SHA-1 of its length and bytes, 40 hexadecimal digits."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass(frozen=True)
class StoredFile:
    """A file of a commit: in git itself, or (`is_large`) behind a pointer of Git LFS."""

    content: bytes
    is_large: bool
    sha256: str = field(init=False)
    blob_id: str = field(init=False)

    def __post_init__(self) -> None:
        sha256 = hashlib.sha256(self.content).hexdigest()
        object.__setattr__(self, "sha256", sha256)
        object.__setattr__(self, "blob_id", git_blob_id(self.pointer(sha256) if self.is_large else self.content))

    def pointer(self, sha256: str) -> bytes:
        """The text that git holds in place of a large file."""
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {len(self.content)}\n"
        return text.encode()

    @property
    def etag(self) -> str:
        """What tells one content from another in the client's cache."""
        return self.sha256 if self.is_large else self.blob_id


@dataclass(frozen=True)
class Commit:
    """All files at one moment."""

    sha: str
    parent: str | None
    title: str
    files: Mapping[str, StoredFile]


class Repository:
    """Commits and branches of one repository.

    Args:
        repo_type (`str`): "models", "datasets" or "spaces", as in the addresses.
        repo_id (`str`): "owner/name".
        private (`bool`): Whether only those who send a token may see it.
    """

    def __init__(self, repo_type: str, repo_id: str, private: bool):
        self.repo_type = repo_type
        self.repo_id = repo_id
        self.private = private
        self.commits: dict[str, Commit] = {}
        self.branches: dict[str, str] = {}
        self._lock = threading.Lock()
        # The Hub begins every repository with such a commit, too.
        self.commit("main", "initial commit", {".gitattributes": StoredFile(b"* -text\n", is_large=False)}, set())

    def find(self, revision: str) -> Commit | None:
        """The commit of a branch or of a full sha, `None` if there is neither."""
        return self.commits.get(self.branches.get(revision, revision))

    @property
    def head(self) -> Commit:
        """The last commit of the branch `main`."""
        return self.commits[self.branches["main"]]

    def commit(self, branch: str, title: str, added: Mapping[str, StoredFile], removed: set[str]) -> Commit:
        """Put files onto a branch and take others away; either all of it happens or nothing."""
        with self._lock:
            parent = self.find(branch)
            kept = {} if parent is None else {path: file for path, file in parent.files.items() if path not in removed}
            files = dict(sorted({**kept, **added}.items()))
            lines = [
                str(len(self.commits)),
                self.repo_id,
                title,
                *(f"{path} {file.etag}" for path, file in files.items()),
            ]
            sha = hashlib.sha1("\n".join(lines).encode()).hexdigest()
            self.commits[sha] = Commit(sha, parent and parent.sha, title, files)
            self.branches[branch] = sha
            return self.commits[sha]
