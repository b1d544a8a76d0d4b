"""Processes that end, or fork, while eight replies are being written: at once, with their own exit code, in silence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.devices import FORKED_END

ROOT = Path(__file__).parents[2]
LIMIT_S = 120
BEGIN = """
import asyncio, atexit, gc, os, signal, sys, threading
from edge_wsd import ForkedError, ModelSettings, Options, Pair

settings = ModelSettings(threads=1, context_length=512)
pair = Pair.load(sys.argv[1], sys.argv[2], drafter_settings=settings, base_settings=settings, parallel=8)
streams = [pair.session(options=Options(max_tokens=400)).stream(f"hello {n}") for n in range(10)]
for stream in streams[:8]:
    next(stream)
"""
ENDS = {
    "its last line": ("", 0),
    "sys.exit": ("sys.exit(3)", 3),
    "an exception": ("raise ValueError('on purpose')", 1),
    "an exception inside a with block": ("with pair: raise ValueError('on purpose')", 1),
    "everything dropped": ("del pair, stream, streams; gc.collect()", 0),
    "the pair closed": ("pair.close()", 0),
    "a pair that is closed at exit": ("atexit.register(pair.close)", 0),
    "a thread that still reads": ("threading.Thread(target=streams[0].result).start()", 0),
    "threads that are cut off": (
        "for stream in streams: threading.Thread(target=stream.result, daemon=True).start()",
        0,
    ),
    "a thread that exits": ("threading.Thread(target=lambda: sys.exit(5)).start()", 0),
    "an event loop": (
        "async def main():\n    async for event in streams[0]:\n        return\nasyncio.run(main())",
        0,
    ),
}


def run(script, files):
    """A child process, which may end by a signal or hang."""
    return subprocess.run(
        [sys.executable, "-c", script, str(files["drafter"]), str(files["base"]), str(FORKED_END)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.mark.parametrize("end", ENDS)
def test_a_process_that_ends_while_replies_are_written_says_nothing_of_them(end, files):
    line, code = ENDS[end]
    done = run(BEGIN + line, files)
    assert (done.returncode, done.stdout) == (code, "")
    if "exception" in end:
        assert done.stderr.splitlines()[-1] == "ValueError: on purpose" and done.stderr.count("Traceback") == 1
    else:
        assert done.stderr == ""


SIGNALLED = """
signal.signal(signal.SIGTERM, lambda *_: (pair.close(), sys.exit(7)))
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
while True:
    for stream in [pair.session().stream(f"hello {n}") for n in range(8)]:
        stream.result()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no such signal")
def test_a_signal_handler_may_close_the_pair_and_exit(files):
    """It may come while a prompt is made; then the pair says that it is busy, and the process goes on to its end."""
    done = run(BEGIN + SIGNALLED, files)
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "") or "BusyError" in done.stderr, done.stderr


FORKS = """
def uses():
    yield lambda: next(streams[0])
    yield lambda: streams[1].result()
    yield lambda: asyncio.run(streams[2].__anext__())
    yield lambda: pair.generate("hello")
    yield lambda: pair.session().stream("hello")

def in_the_child():
    for use in uses():
        try:
            use()
        except ForkedError:
            continue
        return 1
    streams[3].cancel()
    streams[4].close()
    streams.clear()
    gc.collect()
    pair.close()
    return 0

for n in range(5):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        sys.exit(in_the_child())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code != int(sys.argv[3]):
        sys.exit(f"child {n} ended with {code}")
next(streams[0])  # the parent writes on
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_that_is_forked_while_replies_are_written_is_refused_and_never_waits(files):
    """A cancel in the child once waited for a lock that the engine's thread had held in the parent."""
    done = run(BEGIN + FORKS, files)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
