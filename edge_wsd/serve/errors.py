"""What went wrong, as clients expect to be told: OpenAI's and Ollama's forms of an error.

>>> openai_error(failure_of(RequestError("no such model", status=404, code="model_not_found")))["error"]["code"]
'model_not_found'
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_wsd.errors import (
    BusyError,
    ClosedError,
    ContextFullError,
    EdgeWsdError,
    GrammarError,
    ModelFileError,
    ModelLoadError,
    OptionError,
    PairDiedError,
    PairsFileError,
    PlanError,
    QueueFullError,
    StoreError,
    TemplateError,
    VocabularyError,
    WorkerError,
)
from edge_wsd.redaction import logger_without_secrets, redacted

_LOG = logger_without_secrets(__name__)
OLLAMA_PREFIX = "/api/"
RETRY_S = 1
"""What `Retry-After` says where nothing better is known."""


class RequestError(EdgeWsdError):
    """A request that is refused for a reason of the server's own. `retry_after` in seconds."""

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param, self.retry_after = status, code, param, retry_after
        self.headers = dict(headers or {})


class ClientGone(EdgeWsdError):
    """Nobody waits for this answer any more."""


class ErrorDetail(BaseModel):
    """`type` says whose fault it is, `code` what happened, `param` in which field of the request."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """OpenAI's form of an error."""

    error: ErrorDetail


class OllamaErrorBody(BaseModel):
    """Ollama's form of an error."""

    error: str


def _documented(model: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    return {
        "4XX": {"model": model, "description": "The request cannot be answered; the message says why."},
        "5XX": {"model": model, "description": "The server cannot answer now; the message says why."},
    }


OPENAI_ERRORS = _documented(ErrorBody)
"""For `APIRouter(responses=...)`: what can go wrong under /v1."""
OLLAMA_ERRORS = _documented(OllamaErrorBody)
"""The same under /api."""

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


@dataclass(frozen=True, slots=True)
class HttpFailure:
    """An error on its way to a client."""

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    headers: Mapping[str, str] | None = None

    @property
    def type(self) -> str:
        """Whose fault it is, in OpenAI's words."""
        return _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")


# The first that an error is an instance of. Behind the status: the code.
_OF_THE_LIBRARY: tuple[tuple[type[EdgeWsdError], int, str | None], ...] = (
    (OptionError, 400, "invalid_value"),
    (ContextFullError, 400, "context_length_exceeded"),
    (TemplateError, 400, "invalid_messages"),
    (GrammarError, 400, "invalid_grammar"),
    (VocabularyError, 400, "invalid_token"),
    (QueueFullError, 429, "queue_full"),
    (BusyError, 503, "busy"),
    (ClosedError, 503, "unavailable"),
    (PairsFileError, 404, "model_not_found"),
    (StoreError, 404, "model_not_found"),
    (ModelFileError, 500, "model_not_loaded"),
    (ModelLoadError, 500, "model_not_loaded"),
    (PlanError, 503, "out_of_memory"),
    (WorkerError, 502, "worker_failed"),
    (PairDiedError, 503, "pair_died"),  # the next question starts its process again
)


def failure_of(error: BaseException) -> HttpFailure:
    """What a client is told of `error`. What is no one's fault but ours is logged, and not told in detail."""
    if isinstance(error, RequestError):
        retry = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
        return HttpFailure(error.status, str(error), error.code, error.param, {**error.headers, **retry})
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return HttpFailure(error.status_code, _why_refused(error), headers=error.headers)
    for kind, status, code in _OF_THE_LIBRARY:
        if isinstance(error, kind):
            headers = {"Retry-After": str(RETRY_S)} if status in (429, 503) else None
            return HttpFailure(status, redacted(str(error)), code, headers=headers)
    if isinstance(error, EdgeWsdError):
        _LOG.error("%s", error)
        return HttpFailure(500, redacted(str(error)))
    _LOG.error("internal error: %s: %s", type(error).__name__, error, exc_info=error)
    return HttpFailure(500, f"internal error ({type(error).__name__}); the server's log says more")


def _why_refused(error: HTTPException) -> str:
    """In place of sentences of FastAPI that say too little."""
    if error.status_code == 404:
        return "the server has no such path; /openapi.json lists those that it has"
    if error.status_code == 405:
        return "this path has no such method; the header Allow lists those that it has"
    match error.__cause__:
        case UnicodeDecodeError():
            return "the body is not valid UTF-8"
        case RecursionError():
            return "the body nests too deeply"
        case ValueError():
            return "the body has a number with too many digits"
    return str(error.detail)


def _invalid(error: RequestValidationError) -> HttpFailure:
    """The first field of a request that is wrong. What it holds is not repeated."""
    errors = error.errors()
    first = errors[0]
    if first["type"] == "json_invalid":
        return HttpFailure(400, f"the body is not valid JSON: {first['ctx']['error']} at character {first['loc'][-1]}")
    found = [(_place_of(each, error.body), each["msg"]) for each in errors if each["loc"][:2] == first["loc"][:2]]
    place = max((place for place, _ in found), key=len)
    told = list(dict.fromkeys(text for each, text in found if each == place))
    text = " or ".join([told[0], *(other.removeprefix("Input should be ") for other in told[1:])])
    if not place:
        return HttpFailure(400, "the body must be a JSON object, sent with the header Content-Type: application/json")
    name = ".".join(map(str, place))
    return HttpFailure(400, f"{name}: {text}", "invalid_value", name)


def _place_of(error: Mapping[str, Any], body: Any) -> list[int | str]:
    """Where in the body it is, without pydantic's names of the types that a field may have."""
    where, *steps = error["loc"]
    if where != "body":
        return [where, *steps]
    place: list[int | str] = []
    for step in steps:
        is_there = step in body if isinstance(body, Mapping) else isinstance(body, list) and step in range(len(body))
        if is_there:
            body = body[step]
        if is_there or (error["type"] == "missing" and step == steps[-1]):
            place.append(step)
    return place


def openai_error(failure: HttpFailure) -> dict[str, Any]:
    """`{"error": {"message", "type", "param", "code"}}`."""
    detail = ErrorDetail(message=failure.message, type=failure.type, param=failure.param, code=failure.code)
    return ErrorBody(error=detail).model_dump()


def ollama_error(failure: HttpFailure) -> dict[str, Any]:
    """`{"error": "..."}`."""
    return {"error": failure.message}


def error_body(path: str, failure: HttpFailure) -> dict[str, Any]:
    """In the form that a client of `path` understands."""
    return ollama_error(failure) if path.startswith(OLLAMA_PREFIX) else openai_error(failure)


def error_response(path: str, error: BaseException) -> Response:
    """The whole answer to a request that failed before its answer began."""
    if isinstance(error, ClientGone):
        return Response(status_code=499)
    failure = failure_of(error)
    # In ASCII: what a message quotes may hold half a character, which UTF-8 cannot write.
    content = json.dumps(error_body(path, failure))
    return Response(content, failure.status, dict(failure.headers or {}), "application/json")


def install(app: FastAPI) -> None:
    """Makes `app` answer every error in these forms. Before other layers are added, so that they see the answers."""

    async def answer(request: Request, error: Exception) -> Response:
        return error_response(request.url.path, error)

    for kind in (EdgeWsdError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, answer)
    app.add_middleware(LastResort)


class LastResort:
    """A layer of ASGI: what nobody expected is an answer too, unless one has begun already."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        has_begun = False

        async def noticed(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, noticed)
        except Exception as error:
            if scope["type"] != "http":
                raise
            response = error_response(scope["path"], error)
            if not has_begun:  # else the connection is cut, which tells the client that its answer is not whole
                await response(scope, receive, send)
