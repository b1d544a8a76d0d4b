"""What `/metrics` tells, in the format of Prometheus."""

from __future__ import annotations

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_wsd.decoding.events import Reply

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_TOKENS = (0, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_SHARES = tuple(tenth / 10 for tenth in range(11))


class Metrics:
    """One for each server, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "edge_wsd_requests", "Requests by route and status", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "edge_wsd_request_seconds", "From a request to the end of its answer", ["route"],
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self.refused = Counter(
            "edge_wsd_requests_refused", "Requests refused because too many waited", registry=registry
        )
        self._running = Gauge("edge_wsd_requests_running", "Requests that have a slot", registry=registry)
        self._queued = Gauge("edge_wsd_requests_queued", "Requests that wait for a slot", registry=registry)
        self.pairs = Gauge("edge_wsd_pairs_loaded", "Pairs in memory", registry=registry)
        self.answers = Counter("edge_wsd_answers", "Answers by how they ended", ["finish_reason"], registry=registry)
        self.tokens = Counter("edge_wsd_tokens", "Tokens of answers by author", ["author"], registry=registry)
        self.prompt_tokens = Counter(
            "edge_wsd_prompt_tokens", "Tokens of prompts, by model", ["model"], registry=registry
        )
        self.reused = Counter(
            "edge_wsd_prompt_tokens_reused", "Tokens of prompts that were in memory already, by model", ["model"],
            registry=registry,
        )  # fmt: skip
        self.proposed = Counter("edge_wsd_tokens_proposed", "Tokens proposed by the drafter", registry=registry)
        self.accepted = Counter("edge_wsd_tokens_accepted", "Proposed tokens that were kept", registry=registry)
        self.switches = Counter("edge_wsd_switches", "Switches to the base by reason", ["reason"], registry=registry)
        self.switch_position = Histogram(
            "edge_wsd_switch_position", "Drafted tokens before the base took over", buckets=_TOKENS, registry=registry
        )
        self.draft_share = Histogram(
            "edge_wsd_draft_share", "Share of an answer that the drafter wrote", buckets=_SHARES, registry=registry
        )
        self.first_token = Histogram(
            "edge_wsd_first_token_seconds", "From asking the pair to the first text", buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.answer = Histogram(
            "edge_wsd_answer_seconds", "From asking the pair to the end of the answer", buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip

    def watch_queue(self, running: Callable[[], int], queued: Callable[[], int]) -> None:
        """Where to look how many requests are answered and wait."""
        self._running.set_function(running)
        self._queued.set_function(queued)

    def observe(self, reply: Reply, seconds: float) -> None:
        """A whole answer, and how long it was read."""
        stats = reply.stats
        self.answers.labels(reply.finish_reason).inc()
        self.tokens.labels("drafter").inc(stats.n_draft)
        self.tokens.labels("base").inc(stats.n_tokens - stats.n_draft)
        self.prompt_tokens.labels("drafter").inc(stats.drafter_prompt_tokens)
        self.prompt_tokens.labels("base").inc(stats.base_prompt_tokens)
        self.reused.labels("drafter").inc(stats.drafter_reused_tokens)
        self.reused.labels("base").inc(stats.base_reused_tokens)
        self.proposed.inc(stats.n_drafted)
        self.accepted.inc(stats.n_accepted)
        if reply.switch is not None:
            self.switches.labels(reply.switch.reason).inc()
            self.switch_position.observe(reply.switch.index + 1)
            self.draft_share.observe(stats.draft_share)
        if stats.n_tokens:
            self.first_token.observe(stats.ttft_s)
        self.answer.observe(seconds)

    def text(self) -> bytes:
        """Everything, as Prometheus reads it."""
        return generate_latest(self.registry)


class CountedRequests:
    """A layer of ASGI that counts requests and their time, by route and status."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 499

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, counted)
        finally:
            route = getattr(scope.get("route"), "path", "other")  # the pattern, of which there are few
            self._metrics.requests.labels(route, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.monotonic() - began)
