"""A hub on 127.0.0.1: the HTTP API that the genuine client speaks, with failures on order.

>>> with HubServer() as hub:
...     hub.add("someone/model", {"model-Q4_K_M.gguf": data}, large=("*.gguf",))
...     hub.faults.append(Fault("model-Q4_K_M.gguf", cut_after=1000))
...     os.environ["HF_ENDPOINT"] = hub.url

Large files are served, as the real hub does, from another origin, to which it redirects.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

_PIECE = 16384
_PAGE = 3
"""Entries of a file list in one answer, so that every list of a test needs several."""


@dataclass
class Fault:
    """What happens instead of an answer to requests whose path ends in `path`, `times` times."""

    path: str
    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    """Bytes of a body after which the connection is reset."""
    short_by: int | None = None
    """Bytes that a body lacks although it ends as if it were whole."""
    flip: bool = False
    """A wrong byte."""
    ignore_range: bool = False
    extra: bytes = b""
    silent: bool = False
    """The connection stays open and nothing is sent, until the hub is closed."""
    answer: bytes | Iterable[bytes] | None = None
    """What is sent as the whole body of a JSON answer or, with `status`, of that status."""
    times: int = 1
    method: str = "GET"


@dataclass
class Request:
    """One request that came in."""

    method: str
    origin: str
    path: str
    token: str | None
    range: str | None
    sent: int = 0
    """Bytes of the body that were sent."""


@dataclass
class Repository:
    """All revisions of a repository: commit -> path -> content."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    large: tuple[str, ...] = ()
    licence: str | None = "mit"
    gated: bool = False
    accepted: frozenset[str] = frozenset()
    """Tokens of those who accepted the licence."""


class HubServer:
    """Answers until closed. `requests` is everything that was asked, in order."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.faults: list[Fault] = []
        self.requests: list[Request] = []
        self.bytes_per_second: float | None = None
        self._lock = threading.Lock()
        self.closed = threading.Event()
        self._servers = [self._start("hub"), self._start("cdn")]
        self.url, self.cdn = (f"http://127.0.0.1:{server.server_address[1]}" for server in self._servers)

    def _start(self, origin: str) -> ThreadingHTTPServer:
        hub = self

        class Bound(_Handler):
            pass

        Bound.hub, Bound.origin = hub, origin
        server = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return server

    def __enter__(self) -> HubServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def add(
        self, repo: str, files: dict[str, bytes], *, large: tuple[str, ...] = ("*.gguf", "*.safetensors"),
        ref: str = "main", **about: Any,
    ) -> str:  # fmt: skip
        """Adds a commit and points `ref` at it. Returns the commit."""
        repository = self.repositories.setdefault(repo, Repository())
        repository.large = large
        for name, value in about.items():
            setattr(repository, name, value)
        commit = hashlib.sha1(f"{repo} {len(repository.commits)}".encode()).hexdigest()
        repository.commits[commit] = files
        repository.refs[ref] = commit
        return commit

    def bytes_sent(self, path: str = "") -> int:
        """Of bodies of files whose path ends in `path`."""
        return sum(one.sent for one in self.requests if one.path.endswith(path) and "/api/" not in one.path)

    def note(self, request: Request) -> None:
        with self._lock:
            self.requests.append(request)

    def fault(self, method: str, path: str, *, body: bool) -> Fault | None:
        """The next fault planned for this request, or for the body of its answer; it is used up."""
        with self._lock:
            for fault in self.faults:
                is_body = fault.status is None and fault.answer is None and not fault.silent
                fits = path.endswith(fault.path) and method == fault.method and body == is_body
                if fits and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: HubServer
    origin: str

    def log_message(self, *_: object) -> None:
        """Not on stderr."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        path = unquote(parts.path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        self.request_noted = Request(self.command, self.origin, path, token, self.headers.get("Range"))
        self.hub.note(self.request_noted)
        planned = self.hub.fault(self.command, path, body=False)
        if planned is not None and planned.silent:
            self.hub.closed.wait(60)
            self.close_connection = True
        elif planned is not None and planned.answer is not None:
            self._raw(planned)
        elif planned is not None and planned.status is not None:
            self._error(planned.status, **planned.headers)
        elif self.origin == "cdn":
            commit, _, name = path.removeprefix("/cdn/").partition("/")
            content = next(one.commits[commit] for one in self.hub.repositories.values() if commit in one.commits)
            self._body(content[name], {})
        else:
            self._hub(path, parse_qs(parts.query), token)

    def _hub(self, path: str, query: dict[str, list[str]], token: str | None) -> None:
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree|auth-check)(?:/([^/]+))?)?", path)
        resolve = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        match = api or resolve
        repository = self.hub.repositories.get(match[1]) if match else None
        if match is None or repository is None:
            self._error(404 if token else 401, **{"X-Error-Code": "RepoNotFound"})
        elif api and api[2] == "auth-check":
            allowed = not repository.gated or token in repository.accepted
            self._json({}) if allowed else self._gated(token)
        else:
            revision = (api[3] if api else match[2]) or "main"
            commit = repository.refs.get(revision, revision)
            if commit not in repository.commits:
                self._error(404, **{"X-Error-Code": "RevisionNotFound"})
            elif resolve:
                self._resolve(repository, commit, resolve[3], token)
            elif api and api[2] == "tree":
                self._tree(repository, commit, int(query.get("cursor", ["0"])[0]))
            else:
                self._info(match[1], repository, commit)

    def _info(self, repo: str, repository: Repository, commit: str) -> None:
        licence = repository.licence
        self._json({
            "_id": "1", "id": repo, "modelId": repo, "sha": commit, "private": False,
            "gated": "manual" if repository.gated else False, "tags": [f"license:{licence}"] if licence else [],
            "cardData": {"license": licence} if licence else {},
            "siblings": [{"rfilename": name} for name in repository.commits[commit]],
        })  # fmt: skip

    def _tree(self, repository: Repository, commit: str, start: int) -> None:
        files = sorted(repository.commits[commit].items())
        entries = []
        for name, content in files[start : start + _PAGE]:
            entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": git_sha1(content)}
            if _is_large(repository, name):
                entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 130}
            entries.append(entry)
        headers = {}
        if start + _PAGE < len(files):
            address = f"{self.hub.url}{urlsplit(self.path).path}?recursive=True&cursor={start + _PAGE}"
            headers["Link"] = f'<{address}>; rel="next"'
        self._json(entries, headers)

    def _resolve(self, repository: Repository, commit: str, name: str, token: str | None) -> None:
        content = repository.commits[commit].get(name)
        if content is None:
            self._error(404, **{"X-Error-Code": "EntryNotFound"})
        elif repository.gated and token not in repository.accepted:
            self._gated(token)
        elif _is_large(repository, name):
            digest = hashlib.sha256(content).hexdigest()
            self.send_response(302)
            self.send_header("Location", f"{self.hub.cdn}/cdn/{commit}/{name}")
            self.send_header("X-Repo-Commit", commit)
            self.send_header("X-Linked-Etag", f'"{digest}"')
            self.send_header("X-Linked-Size", str(len(content)))
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self._body(content, {"X-Repo-Commit": commit, "ETag": f'"{git_sha1(content)}"'})

    def _body(self, content: bytes, headers: dict[str, str]) -> None:
        fault = self.hub.fault(self.command, self.request_noted.path, body=True) or Fault("")
        begin = 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        if asked and not fault.ignore_range:
            begin = int(asked[1])
            if begin >= len(content):
                return self._error(416)
            headers = {**headers, "Content-Range": f"bytes {begin}-{len(content) - 1}/{len(content)}"}
        body = content[begin:] + fault.extra
        if fault.flip:
            body = bytes([body[0] ^ 1]) + body[1:]
        self.send_response(206 if "Content-Range" in headers else 200)
        for name, value in headers.items():
            self.send_header(name, value)
        if fault.short_by is None:
            self.send_header("Content-Length", str(len(body)))
        else:  # its end is the end of the connection, so the client cannot tell that bytes are missing
            body = body[: -fault.short_by]
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        return self._send(body if fault.cut_after is None else body[: fault.cut_after], cut=fault.cut_after is not None)

    def _send(self, body: bytes, *, cut: bool) -> None:
        if self.command == "HEAD":
            return
        if self.hub.bytes_per_second:  # little lies in the connection, also before a client that is kept waiting
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIECE)
        try:
            for start in range(0, len(body), _PIECE):
                piece = body[start : start + _PIECE]
                self.wfile.write(piece)
                self.request_noted.sent += len(piece)
                if self.hub.bytes_per_second:
                    time.sleep(len(piece) / self.hub.bytes_per_second)
            self.wfile.flush()
        except OSError:  # the client has gone
            self.close_connection = True
        if cut:
            self.close_connection = True
            self.connection.close()

    def _raw(self, fault: Fault) -> None:
        """What the fault says, as far as the client wants it; its end is that of the connection."""
        self.send_response(fault.status or 200)
        for name, value in {"Content-Type": "application/json", "Connection": "close", **fault.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        try:
            for piece in [fault.answer] if isinstance(fault.answer, bytes) else fault.answer or ():
                self.wfile.write(piece)
                self.request_noted.sent += len(piece)
        except OSError:  # the client has gone
            return

    def _gated(self, token: str | None) -> None:
        self._error(403 if token else 401, **{"X-Error-Code": "GatedRepo"})

    def _json(self, value: object, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-HF-Warning", "unauthenticated; please log in")
        self.send_header("Content-Length", str(len(body)))
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def _error(self, status: int, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        for name, text in headers.items():
            self.send_header(name, text)
        self.end_headers()


def git_sha1(content: bytes) -> str:
    """The name git gives a file of this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _is_large(repository: Repository, name: str) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in repository.large)
