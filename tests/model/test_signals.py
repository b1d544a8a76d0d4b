"""A signal handler that closes a pair, while one is loaded, asked or closed: it does, or is told why not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this system has no such signals")
ROOT = Path(__file__).parents[2]
LIMIT_S = 120
BEGIN = """
import os, random, signal, sys, threading, time
from edge_wsd import BusyError, ClosedError, ModelSettings, Options, Pair
from edge_wsd.engine.engine import Engine

settings = ModelSettings(threads=1, context_length=512)
signal.alarm(100)

def load(**given):
    return Pair.load(sys.argv[1], sys.argv[2], drafter_settings=settings, base_settings=settings, **given)

def close(*_):
    try:
        pair.close()
        print("closed")
    except BusyError as error:
        print("refused:", error)

def raise_signal(*_):
    os.kill(os.getpid(), signal.SIGTERM)

signal.signal(signal.SIGTERM, close)
"""
IN_A_LOAD = """
pair = load(parallel=4)
streams = [pair.session(options=Options(max_tokens=400)).stream(f"hello {n}") for n in range(200)]
next(streams[0])
with load(progress=lambda stage, fraction: stage == "probe" or raise_signal()) as other:
    print(other.generate("hello", max_tokens=2).finish_reason)
print(streams[-1].is_over)
close()
print(streams[-1].result().finish_reason)
"""
IN_SUBMIT = """
pair = load()
begin = Engine._begin_thread
Engine._begin_thread = lambda engine: (raise_signal(), begin(engine))
print(pair.generate("hello", max_tokens=2).finish_reason)
"""
AT_ANY_MOMENT = """
rng, n_refused = random.Random(1), 0

def close(*_):
    global n_refused
    try:
        pair.close()
    except BusyError:
        n_refused += 1
        signal.setitimer(signal.ITIMER_REAL, 0.001)

signal.alarm(0)
signal.signal(signal.SIGALRM, close)
for n in range(12):
    pair = load(parallel=3)
    beside = [pair.session(options=Options(max_tokens=400)).stream("hello") for n in range(2)]
    signal.setitimer(signal.ITIMER_REAL, 0.2 * rng.random())
    try:
        while True:
            pair.generate("hello " * rng.choice([1, 100]), max_tokens=rng.choice([1, 4]))
    except ClosedError:
        pass
    while any(not stream.is_over and next(stream, None) for stream in beside):
        pass
    assert not pair.drafter.context.is_open and not pair.base.context.is_open
print("ended", file=sys.stderr)
"""


def run(script, files):
    """A child process, which may end by a signal or hang."""
    return subprocess.run(
        [sys.executable, "-c", BEGIN + script, str(files["drafter"]), str(files["base"])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )


def test_a_handler_that_closes_a_pair_while_another_one_is_loaded_is_refused_and_never_waits(files):
    """It waited for the engine's thread, which waited for llama.cpp, which this thread had interrupted in a load."""
    done = run(IN_A_LOAD, files)
    assert done.returncode == 0, (done.stdout, done.stderr)
    *refusals, finish, is_over, closed, its_finish = done.stdout.splitlines()
    assert refusals and all(line.startswith("refused: a pair cannot be closed") for line in refusals)
    assert finish in ("stop", "length") and (is_over, closed, its_finish) == ("False", "closed", "cancelled")


def test_a_handler_that_comes_while_a_reply_is_handed_to_the_engine_never_waits(files):
    """It waited for a thread that needs the lock which the interrupted call held."""
    done = run(IN_SUBMIT, files)
    assert done.returncode == 0, (done.stdout, done.stderr)
    refusal, finish = done.stdout.splitlines()
    assert refusal.startswith("refused: a pair cannot be closed") and finish in ("stop", "length")


def test_a_handler_that_comes_at_any_moment_never_waits_for_the_thread_it_has_interrupted(files):
    done = run(AT_ANY_MOMENT, files)
    assert (done.returncode, done.stderr) == (0, "ended\n"), (done.stdout, done.stderr)
