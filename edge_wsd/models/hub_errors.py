"""What goes wrong between here and the hub: which errors pass by themselves, and what the others ask of the user."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast

from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from edge_wsd.errors import HubError

if TYPE_CHECKING:
    from edge_wsd.models.hub import Patience

_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})


class UnexpectedAnswer(Exception):
    """The hub answered something that no hub should; told as a HubError."""


class ShortBody(UnexpectedAnswer):
    """A file ended before its last byte, as if that were its end."""


class HubUnreachable(HubError):
    """No connection, or none is wanted."""


# The client changed the HTTP library below it twice; the parent of its own error is that library's root of all errors.
_HTTP_ERROR = cast("type[Exception]", HfHubHTTPError.__mro__[1])
CLIENT_ERRORS: tuple[type[Exception], ...] = (HfHubHTTPError, _HTTP_ERROR, OfflineModeIsEnabled, UnexpectedAnswer)


def status_of(error: Exception) -> int | None:
    """The HTTP status the hub answered with; None if there was no answer."""
    response = getattr(error, "response", None)
    return None if response is None else int(response.status_code)


def is_cut(error: Exception) -> bool:
    """Whether a connection failed, with no answer or in the middle of one."""
    if isinstance(error, ShortBody):
        return True
    return isinstance(error, _HTTP_ERROR) and status_of(error) is None


def wait_before_retry(error: Exception, attempt: int, patience: Patience) -> tuple[float, str]:
    """Seconds to wait before the next try and why. Raises `error` if trying again is pointless or was tried enough.

    `attempt` counts failures in a row from 1.
    """
    status = status_of(error)
    if isinstance(error, OfflineModeIsEnabled) or attempt >= patience.tries:
        raise error
    if not is_cut(error) and status not in _PASSING:
        raise error
    asked = _asked_wait(error)
    if asked is not None and asked > patience.longest_asked_wait_s:
        raise error
    wait = min(patience.first_wait_s * 2 ** (attempt - 1), patience.longest_wait_s) if asked is None else asked
    return wait, "the connection failed" if status is None else f"the hub answered {status}"


def _asked_wait(error: Exception) -> float | None:
    """Seconds of the answer's `Retry-After`, given as a number or a date; None without one."""
    response: Any = getattr(error, "response", None)
    value = None if response is None else response.headers.get("Retry-After")
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def explain(error: Exception, *, endpoint: str, repo: str, revision: str) -> HubError:
    """One line that says what to do. Never holds a token."""
    if isinstance(error, OfflineModeIsEnabled) or constants.HF_HUB_OFFLINE:
        return HubUnreachable(f"{repo} cannot be fetched: HF_HUB_OFFLINE is set")
    status = status_of(error)
    if status is None:
        if isinstance(error, UnexpectedAnswer) and not isinstance(error, ShortBody):
            return HubError(f"{endpoint} gave no sensible answer about {repo}: {error}; is HF_ENDPOINT right?")
        reason = _first_line(error) or type(error).__name__
        return HubUnreachable(f"{endpoint} cannot be reached for {repo}: {reason}; what has arrived is kept")
    return HubError(_refusal(error, status, repo, revision, endpoint))


def _refusal(error: Exception, status: int, repo: str, revision: str, endpoint: str) -> str:
    page = f"{endpoint}/{repo}"
    if isinstance(error, RevisionNotFoundError):
        return f"{repo} has no revision {revision!r}; its branches and tags are at {page}/tree/main"
    if isinstance(error, EntryNotFoundError):
        return f"a file of {repo} is gone from the hub: {_first_line(error)}; try again"
    if isinstance(error, DisabledRepoError):
        return f"{repo} was disabled by the hub; see {page}"
    if status in (401, 403) or isinstance(error, (GatedRepoError, RepositoryNotFoundError)):
        return _no_access(error, status, repo, page)
    if status == 404:
        return f"there is no repository {repo} at {endpoint}; check the name"
    if status == 429:
        return f"the hub wants fewer requests (429) and does not answer for {repo}; try again later, or log in"
    return f"{endpoint} answered {status} for {repo}; try again later: what has arrived is kept"


def _no_access(error: Exception, status: int, repo: str, page: str) -> str:
    login = "`hf auth login` or set HF_TOKEN"
    if isinstance(error, GatedRepoError):
        return f"{repo} is gated: accept its licence at {page}, then {login} to a token of that account"
    response: Any = getattr(error, "response", None)
    if "Invalid credentials" in (response.headers.get("X-Error-Message", "") if response is not None else ""):
        return "the hub does not know the token; run `hf auth login` again or set HF_TOKEN, or remove it to go without"
    if isinstance(error, RepositoryNotFoundError) and status != 403:
        return f"there is no repository {repo}, or it is private; check the name at {page}; if it is yours, {login}"
    return f"the hub refuses {repo} ({status}); if {page} asks for something, do it, then {login}"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "")
