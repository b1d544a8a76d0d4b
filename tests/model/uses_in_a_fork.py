"""A process with a loaded pair forks, and the child tries to use what it got: run by the tests.

`python -m tests.model.uses_in_a_fork DRAFTER BASE THREADS DEVICE_SIGNAL`. Prints of each use what came of it.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable

from edge_wsd import ModelSettings, Options, Pair
from edge_wsd.llama import library

OPTIONS = Options(max_tokens=5, threshold=0.0, window=2)
LIMIT_S = 20  # a child that hangs ends by SIGALRM


def uses(pair: Pair, load: Callable[[], Pair]) -> dict[str, Callable[[], object]]:
    sequence = pair.base.context.sequence()
    session = pair.session(options=OPTIONS)
    session.ask("hello")
    suspended = session.stream("more")
    next(suspended)

    def inside_with() -> None:
        with pair:
            pass

    def fresh() -> str:
        with load() as own:
            return own.generate("hello", OPTIONS).text

    return {
        "generate": lambda: pair.generate("hello", OPTIONS),
        "ask": lambda: session.ask("hello"),
        "stream": lambda: next(pair.session().stream("hello")),
        "a stream that was begun": lambda: next(suspended),
        "decode": lambda: sequence.extend([1]),
        "tokenize": lambda: pair.base.model.vocab.tokenize("hello"),
        "close": pair.close,
        "close a stream": suspended.close,
        "close a sequence": sequence.close,
        "close a model": pair.base.model.close,
        "leave a with block": inside_with,
        "nothing": lambda: None,
        "load": fresh,
    }


def in_a_child(use: Callable[[], object]) -> str:
    """What `use` comes to in a forked child, which then ends as any process does."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(LIMIT_S)
        try:
            use()
            outcome = "done"
        except Exception as error:
            outcome = type(error).__name__
        os.write(writing, outcome.encode())
        sys.exit(0)  # with everything that a process does at its end
    os.close(writing)
    outcome = os.read(reading, 100).decode()
    _, status = os.waitpid(child, 0)
    return f"{outcome}, {os.waitstatus_to_exitcode(status)}"


def by_multiprocessing(pair: Pair) -> str:
    """The start method that was Linux' default up to Python 3.13."""
    results = multiprocessing.get_context("fork").SimpleQueue()

    def work() -> None:
        signal.alarm(LIMIT_S)
        try:
            pair.generate("hello", OPTIONS)
        except Exception as error:
            results.put(type(error).__name__)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    return f"{results.get()}, {process.exitcode}"


def main(drafter: str, base: str, threads: str, device_signal: str) -> None:
    settings = ModelSettings(threads=int(threads), context_length=256, device_signal=device_signal)  # type: ignore[arg-type]

    def load() -> Pair:
        return Pair.load(drafter, base, drafter_settings=settings, base_settings=settings)

    pair = load()
    found = {}
    for name, use in uses(pair, load).items():
        print(name, file=sys.stderr, flush=True)
        found[name] = in_a_child(use)
        if name == "nothing":
            with library.LOCK:  # as while another thread decodes
                found["close, while a thread decodes"] = in_a_child(pair.close)
    found["multiprocessing"] = by_multiprocessing(pair)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
