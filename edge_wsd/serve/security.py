"""Who may use the server: the names it answers to, the pages that may ask it, and the keys that open it.

Each is a layer of ASGI around the application; none touches a stream that passes through.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from edge_wsd.serve.errors import RequestError, error_response
from edge_wsd.serve.settings import ANY_ORIGIN

_OPEN_TO_ALL = ("/", "/health", "/v1/health", "/favicon.ico")
"""Paths that need no key. The page asks for one, and holds nothing secret itself."""
PAGE_FILES = "/page/static/"


class OwnNames:
    """Refuses requests that were sent to a name that is not this server's, or by a page that is not.

    A site can make its own name point to this machine (DNS rebinding); its pages' requests then carry that name. An
    address cannot be forged so, and is always right. A browser tells which site a page is from, other programs do not.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str], origins: Iterable[str]) -> None:
        self._app = app
        self._names = {name.lower().rstrip(".") for name in names}
        self._origins = {origin.lower() for origin in origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http" and (refusal := self._refusal(Headers(scope=scope))) is not None:
            await error_response(scope["path"], refusal)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _refusal(self, headers: Headers) -> RequestError | None:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        host = hosts[0] if len(hosts) == 1 else ", ".join(hosts)  # which is no name
        name = _name_of(host)
        if name is None or not self._is_own(name):
            return RequestError(
                f"this server does not answer to the name {host[:100]!r}; ask it by its address, or start it with "
                "--allow-host NAME",
                status=403,
                code="unknown_host",
            )
        if not origins and not _is_embedded(headers):
            return None
        if origins and all(self._may_ask(origin.lower(), host.lower()) for origin in origins):
            return None
        asker = repr(", ".join(origins)[:100]) if origins else "another site"
        return RequestError(
            f"pages of {asker} may not use this server; start it with --allow-origin to let them",
            status=403,
            code="origin_not_allowed",
        )

    def _is_own(self, name: str) -> bool:
        if name == "localhost" or name.endswith(".localhost") or name in self._names:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _may_ask(self, origin: str, host: str) -> bool:
        if ANY_ORIGIN in self._origins or origin in self._origins:
            return True
        scheme, _, place = origin.partition("://")
        return scheme in ("http", "https") and place == host


def _is_embedded(headers: Headers) -> bool:
    """Whether a page of another site asks for a picture or a script here, for which a browser names no origin."""
    is_foreign = headers.get("sec-fetch-site") in ("cross-site", "same-site")
    return is_foreign and headers.get("sec-fetch-mode") != "navigate"  # by which a person comes here


def _name_of(host: str) -> str | None:
    """The name or address in a Host header, without its port. None if there is none."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port
    except ValueError:
        return None
    if parts.username is not None or parts.netloc != host:
        return None
    return parts.hostname.rstrip(".") if parts.hostname else None


class KeyLock:
    """Lets in only requests that carry one of the keys, as a bearer token or as `X-Api-Key`."""

    def __init__(self, app: ASGIApp, keys: Iterable[str]) -> None:
        self._app = app
        self._digests = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http" or not self._digests or self._is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        if self._opens(_given_key(Headers(scope=scope))):
            await self._app(scope, receive, send)
            return
        refusal = RequestError(
            "this server needs an API key: send it as `Authorization: Bearer KEY`",
            status=401,
            code="invalid_api_key",
            headers={"WWW-Authenticate": "Bearer"},
        )
        await error_response(scope["path"], refusal)(scope, receive, send)

    def _is_open(self, path: str) -> bool:
        return path in _OPEN_TO_ALL or path.startswith(PAGE_FILES)

    def _opens(self, given: bytes) -> bool:
        """Compares with every key, in a time that tells nothing of them."""
        digest = _digest(given)
        found = [hmac.compare_digest(digest, each) for each in self._digests]
        return any(found)


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _given_key(headers: Headers) -> bytes:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    key = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    return key.encode("latin-1", errors="replace")
