"""The Hugging Face hub: what a repository holds, and one file's bytes.

>>> hub = Hub()
>>> snapshot = hub.snapshot("someone/Pilot-3B-GGUF", revision="main")
>>> snapshot.revision, snapshot.licence, [file.path for file in snapshot.files]

The client's own download is not used: it begins a file anew after each interruption, also with its faster transport
(xet). Nothing of an answer is believed: what becomes a path, a number or a part of
a message is checked here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any, Literal, TypeVar
from urllib.parse import quote

from edge_wsd.errors import HubError
from edge_wsd.models.store.background import POLL_S, in_background
from edge_wsd.models.store.hub_client import HubClient
from edge_wsd.models.store.hub_environment import printable
from edge_wsd.models.store.hub_errors import CLIENT_ERRORS, RetryPolicy, UnexpectedAnswer, explain, wait_before_retry
from edge_wsd.models.store.manifest import is_safe_path

T = TypeVar("T")
_MOST_PAGES = 1000
_MOST_FILES = 100_000
_LARGEST_FILE = 1 << 50
_MOST_PARAMETERS = 1 << 50
_LONGEST_LICENCE = 200
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
DEFAULT_REVISION = "main"

WaitReason = Literal["look up", "wait"]
"""For an answer, or for the next try."""
OnWait = Callable[[WaitReason, str], None]
"""Called ten times a second while the hub is waited for, with for how long or why; may raise to give up."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository at one commit. `sha256` is known of large files, `git_sha1` of the others."""

    path: str
    n_bytes: int
    sha256: str | None
    git_sha1: str | None


@dataclass(frozen=True)
class Snapshot:
    """A repository at one commit."""

    repo: str
    revision: str
    """The commit."""
    licence: str | None
    files: tuple[RemoteFile, ...]
    n_parameters: int | None
    """Of its safetensors weights, where the hub knows."""
    weight_types: tuple[str, ...] = ()
    """What they are stored in, where the hub knows."""


class Hub:
    """Access for one user. `token` None: from HF_TOKEN or `hf auth login`; `endpoint` None: from HF_ENDPOINT."""

    def __init__(
        self, *, token: str | None = None, endpoint: str | None = None, retries: RetryPolicy | None = None
    ) -> None:
        """Raises HubError for an endpoint that is no address."""
        self.retries = retries or RetryPolicy()
        self._client = HubClient(endpoint, token, self.retries.silence_s)
        self.endpoint = self._client.endpoint

    def snapshot(self, repo: str, revision: str | None = None, *, tick: OnWait) -> Snapshot:
        """What `repo` holds at a branch, tag or commit. Raises HubError with one line.

        Asks before anything large is fetched whether the user may have it.
        """
        revision = revision or DEFAULT_REVISION
        try:
            address = f"/api/models/{repo}/revision/{quote(revision, safe='')}"
            info, _ = self._ask(partial(self._client.json, address), tick)
            about = _object(info)
            if about.get("gated"):
                self._ask(partial(self._client.check_access, repo), tick)
            commit = _commit(about)
            files = self._files(repo, commit, tick)
            name, (n_parameters, types) = _same_name(about, repo), _weights(about)
            return Snapshot(name, commit, _licence(about), files, n_parameters, types)
        except CLIENT_ERRORS as error:
            raise self.error(error, repo, revision) from error

    def open(
        self, snapshot: Snapshot, file: RemoteFile, offset: int
    ) -> AbstractContextManager[tuple[int, Iterator[bytes]]]:
        """The bytes of a file from `offset` on; see `HubClient.file`. Raises CLIENT_ERRORS, HubError."""
        return self._client.file(snapshot.repo, snapshot.revision, file.path, offset)

    def error(self, error: Exception, repo: str, revision: str) -> HubError:
        """The client's error as one line that says what to do."""
        return explain(error, endpoint=self.endpoint, repo=repo, revision=revision)

    def _files(self, repo: str, commit: str, tick: OnWait) -> tuple[RemoteFile, ...]:
        """All files of a commit."""
        files: dict[str, RemoteFile] = {}
        query: str | None = "recursive=true"
        for _ in range(_MOST_PAGES):
            page, query = self._ask(partial(self._client.json, f"/api/models/{repo}/tree/{commit}?{query}"), tick)
            for file in _page_of_files(page):
                if file.path in files:
                    raise UnexpectedAnswer(f"it lists {printable(file.path)!r} twice")
                files[file.path] = file
            if query is None:
                _require_tree(files)
                return tuple(files.values())
            if len(files) > _MOST_FILES:
                raise UnexpectedAnswer(f"it lists more than {_MOST_FILES} files")
        raise UnexpectedAnswer(f"its list of files has more than {_MOST_PAGES} pages")

    def _ask(self, ask: Callable[[], T], tick: OnWait) -> T:
        """The answer, asked for again where that helps. Whoever waits can give up at any time."""
        attempt, began = 0, time.monotonic()

        def waiting() -> None:
            seconds = time.monotonic() - began
            tick("look up", "" if seconds < 1 else f"{seconds:.0f} s")

        while True:
            try:
                return in_background(ask, waiting)
            except CLIENT_ERRORS as error:
                attempt += 1
                seconds, reason = wait_before_retry(error, attempt, self.retries, self.retries.tries_to_begin)
                _wait(seconds, reason, tick)


def _wait(seconds: float, reason: str, tick: OnWait) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        tick("wait", f"{reason}; next try in {left:.0f} s")
        time.sleep(min(left, POLL_S))


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UnexpectedAnswer(f"it is a {type(value).__name__}, expected an object")
    return value


def _commit(about: dict[str, Any]) -> str:
    commit = about.get("sha")
    if not isinstance(commit, str) or not _COMMIT.fullmatch(commit):
        raise UnexpectedAnswer(f"it names the commit {commit!r:.60}, expected 40 hexadecimal digits")
    return commit


def _same_name(about: dict[str, Any], repo: str) -> str:
    """The repository's name as its owner writes it, if it is the one that was asked for."""
    name = about.get("id")
    return name if isinstance(name, str) and name.isascii() and name.lower() == repo.lower() else repo


def _licence(about: dict[str, Any]) -> str | None:
    """From the model card, else from the tag the hub makes of it."""
    card, tags = about.get("cardData"), about.get("tags")
    found: Any = None
    if isinstance(card, dict):
        found = card.get("license_name") if card.get("license") == "other" else card.get("license")
    if isinstance(found, list):
        found = ", ".join(str(one)[:_LONGEST_LICENCE] for one in found[:10])
    if not found and isinstance(tags, list):
        named = (tag.partition(":")[2] for tag in tags if isinstance(tag, str) and tag.startswith("license:"))
        found = next(named, None)
    return printable(found, _LONGEST_LICENCE) if isinstance(found, str) and found else None


def _weights(about: dict[str, Any]) -> tuple[int | None, tuple[str, ...]]:
    """How many there are, and their types."""
    weights = about.get("safetensors")
    counts = weights if isinstance(weights, dict) else {}
    total, by_type = counts.get("total"), counts.get("parameters")
    types = tuple(by_type) if isinstance(by_type, dict) else ()
    return total if type(total) is int and 0 < total <= _MOST_PARAMETERS else None, types


def _page_of_files(page: Any) -> Iterator[RemoteFile]:
    if not isinstance(page, list):
        raise UnexpectedAnswer(f"its list of files is a {type(page).__name__}")
    for entry in map(_object, page):
        if entry.get("type") == "file":
            yield _remote_file(entry)


def _remote_file(entry: dict[str, Any]) -> RemoteFile:
    path, size, lfs = entry.get("path"), entry.get("size"), entry.get("lfs")
    if not isinstance(path, str) or not is_safe_path(path):
        raise UnexpectedAnswer(f"it lists a file {path!r:.60}, which is not a possible file name")
    identity, form = (entry.get("oid"), _COMMIT) if lfs is None else (_object(lfs).get("oid"), _SHA256)
    size = size if lfs is None else _object(lfs).get("size")
    if type(size) is not int or not 0 <= size <= _LARGEST_FILE:
        raise UnexpectedAnswer(f"it says that {printable(path)!r} has {size!r:.40} bytes")
    if not isinstance(identity, str) or not form.fullmatch(identity):
        raise UnexpectedAnswer(f"it names {identity!r:.80} as the checksum of {printable(path)!r}")
    return RemoteFile(path, size, identity if lfs is not None else None, identity if lfs is None else None)


def _require_tree(files: dict[str, RemoteFile]) -> None:
    """No file may be the folder of another."""
    for path in files:
        folder = next((str(parent) for parent in PurePosixPath(path).parents if str(parent) in files), None)
        if folder is not None:
            raise UnexpectedAnswer(f"it lists {printable(folder)!r} as a file and as a folder")
