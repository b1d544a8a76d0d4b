"""Tokens per second through HTTP against those through the library: the same pair, questions and process.

    python -m scripts.bench_serve                                          # the demonstration pair
    python -m scripts.bench_serve --drafter D.gguf --base B.gguf --drafter-template plain

The library, whole answers and streamed ones take turns, `--rounds` times; medians are printed. The server runs in a
thread of its own, as does the engine; the client's thread shares Python's lock with both, so a server that is asked
from elsewhere loses less.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import httpx

from edge_wsd import ModelSettings, Options, Pair
from edge_wsd.demo.examples import EXAMPLES
from edge_wsd.models.pairs.known import find_pair
from edge_wsd.models.pairs.named_pair import NamedPair
from edge_wsd.serve.app import create_app
from edge_wsd.serve.served_models import ServedModels
from edge_wsd.serve.server import HttpServer, listen
from edge_wsd.serve.settings import ServeSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drafter", help="a GGUF file (the demonstration pair's)")
    parser.add_argument("--base", help="a GGUF file (the demonstration pair's)")
    parser.add_argument("--drafter-template", help="as for edge-wsd")
    parser.add_argument("--tokens", type=int, default=200, help="tokens of each answer (200)")
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each way (7)")
    parser.add_argument("--threads", type=int, help="CPU threads (as chosen)")
    given = parser.parse_args()
    named = NamedPair("", given.drafter, given.base, given.drafter_template) if given.base else find_pair("demo")
    settings = ModelSettings(threads=given.threads, context_length=1024)
    with (
        Pair.load(*named.find_models(), drafter_settings=settings, base_settings=settings, **named.templates) as pair,
        serving(named, pair) as client,
    ):
        for line in lines(measured(pair, client, given.tokens, given.rounds)):
            print(line)


@contextmanager
def serving(named: NamedPair, pair: Pair) -> Iterator[httpx.Client]:
    """A client of a server over the pair."""
    settings = ServeSettings(port=0, shutdown_s=1)
    models = ServedModels(named)
    models.put(pair)
    ready, urls = threading.Event(), []

    def is_ready(url: str) -> None:
        urls.append(url)
        ready.set()

    with listen(settings) as sock:
        server = HttpServer(create_app(settings, models), settings, on_ready=is_ready)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[sock])))
        thread.start()
        try:
            if not ready.wait(60):
                raise SystemExit("the server did not begin")
            with httpx.Client(base_url=urls[0], timeout=600) as client:
                yield client
        finally:
            server.should_exit = True
            thread.join()


def measured(pair: Pair, client: httpx.Client, n_tokens: int, rounds: int) -> dict[str, list[float]]:
    """Tokens per second of each round, by way."""
    # Proposals are off: how many are tried depends on measured times, and would differ between the ways.
    changes = {"max_tokens": n_tokens, "stop_loops": False, "speculation": False, "ignore_repeated": False}
    body = {"messages": [{"role": "user", "content": EXAMPLES[0]}], "edge_wsd": changes}

    def library() -> int:
        return pair.generate(EXAMPLES[0], Options(**changes)).stats.n_tokens

    def whole() -> int:
        return int(client.post("/v1/chat/completions", json=body).json()["usage"]["completion_tokens"])

    def streamed() -> int:
        asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
        n_written = 0
        with client.stream("POST", "/v1/chat/completions", json=asked) as answer:
            for line in answer.iter_lines():
                if '"completion_tokens"' in line:
                    n_written = json.loads(line.removeprefix("data: "))["usage"]["completion_tokens"]
        return n_written

    ways: dict[str, Callable[[], int]] = {"library": library, "whole answer": whole, "stream": streamed}
    for way in ways.values():  # what is done once is not measured
        way()
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.perf_counter()
            rates[name].append(way() / (time.perf_counter() - began))
    return rates


def lines(rates: dict[str, list[float]]) -> Iterator[str]:
    """A table for a reader."""
    of_library = median(rates["library"])
    yield f"{'way':<14} {'tokens/s':>9} {'to library':>11}"
    for name, found in rates.items():
        yield f"{name:<14} {median(found):>9.1f} {median(found) / of_library:>11.2f}"


if __name__ == "__main__":
    main()
