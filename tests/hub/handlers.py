"""What both servers of the test Hub do with a request: routing, bodies, ranges, errors, and faults on purpose."""

import hashlib
import json
import re
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from .repositories import Commit

if TYPE_CHECKING:
    from .server import HubServer


@dataclass
class Fault:
    """Something to go wrong the next `times` times that a request fits: `status`, or a connection that is cut."""

    method: str
    pattern: str
    times: int
    status: int | None
    drop_after: int | None


@dataclass(frozen=True)
class Request:
    """One request as it came in, and the status that it was answered with (0: the connection was cut)."""

    method: str
    path: str
    token: str | None
    range: str | None
    status: int


class HttpError(Exception):
    """Ends a request with a status, and with the headers by which the client tells what is missing."""

    def __init__(self, status: int, message: str, code: str | None = None, commit: Commit | None = None):
        super().__init__(message)
        self.status = status
        self.headers = {"X-Error-Message": message}
        if code is not None:
            self.headers["X-Error-Code"] = code
        if commit is not None:
            self.headers["X-Repo-Commit"] = commit.sha


class ConnectionCutError(Exception):
    """The fault to be played: the rest of a body is neither read nor sent."""


class Handler(BaseHTTPRequestHandler):
    """Routing, bodies, ranges, faults and errors of both servers."""

    protocol_version = "HTTP/1.1"
    hub: "HubServer"
    routes: tuple[tuple[str, str, str], ...]

    def answer(self) -> None:
        """Read the request, find the method for it, and turn errors into answers."""
        self.path_only = urlsplit(self.path).path
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.fault = self.hub.take_fault(self.command, self.path_only)
        try:
            self.body = self.read_body()
            if self.fault is not None and self.fault.status is not None:
                raise HttpError(self.fault.status, "Something went wrong on purpose.")
            self.dispatch()
        except ConnectionCutError:
            self.record(0)
            self.close_connection = True
        except HttpError as error:
            self.reply(error.status, {"error": str(error)}, error.headers)

    do_GET = do_HEAD = do_POST = do_PUT = answer

    def dispatch(self) -> None:
        for method, pattern, name in self.routes:
            match = re.fullmatch(pattern, self.path_only)
            if match and self.command in method.split("|"):
                parts = {key: value and unquote(value) for key, value in match.groupdict().items()}
                return getattr(self, name)(**parts)
        raise HttpError(404, f"The test Hub has nothing at {self.command} {self.path_only}.")

    def read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            raise HttpError(411, "The test Hub takes bodies of a known length only.")
        length = int(self.headers.get("Content-Length", 0))
        if self.fault is None or self.fault.drop_after is None or not length:
            return self.rfile.read(length)
        self.rfile.read(min(length, self.fault.drop_after))
        raise ConnectionCutError

    def json_body(self) -> dict[str, Any]:
        return json.loads(self.body)

    def reply(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        """Send JSON, or bytes as they are."""
        is_file = isinstance(body, bytes)
        content = body if is_file else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/octet-stream" if is_file else "application/json")
        self.send_header("Content-Length", str(len(content)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.fault is not None and self.fault.drop_after is not None:
            self.wfile.write(content[: self.fault.drop_after])
            raise ConnectionCutError
        self.record(status)
        if self.command != "HEAD":
            self.wfile.write(content)

    def reply_file(self, content: bytes, headers: dict[str, str]) -> None:
        """Send a file, or the range of it that was asked for."""
        headers = {**headers, "Accept-Ranges": "bytes"}
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if not match or match.groups() == ("", ""):
            return self.reply(200, content, headers)
        first, last = match.groups()
        start = int(first) if first else max(0, len(content) - int(last))
        stop = min(int(last) + 1, len(content)) if first and last else len(content)
        if start >= stop:
            return self.reply(416, b"", {"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return self.reply(206, content[start:stop], headers)

    def record(self, status: int) -> None:
        request = Request(self.command, self.path_only, self.token, self.headers.get("Range"), status)
        self.hub.requests.append(request)

    def log_message(self, format: str, *arguments: object) -> None:
        """Tests read `HubServer.requests`; nothing is printed."""


class StorageHandler(Handler):
    """Large files by their SHA-256."""

    routes = (("PUT", r"/(?P<sha256>[0-9a-f]{64})", "upload"), ("GET|HEAD", r"/(?P<sha256>[0-9a-f]{64})", "download"))

    def upload(self, sha256: str) -> None:
        if hashlib.sha256(self.body).hexdigest() != sha256:
            raise HttpError(400, "The content does not have the promised SHA-256.")
        self.hub.objects[sha256] = self.body
        self.reply(200, b"")

    def download(self, sha256: str) -> None:
        self.reply_file(self.hub.objects[sha256], {"ETag": f'"{sha256}"'})
