"""What the load test asks a server: requests of every interface with their right answers, and requests that are wrong.

>>> for case in cases(stable_questions(4)): ...
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from edge_wsd import Alternative, Message, ModelSettings, Options, Pair
from edge_wsd.demo.tasks import load_tasks

MAX_TOKENS = 24
_CLEAR = 0.7
"""By how much the likeliest token must be likelier than the second, in logarithms: rounding moves them by less, and so
an answer is the same whatever is written beside it."""
_SURE = 0.03
"""How far from the threshold every confidence must be, for the same reason."""
_ROUNDING = 0.3
"""Of a log-probability, in parts of itself or as a number."""

Answer = str | list[float]


@dataclass(frozen=True)
class Case:
    """A request whose answer is known from a quiet run."""

    name: str
    path: str
    body: dict[str, Any]
    read: Callable[[list[dict[str, Any]]], Answer] = field(repr=False)
    """The answer in the objects that came back: one, or those of a stream."""

    @property
    def streams(self) -> bool:
        return bool(self.body.get("stream"))


def same(answer: Answer, expected: Answer) -> bool:
    """Texts must be equal. Log-probabilities may be rounded differently."""
    if isinstance(answer, str) or isinstance(expected, str):
        return answer == expected
    pairs = zip(answer, expected, strict=False)
    return len(answer) == len(expected) and all(
        math.isclose(one, other, rel_tol=_ROUNDING, abs_tol=_ROUNDING) for one, other in pairs
    )


@dataclass(frozen=True)
class Question:
    """A question to the demonstration pair. `begun` is the base's prompt with the drafter's part of the answer."""

    text: str
    begun: str


def stable_questions(n: int) -> list[Question]:
    """Questions of which each token of the answers is chosen clearly."""
    cpu = ModelSettings(gpu_layers=0, threads=1, context_length=512)
    found: list[Question] = []
    with Pair.demo(drafter_settings=cpu, base_settings=cpu) as pair:
        for task in load_tasks():
            if (question := _stable(pair, f"How do I {task.task}?")) is not None:
                found.append(question)
            if len(found) == n:
                return found
    raise SystemExit(f"only {len(found)} of the demonstration's questions have answers that no rounding changes")


def _stable(pair: Pair, text: str) -> Question | None:
    options = Options(max_tokens=MAX_TOKENS, top_logprobs=2)
    reply, draft = (pair.generate(text, options, mode=mode) for mode in ("wsd", "drafter"))
    written = "".join(token.text for token in reply.tokens if token.source == "drafter")
    begun = pair.base.encode([Message("user", text)]).text + written
    behind = pair.complete(begun, options, mode="base", special=True).result()
    confidences = [one for one in reply.confidences if one is not None]
    by_base = [token for token in reply.tokens if token.source == "base"]
    chosen = [_gap(token.top) > _CLEAR for token in (*draft.tokens, *by_base, *behind.tokens)]
    is_sure = all(abs(one - options.threshold) > _SURE for one in confidences)
    return Question(text, begun) if by_base and all(chosen) and is_sure else None


def _gap(top: Sequence[Alternative]) -> float:
    return top[0].logprob - top[1].logprob if len(top) > 1 else math.inf


def cases(questions: Sequence[Question]) -> Iterator[Case]:
    """Each question to every interface."""
    for question in questions:
        yield from _of_chat(question.text)
        yield from _of_texts(question)
        yield from _of_ollama(question.text)


def _of_chat(question: str) -> Iterator[Case]:
    body = {"messages": [{"role": "user", "content": question}], "max_tokens": MAX_TOKENS, "temperature": 0}
    for model in ("demo", "demo:drafter"):
        yield Case(f"chat {model}", "/v1/chat/completions", {**body, "model": model}, _message)
    yield Case("chat, stream", "/v1/chat/completions", {**body, "stream": True, "edge_wsd": {}}, _deltas)
    asked = {"input": question, "max_output_tokens": MAX_TOKENS, "temperature": 0}
    yield Case("responses", "/v1/responses", asked, _output)
    yield Case("responses, stream", "/v1/responses", {**asked, "stream": True}, _output_deltas)


def _of_texts(question: Question) -> Iterator[Case]:
    begun = {"model": "demo:base", "prompt": question.begun, "max_tokens": MAX_TOKENS, "temperature": 0}
    yield Case("texts", "/v1/completions", begun, _text)
    yield Case("texts, stream", "/v1/completions", {**begun, "stream": True}, _text)
    scored = {"prompt": f"{question.text} " * 12, "max_tokens": 0, "echo": True, "logprobs": 1}  # more than one pass
    yield Case("scores", "/v1/completions", scored, _logprobs)
    yield Case("tokens", "/tokenize", {"content": question.text}, lambda got: json.dumps(got[0]["tokens"]))


def _of_ollama(question: str) -> Iterator[Case]:
    options = {"num_predict": MAX_TOKENS, "temperature": 0}
    chat = {"model": "demo", "messages": [{"role": "user", "content": question}], "options": options}
    yield Case("ollama chat", "/api/chat", {**chat, "stream": True}, lambda got: _joined(got, "message", "content"))
    once = {"model": "demo", "prompt": question, "options": options, "stream": False}
    yield Case("ollama generate", "/api/generate", once, lambda got: _joined(got, "response"))


def _message(got: list[dict[str, Any]]) -> str:
    return str(got[0]["choices"][0]["message"]["content"])


def _deltas(got: list[dict[str, Any]]) -> str:
    return "".join(choice["delta"].get("content") or "" for chunk in got for choice in chunk["choices"])


def _output(got: list[dict[str, Any]]) -> str:
    return "".join(part["text"] for item in got[0]["output"] for part in item.get("content", []) if "text" in part)


def _output_deltas(got: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in got if event.get("type") == "response.output_text.delta")


def _text(got: list[dict[str, Any]]) -> str:
    return "".join(choice["text"] for chunk in got for choice in chunk["choices"])


def _logprobs(got: list[dict[str, Any]]) -> list[float]:
    return [number for number in got[0]["choices"][0]["logprobs"]["token_logprobs"] if number is not None]


def _joined(got: list[dict[str, Any]], *path: str) -> str:
    texts = []
    for one in got:
        value: Any = one
        for name in path:
            value = value.get(name) or {}
        texts.append(value or "")
    return "".join(texts)


@dataclass(frozen=True)
class BadRequest:
    """A request that must be refused with one of these statuses, and a reason in the form of its interface."""

    method: str
    path: str
    content: bytes
    statuses: tuple[int, ...] = (400,)


_ENDLESS = [{"role": "user", "content": "ls " * 50_000}]
_QUESTION = [{"role": "user", "content": "hello"}]
BAD_REQUESTS = (
    BadRequest("POST", "/v1/chat/completions", b"{"),
    BadRequest("POST", "/v1/chat/completions", b"\xff\xfe"),
    BadRequest("POST", "/v1/chat/completions", b"[]"),
    BadRequest("POST", "/v1/chat/completions", b'{"messages": []}'),
    BadRequest("POST", "/v1/chat/completions", json.dumps({"messages": _QUESTION, "model": "nobody"}).encode(), (404,)),
    BadRequest("POST", "/v1/chat/completions", json.dumps({"messages": _QUESTION, "temperature": "hot"}).encode()),
    BadRequest("POST", "/v1/chat/completions", json.dumps({"messages": _QUESTION, "max_tokens": -5}).encode()),
    BadRequest("POST", "/v1/chat/completions", json.dumps({"messages": _ENDLESS}).encode()),
    BadRequest("POST", "/v1/completions", b'{"prompt": [99999999]}'),
    BadRequest("POST", "/v1/completions", b'{"prompt": "a", "suffix": "b"}'),
    BadRequest("POST", "/v1/completions", json.dumps({"prompt": "[" * 100_000}).encode()),
    BadRequest("POST", "/v1/completions", b"[" * 100_000),
    BadRequest("POST", "/v1/chat/completions", b" " * (9 << 20), (413,)),
    BadRequest("POST", "/api/chat", b'{"model": "demo", "messages": 3}'),
    BadRequest("GET", "/v1/nothing", b"", (404,)),
    BadRequest("DELETE", "/v1/models", b"", (404, 405)),
)
