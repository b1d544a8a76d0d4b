"""Many clients at once against `edge-wsd serve` with the demonstration pair: right answers, no leak, no stuck slot.

    python -m scripts.load_test                            # 64 clients, 10 minutes
    python -m scripts.load_test --seconds 20 --clients 16

Each client asks one request after the other, of every interface. Some leave in the middle, some send nonsense. Every
answer is compared with that of a quiet run. The exit code is 0 only if all are right, nothing has leaked, and the
server is idle and answers as before at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

import httpx
import psutil

from scripts.load_cases import BAD_REQUESTS, Answer, BadRequest, Case, cases, same, stable_questions

LEAVE, NONSENSE = 0.15, 0.06
"""Shares of requests whose client leaves before the end, and of those that make no sense."""
N_QUESTIONS = 4
_SETTLE_S = 15.0
_MOST_GROWTH, _WARM_BYTES = 0.05, 16 << 20
"""Of the resident memory, from the second sixth of the time to the last: a share, and what caches may still take."""
_POOL = 8
"""Threads that Python's pool and the engine may keep between requests."""


@dataclass
class Sample:
    """What the server's process and its /metrics say at a moment."""

    rss: int
    threads: int
    files: int
    running: float
    queued: float


@dataclass
class Outcome:
    """What happened, and what was wrong with it."""

    requests: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    first_s: list[float] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        return not self.errors and not self.leaks and self.requests["answered"] > 0

    def lines(self) -> Iterator[str]:
        """For a reader."""
        yield "requests: " + ", ".join(f"{kind} {n:,}" for kind, n in sorted(self.requests.items()))
        yield "errors: " + (", ".join(f"{kind} ({n:,})" for kind, n in self.errors.most_common(10)) or "none")
        if len(self.first_s) > 1:
            cuts = quantiles(self.first_s, n=20)
            yield f"first token: p50 {1000 * median(self.first_s):.0f} ms, p95 {1000 * cuts[-1]:.0f} ms"
        if self.samples:
            first, last = self.samples[len(self.samples) // 6], self.samples[-1]
            yield f"memory: {first.rss / 2**20:.0f} MiB early, {last.rss / 2**20:.0f} MiB at the end"
            held = f"{last.running:.0f} running, {last.queued:.0f} queued"
            yield f"at the end: {last.threads} threads, {last.files} open files, {held}"
        yield "leaks: " + ("; ".join(self.leaks) or "none")


@contextmanager
def served(parallel: int) -> Iterator[tuple[str, psutil.Process]]:
    """A server in a process of its own, whose caches are small, so that they are soon full."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "edge_wsd", "serve", "--pair", "demo", "--port", "0", "-q", "--cache-ram", "8"]
    more = ["--parallel", str(parallel), "--ctx", "512", "--ready-fd", str(writing), "--until-stdin-closes"]
    with subprocess.Popen([*command, *more], pass_fds=[writing], stdin=subprocess.PIPE) as process:
        os.close(writing)
        with os.fdopen(reading) as pipe:
            line = pipe.readline()
        if not line:
            raise SystemExit(f"the server ended with {process.wait()}")
        try:
            yield json.loads(line)["url"], psutil.Process(process.pid)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(60)


@dataclass
class Load:
    """One load test of the server at `url`."""

    http: httpx.AsyncClient
    """For what is asked before, after and about the load."""
    process: psutil.Process
    cases: Sequence[Case]
    expected: dict[str, Answer] = field(default_factory=dict)
    outcome: Outcome = field(default_factory=Outcome)

    async def run(self, n_clients: int, seconds: float, seed: int) -> Outcome:
        """A quiet run, the load, and a look at what is left of it."""
        await self._quiet_run()
        before = await self._sample()
        until = time.monotonic() + seconds
        watching = asyncio.ensure_future(self._watch(max(0.5, seconds / 200)))
        quiet, limits = self.http, httpx.Limits(max_connections=None, max_keepalive_connections=n_clients)
        async with new_client(str(quiet.base_url), limits) as self.http:
            await asyncio.gather(*(self._client(random.Random(f"{seed} {n}"), until) for n in range(n_clients)))
        self.http = quiet
        watching.cancel()
        await self._settle()
        self._look_for_leaks(before, self.outcome.samples)
        await self._check_all()
        return self.outcome

    async def _quiet_run(self) -> None:
        for case in self.cases:
            self.expected[_key(case)] = case.read([item async for item in self._items(case)])

    async def _check_all(self) -> None:
        """All at once, but no more than are waited for: every slot must answer again, and rightly."""
        for case in self.cases:
            await self._whole(case)

    async def _client(self, rng: random.Random, until: float) -> None:
        while time.monotonic() < until:
            chance = rng.random()
            if chance < NONSENSE:
                await self._nonsense(rng.choice(BAD_REQUESTS))
            elif chance < NONSENSE + LEAVE:
                await self._leave(rng.choice(self.cases), rng)
            else:
                await self._whole(rng.choice(self.cases))

    async def _whole(self, case: Case) -> None:
        """A request whose answer is waited for."""
        began, first_s, got = time.monotonic(), None, []
        try:
            async for item in self._items(case):
                first_s = first_s if first_s is not None else time.monotonic() - began
                got.append(item)
        except httpx.HTTPStatusError as error:
            await self._refused(case, error)
            return
        except (httpx.HTTPError, ValueError) as error:
            self.outcome.errors[f"{case.name}: {type(error).__name__}"] += 1
            return
        try:
            is_right = same(case.read(got), self.expected[_key(case)])
        except (KeyError, IndexError, TypeError):
            is_right = False
        self.outcome.requests["answered"] += 1
        if case.streams and first_s is not None:
            self.outcome.first_s.append(first_s)
        if not is_right:
            self.outcome.errors[f"{case.name}: wrong answer"] += 1

    async def _refused(self, case: Case, error: httpx.HTTPStatusError) -> None:
        status, wait = error.response.status_code, error.response.headers.get("Retry-After", "")
        if status == 429 and wait.isdigit():
            self.outcome.requests["told to come again"] += 1
            await asyncio.sleep(0.2)
        else:
            self.outcome.errors[f"{case.name}: status {status}"] += 1

    async def _leave(self, case: Case, rng: random.Random) -> None:
        """A request whose client is gone before the end: in the middle of a stream, or at any moment."""

        async def some() -> None:
            n_left = rng.randrange(1, 12)
            async for _ in self._items(case):
                n_left -= 1
                if n_left == 0 and case.streams:
                    return

        try:
            await asyncio.wait_for(some(), rng.uniform(0.0, 1.0))
        except asyncio.TimeoutError:
            pass
        except (httpx.HTTPError, ValueError) as error:
            status = error.response.status_code if isinstance(error, httpx.HTTPStatusError) else 0
            if status != 429:
                self.outcome.errors[f"{case.name}: {type(error).__name__} {status or ''} while leaving"] += 1
        self.outcome.requests["left early"] += 1

    async def _nonsense(self, bad: BadRequest) -> None:
        headers = {"Content-Type": "application/json"}
        try:
            answer = await self.http.request(bad.method, bad.path, content=bad.content, headers=headers)
            told = answer.json().get("error")
        except (httpx.HTTPError, ValueError) as error:
            # Who refuses a body unread may close the connection before it is sent.
            if not (413 in bad.statuses and isinstance(error, httpx.TransportError)):
                self.outcome.errors[f"nonsense to {bad.path}: {type(error).__name__}"] += 1
            return
        self.outcome.requests["nonsense refused"] += 1
        if answer.status_code not in (*bad.statuses, 429) or not told:
            self.outcome.errors[f"nonsense to {bad.path}: status {answer.status_code}"] += 1

    async def _items(self, case: Case) -> AsyncIterator[dict[str, Any]]:
        """The objects of an answer. Raises `httpx.HTTPStatusError` for one that is refused, ValueError in a stream."""
        async with self.http.stream("POST", case.path, json=case.body) as answer:
            answer.raise_for_status()
            if not case.streams:
                yield json.loads(await answer.aread())
                return
            async for line in answer.aiter_lines():
                text = line.removeprefix("data:").strip()
                if not text or text == "[DONE]" or line.startswith((":", "event:")):
                    continue
                item = json.loads(text)
                if item.get("error"):
                    raise ValueError(f"an error in a stream: {item['error']}")
                yield item

    # The server

    async def _sample(self) -> Sample:
        text = (await self.http.get("/metrics")).text
        numbers = dict(line.rsplit(" ", 1) for line in text.splitlines() if line and not line.startswith("#"))
        with self.process.oneshot():
            return Sample(
                self.process.memory_info().rss,
                self.process.num_threads(),
                self.process.num_fds(),
                float(numbers["edge_wsd_requests_running"]),
                float(numbers["edge_wsd_requests_queued"]),
            )

    async def _watch(self, every_s: float) -> None:
        while True:
            self.outcome.samples.append(await self._sample())
            await asyncio.sleep(every_s)

    async def _settle(self) -> None:
        """Waits until nothing runs and nobody waits."""
        ends_at = time.monotonic() + _SETTLE_S
        while True:
            sample = await self._sample()
            if not sample.running and not sample.queued:
                break
            if time.monotonic() > ends_at:
                self.outcome.leaks.append(
                    f"{sample.running:.0f} slots and {sample.queued:.0f} places are held by nobody"
                )
                break
            await asyncio.sleep(0.2)
        await asyncio.sleep(2.0)  # threads that have nothing to do end
        self.outcome.samples.append(await self._sample())

    def _look_for_leaks(self, before: Sample, samples: Sequence[Sample]) -> None:
        sixth, last = max(1, len(samples) // 6), samples[-1]
        early, late = (median(one.rss for one in part) for part in (samples[sixth : 2 * sixth], samples[-sixth:]))
        if late > early * (1 + _MOST_GROWTH) + _WARM_BYTES:
            self.outcome.leaks.append(f"memory grew from {early / 2**20:.0f} to {late / 2**20:.0f} MiB")
        if last.threads > before.threads + _POOL + (os.cpu_count() or 1):
            self.outcome.leaks.append(f"threads grew from {before.threads} to {last.threads}")
        if last.files > before.files + _POOL:
            self.outcome.leaks.append(f"open files grew from {before.files} to {last.files}")


def new_client(url: str, limits: httpx.Limits | None = None) -> httpx.AsyncClient:
    """Not through a proxy."""
    return httpx.AsyncClient(base_url=url, timeout=120, limits=limits or httpx.Limits(), trust_env=False)


def _key(case: Case) -> str:
    return json.dumps([case.path, case.body])


async def load(n_clients: int, seconds: float, parallel: int, seed: int = 0) -> Outcome:
    """Starts a server, and puts it under load."""
    chosen = list(cases(stable_questions(N_QUESTIONS)))
    with served(parallel) as (url, process):
        async with new_client(url) as http:
            known = (await http.get("/openapi.json")).json()["paths"]
            return await Load(http, process, [case for case in chosen if case.path in known]).run(
                n_clients, seconds, seed
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64, help="clients at once (64)")
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (600)")
    parser.add_argument("--parallel", type=int, default=4, help="answers that the server writes at once (4)")
    parser.add_argument("--seed", type=int, default=0, help="of what the clients do (0)")
    given = parser.parse_args()
    outcome = asyncio.run(load(given.clients, given.seconds, given.parallel, given.seed))
    print(f"{given.clients} clients, {given.seconds:g} s, {given.parallel} answers at once")
    print("\n".join(outcome.lines()))
    raise SystemExit(0 if outcome.is_sound else 1)


if __name__ == "__main__":
    main()
