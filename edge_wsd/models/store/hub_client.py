"""HTTP with the hub: who asks, with which token, and how much of an answer is read.

`huggingface_hub` brings the client, the token, the offline mode and the cache; what it reads of an answer has no
bound, and a hub is not trusted to be one. So answers are read here.
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from edge_wsd import __version__
from edge_wsd.models.store.hub_environment import checked_endpoint, client_error, refuse_token, token_error
from edge_wsd.models.store.hub_errors import Refusal, UnexpectedAnswer
from edge_wsd.models.store.hub_library import build_hf_headers, constants, get_session, try_to_load_from_cache
from edge_wsd.reading import read_bounded
from edge_wsd.redaction import remember, without_password

_HUB = "https://huggingface.co"
_LIBRARY = "edge-wsd"
_MOST_BYTES = 8 << 20
"""Of an answer that is no file. A page of a thousand files takes a twentieth."""
_MOST_REDIRECTS = 10
_RANGE = re.compile(r"bytes (\d{1,18})-\d{1,18}/(?:\d{1,18}|\*)")
_TOKEN = re.compile(r"[!-~]+")
_TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
_LONGEST_TOKEN = 1 << 16


class HubClient:
    """Requests to one endpoint. What it raises is in `hub_errors.CLIENT_ERRORS`, or a HubError."""

    def __init__(self, endpoint: str | None, token: str | None, silence_s: float | None) -> None:
        given = endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT or _HUB
        address = checked_endpoint(given, "the endpoint" if endpoint else "HF_ENDPOINT")
        self.endpoint = without_password(address)
        """Without the name and password that HF_ENDPOINT may hold, so that no message and no file has them."""
        self._basic = _basic_authorization(address)
        self._token = token.strip() if token else None
        if self._token:
            remember(self._token)
        self.silence_s = silence_s or constants.HF_HUB_DOWNLOAD_TIMEOUT

    def json(self, path: str) -> tuple[Any, str | None]:
        """The value at `path`, and the query of the next page if there is one."""
        with self._answer(f"{self.endpoint}{path}", {"Accept-Encoding": "identity"}) as response:
            body = bytearray()
            for piece in _pieces(response):
                body += piece
                if len(body) > _MOST_BYTES:
                    raise UnexpectedAnswer(f"it has more than {_MOST_BYTES >> 20} MiB")
            following = response.links.get("next", {}).get("url")
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            raise UnexpectedAnswer("it is not JSON") from None
        return value, None if following is None else _query(following)

    def check_access(self, repo: str) -> None:
        """Raises Refusal where this user may not read the files of `repo`."""
        with self._answer(f"{self.endpoint}/api/models/{repo}/auth-check", {}):
            pass

    @contextmanager
    def file(self, repo: str, revision: str, path: str, offset: int) -> Iterator[tuple[int, Iterator[bytes]]]:
        """The bytes of a file from `offset` on: where they really begin (0 if the hub cannot resume), and the stream.

        The token goes to the endpoint alone, not to where it redirects.
        """
        wanted = {"Accept-Encoding": "identity"}  # ranges count the bytes of the file itself
        if offset:
            wanted["Range"] = f"bytes={offset}-"
        with self._answer(f"{self.endpoint}/{repo}/resolve/{revision}/{quote(path)}", wanted) as response:
            begin = _begin(response.headers.get("Content-Range")) if response.status_code == 206 else 0
            if begin not in (0, offset):
                raise UnexpectedAnswer(f"asked for byte {offset} on, it sent byte {begin} on")
            yield begin, _pieces(response)

    @contextmanager
    def _answer(self, url: str, wanted: dict[str, str]) -> Iterator[Any]:
        """A good answer whose body is still to be read. No body of a redirection or refusal is."""
        try:
            client = get_session()
        except Exception as error:  # whatever the environment made it stumble over
            raise client_error(error) from None  # its own words may hold a part of a password
        request = client.build_request("GET", url, headers={**self._headers(), **wanted}, timeout=self.silence_s)
        for _ in range(_MOST_REDIRECTS):
            response = client.send(request, stream=True, follow_redirects=False)
            try:
                if response.next_request is None:
                    _raise_refusal(response)
                    yield response
                    return
                request = response.next_request
            finally:
                response.close()
        raise UnexpectedAnswer(f"it redirects more than {_MOST_REDIRECTS} times")

    def _headers(self) -> dict[str, str]:
        try:
            if not self._token and not any(os.environ.get(name) for name in _TOKEN_VARIABLES):
                _require_readable(constants.HF_TOKEN_PATH)
            headers: dict[str, str] = build_hf_headers(
                token=self._token, library_name=_LIBRARY, library_version=__version__
            )
        except Exception as error:  # the token may come from a file, a CI system or the net
            raise token_error(error) from None
        bearer = headers.get("authorization", "Bearer -").removeprefix("Bearer ")
        if not _TOKEN.fullmatch(bearer):
            raise refuse_token(self._origin_of_token())
        return headers if self._basic is None else {**headers, "authorization": self._basic}

    def _origin_of_token(self) -> str:
        if self._token:
            return "--token"
        return next((name for name in _TOKEN_VARIABLES if os.environ.get(name)), str(constants.HF_TOKEN_PATH))


def cached_file(repo: str, revision: str, path: str) -> Path | None:
    """The file in the cache that the client shares with `hf` and transformers, if it can be read there."""
    try:
        found = try_to_load_from_cache(repo, path, revision=revision)
        cached = Path(found) if isinstance(found, str) else None
        return cached if cached is not None and cached.is_file() else None
    except (OSError, ValueError):  # a cache that cannot be read holds nothing for us
        return None


def _require_readable(path: str | Path) -> None:
    """Raises OSError for a file of the token that the client would read without end, such as a device or a pipe."""
    with suppress(FileNotFoundError):
        read_bounded(path, _LONGEST_TOKEN)


def _basic_authorization(address: str) -> str | None:
    """The header for the name and password in an address."""
    name, found, _ = urlsplit(address).netloc.rpartition("@")
    if not found:
        return None
    remember(name.partition(":")[2])
    return "Basic " + base64.b64encode(unquote(name).encode()).decode()


def _raise_refusal(response: Any) -> None:
    if not 200 <= response.status_code < 300:
        headers = response.headers
        raise Refusal(
            response.status_code,
            headers.get("X-Error-Code", ""),
            headers.get("X-Error-Message", ""),
            headers.get("Retry-After"),
        )


def _pieces(response: Any) -> Iterator[bytes]:
    """The body. What was compressed although it was asked not to be may grow without bound as it is read."""
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if coding != "identity":
        raise UnexpectedAnswer(f"it is compressed ({coding:.20}), which was not asked for")
    yield from response.iter_raw()


def _query(address: str) -> str:
    """That of the next page. Its host is not asked: mirrors pass on addresses of the hub behind them."""
    if not (address.isascii() and address.isprintable()):
        raise UnexpectedAnswer("its next page has no address")
    try:
        return urlsplit(address).query
    except ValueError:
        raise UnexpectedAnswer("its next page has no address") from None


def _begin(content_range: str | None) -> int:
    """The first byte of `bytes 5-9/10`; -1 if that cannot be told."""
    found = _RANGE.fullmatch((content_range or "").strip())
    return int(found[1]) if found else -1
