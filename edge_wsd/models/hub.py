"""The Hugging Face hub: what a repository holds, and one file's bytes, through the `huggingface_hub` client.

>>> hub = Hub()
>>> snapshot = hub.snapshot("someone/Pilot-3B-GGUF", revision="main")
>>> snapshot.revision, snapshot.licence, [file.path for file in snapshot.files]

The client's own download is not used: it begins a file again from zero after each interruption, and its faster
transport (xet) cannot be resumed either. Its endpoint, token, headers, redirects and offline mode are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.hf_api import ModelInfo, RepoFile
from huggingface_hub.utils import (  # type: ignore[attr-defined]  # public, but not exported for type checkers
    build_hf_headers,
    get_session,
    hf_raise_for_status,
)

from edge_wsd import __version__
from edge_wsd.errors import HubError
from edge_wsd.models.hub_errors import CLIENT_ERRORS, UnexpectedAnswer, explain, wait_before_retry
from edge_wsd.models.manifest import is_safe_path

T = TypeVar("T")
_MAX_PAGES = 1000
_LIBRARY = "edge-wsd"
DEFAULT_REVISION = "main"


@dataclass(frozen=True)
class Patience:
    """How long to try again. Seconds."""

    tries: int = 5
    """Failures in a row, without one byte in between, before giving up."""
    first_wait_s: float = 1.0
    longest_wait_s: float = 20.0
    """Waits double up to this."""
    longest_asked_wait_s: float = 300.0
    """A hub that asks for a longer pause is an error."""
    silence_s: float = constants.HF_HUB_DOWNLOAD_TIMEOUT
    """A connection without any byte for this long is taken as cut."""


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


class Hub:
    """Access for one user. `token` None: from HF_TOKEN or `hf auth login`; `endpoint` None: from HF_ENDPOINT."""

    def __init__(
        self, *, token: str | None = None, endpoint: str | None = None, patience: Patience | None = None
    ) -> None:
        self.endpoint = (endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT).rstrip("/")
        self.patience = patience or Patience()
        self._token = token
        self._api = HfApi(endpoint=self.endpoint, token=token, library_name=_LIBRARY, library_version=__version__)

    def snapshot(self, repo: str, revision: str | None = None, *, pause: Callable[[float, str], None]) -> Snapshot:
        """What `repo` holds at a branch, tag or commit. Raises HubError with one line.

        Asks before anything large is fetched whether the user may have it. `pause(seconds, reason)` waits before
        the next try, and may raise to give up.
        """
        revision = revision or DEFAULT_REVISION
        with self._told(repo, revision):
            info = self._persistently(
                lambda: self._api.model_info(repo, revision=revision, timeout=self.patience.silence_s), pause
            )
            if info.gated:
                self._persistently(lambda: self._api.auth_check(repo), pause)
            if info.sha is None:
                raise UnexpectedAnswer("it names no commit")
            files = tuple(self._files(repo, info.sha, pause))
        parameters = info.safetensors.total if info.safetensors is not None else None
        name = info.id if info.id and info.id.lower() == repo.lower() else repo
        return Snapshot(name, info.sha, _licence(info), files, parameters)

    def _files(self, repo: str, commit: str, pause: Callable[[float, str], None]) -> Iterator[RemoteFile]:
        """All files of a commit.

        The client's own listing would wait for as long as a hub asks it to, and would not hear Ctrl-C.
        """
        tree = f"{self.endpoint}/api/models/{repo}/tree/{commit}"
        query: str | None = "recursive=true"
        for _ in range(_MAX_PAGES):
            response = self._persistently(partial(self._get, f"{tree}?{query}"), pause)
            for entry in response.json():
                if entry["type"] == "file":
                    yield _remote_file(RepoFile(**entry))  # type: ignore[no-untyped-call]
            following = response.links.get("next", {}).get("url")
            if following is None:
                return
            query = urlsplit(following).query  # a mirror may pass on addresses of the hub behind it
        raise UnexpectedAnswer(f"its list of files has more than {_MAX_PAGES} pages")

    def _get(self, url: str) -> Any:
        response = get_session().get(url, headers=self._headers(), timeout=self.patience.silence_s)
        hf_raise_for_status(response)
        return response

    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = build_hf_headers(
            token=self._token, library_name=_LIBRARY, library_version=__version__
        )
        return headers

    @contextmanager
    def open(self, snapshot: Snapshot, file: RemoteFile, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The bytes of a file from `offset` on: where they really begin (0 if the hub cannot resume), and the stream.

        The token goes to the endpoint alone, not to where it redirects. Raises the client's own errors.
        """
        url = hf_hub_url(snapshot.repo, file.path, revision=snapshot.revision, endpoint=self.endpoint)
        headers = self._headers()
        headers["Accept-Encoding"] = "identity"  # ranges count the bytes of the file itself
        if offset:
            headers["Range"] = f"bytes={offset}-"
        with get_session().stream("GET", url, headers=headers, timeout=self.patience.silence_s) as response:
            hf_raise_for_status(response)
            begin = _begin(response.headers.get("Content-Range")) if response.status_code == 206 else 0
            if begin not in (0, offset):
                raise UnexpectedAnswer(f"asked for byte {offset} on, it sent byte {begin} on")
            yield begin, response.iter_bytes()

    def error(self, error: Exception, repo: str, revision: str) -> HubError:
        """The client's error as one line that says what to do."""
        return explain(error, endpoint=self.endpoint, repo=repo, revision=revision)

    @contextmanager
    def _told(self, repo: str, revision: str) -> Iterator[None]:
        try:
            yield
        except CLIENT_ERRORS as error:
            raise self.error(error, repo, revision) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:  # the client read what is no hub's answer
            raise self.error(UnexpectedAnswer(f"{type(error).__name__}: {error}"), repo, revision) from error

    def _persistently(self, ask: Callable[[], T], pause: Callable[[float, str], None]) -> T:
        attempt = 0
        while True:
            try:
                return ask()
            except CLIENT_ERRORS as error:
                attempt += 1
                pause(*wait_before_retry(error, attempt, self.patience))


def _remote_file(entry: RepoFile) -> RemoteFile:
    if not is_safe_path(entry.path) or type(entry.size) is not int or entry.size < 0:
        raise UnexpectedAnswer(f"it lists a file {entry.path!r:.60}, whose name or size makes no sense")
    if entry.lfs is not None:
        return RemoteFile(entry.path, entry.lfs.size, entry.lfs.sha256, None)
    return RemoteFile(entry.path, entry.size, None, entry.blob_id)


def _licence(info: ModelInfo) -> str | None:
    """From the model card, else from the tag the hub makes of it."""
    card: Any = info.card_data or {}
    found = card.get("license_name") if card.get("license") == "other" else card.get("license")
    if isinstance(found, list):
        found = ", ".join(map(str, found))
    tagged = (tag.partition(":")[2] for tag in info.tags or () if tag.startswith("license:"))
    return str(found) if found else next(tagged, None)


def _begin(content_range: str | None) -> int:
    """The first byte of `bytes 5-9/10`; -1 if that cannot be told."""
    first = (content_range or "").removeprefix("bytes ").partition("-")[0]
    return int(first) if first.isdigit() else -1
