"""What goes wrong between here and the hub: which errors pass by themselves, and what the others ask of the user."""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from edge_wsd.errors import HubError
from edge_wsd.models.store.hub_environment import first_line, printable
from edge_wsd.models.store.hub_library import HTTP_ERROR, OfflineModeIsEnabled, constants

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_REPO, _REVISION, _ENTRY, _GATED = "RepoNotFound", "RevisionNotFound", "EntryNotFound", "GatedRepo"
_DISABLED = "Access to this resource is disabled."
_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"


class UnexpectedAnswer(Exception):
    """The hub answered something that no hub should; told as a HubError."""


class ShortBody(UnexpectedAnswer):
    """A file ended before its last byte, as if that were its end."""


class Refusal(Exception):
    """The hub answered with a status that is no success; `code`, `message` and `retry_after` are of its headers."""

    def __init__(self, status: int, code: str, message: str, retry_after: str | None) -> None:
        super().__init__(f"{status} {printable(code)} {printable(message)}".strip())
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


class HubUnreachable(HubError):
    """No connection, or none is wanted."""


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long a request is tried again. Seconds."""

    tries: int = 5
    """Failures in a row, without one byte in between, before giving up."""
    first_wait_s: float = 1.0
    longest_wait_s: float = 20.0
    """Waits double up to this."""
    longest_asked_wait_s: float = 300.0
    """A hub that asks for a longer pause is an error."""
    tries_to_begin: int = 3
    """The same before anything has arrived: without a network nobody wants to wait long to be told."""
    silence_s: float | None = None
    """A connection without any byte for this long is taken as cut. None: as the client does (HF_HUB_DOWNLOAD_TIMEOUT,
    else 10)."""


CLIENT_ERRORS: tuple[type[Exception], ...] = (HTTP_ERROR, OfflineModeIsEnabled, UnexpectedAnswer, Refusal)


def wait_before_retry(error: Exception, attempt: int, retries: RetryPolicy, most: int) -> tuple[float, str]:
    """Seconds to wait before the next try and why. Raises `error` if trying again is pointless or was tried enough.

    `attempt` counts failures in a row from 1, `most` is how many of them are too many.
    """
    if attempt >= most or not _passes(error):
        raise error
    asked = _asked_wait(error.retry_after) if isinstance(error, Refusal) else None
    if asked is not None and asked > retries.longest_asked_wait_s:
        raise error
    wait = min(retries.first_wait_s * 2 ** (attempt - 1), retries.longest_wait_s) if asked is None else asked
    return wait, f"the hub answered {error.status}" if isinstance(error, Refusal) else "the connection failed"


def _passes(error: Exception) -> bool:
    if isinstance(error, Refusal):
        return error.status in _PASSING
    return isinstance(error, HTTP_ERROR | ShortBody) and _UNTRUSTED not in str(error)


def _asked_wait(value: str | None) -> float | None:
    """Seconds that a `Retry-After` asks for, given as a number or a date; None without one."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:18])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def explain(error: Exception, *, endpoint: str, repo: str, revision: str) -> HubError:
    """One line that says what to do. Never holds a token or a password."""
    if isinstance(error, OfflineModeIsEnabled) or constants.HF_HUB_OFFLINE:
        return HubUnreachable(f"{repo} cannot be fetched: HF_HUB_OFFLINE is set")
    if isinstance(error, Refusal):
        return HubError(_refusal(error, repo, revision, endpoint))
    if isinstance(error, UnexpectedAnswer) and not isinstance(error, ShortBody):
        return HubError(f"{endpoint} gave no usable answer about {repo}: {first_line(error)}; is HF_ENDPOINT right?")
    advice = ""
    if _UNTRUSTED in str(error):
        advice = "; SSL_CERT_FILE names the certificates to trust, for example those of a company's proxy"
    return HubUnreachable(f"{endpoint} cannot be reached for {repo}: {first_line(error)}{advice}")


def _refusal(error: Refusal, repo: str, revision: str, endpoint: str) -> str:
    page = f"{endpoint}/{repo}"
    if error.code == _REVISION:
        return f"{repo} has no revision {revision!r}; its branches and tags are at {page}/tree/main"
    if error.code == _ENTRY:
        return f"a file of {repo} is gone from the hub; try again"
    if error.message == _DISABLED:
        return f"{repo} was disabled by the hub; see {page}"
    if error.status in (401, 403) or error.code in (_GATED, _REPO):
        return _no_access(error, repo, page)
    if error.status == 404:
        return f"there is no repository {repo} at {endpoint}; check the name"
    if error.status == 407:
        return "the proxy wants a name and password (407); HTTPS_PROXY may be http://NAME:PASSWORD@HOST:PORT"
    if error.status == 429:
        return f"the hub wants fewer requests (429) and does not answer for {repo}; try again later, or log in"
    return f"{endpoint} answered {error.status} for {repo}; try again later"


def _no_access(error: Refusal, repo: str, page: str) -> str:
    login = "`hf auth login` or set HF_TOKEN"
    if error.code == _GATED:
        return f"{repo} is gated: accept its licence at {page}, then {login} to a token of that account"
    if "Invalid credentials" in error.message:
        return "the hub does not know the token; run `hf auth login` again or set HF_TOKEN, or remove it to go without"
    if error.status != 403:
        return f"there is no repository {repo}, or it is private; check the name at {page}; if it is yours, {login}"
    return f"the hub refuses {repo} (403); if {page} asks for something, do it, then {login}"
