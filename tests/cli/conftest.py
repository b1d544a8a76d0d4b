"""Runs the command line in processes of its own: the real one, and one over a pair that is played."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_wsd.disk_cache import CACHE_VARIABLE as CACHE
from tests.cli.terminal import Person

FAKE = [sys.executable, str(Path(__file__).with_name("fake_program.py"))]
REAL = [sys.executable, "-m", "edge_wsd"]

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """No colours or settings of the person who runs the tests, and a home of its own; the cache is all tests'."""
    kept = {name: value for name, value in os.environ.items() if name == CACHE or not name.startswith("EDGE_WSD")}
    for name in ("NO_COLOR", "FORCE_COLOR", "COLORTERM", "COLUMNS", "XDG_DATA_HOME", "XDG_CACHE_HOME"):
        kept.pop(name, None)
    return {**kept, "HOME": str(tmp_path), "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}


def _runner(program: list[str], environment: dict[str, str], folder: Path) -> Run:
    def run(*arguments: str, stdin: bytes | str | None = None, **changes: Any) -> subprocess.CompletedProcess[str]:
        data = stdin.encode() if isinstance(stdin, str) else stdin
        how: dict[str, Any] = {"stdin": subprocess.DEVNULL} if data is None else {"input": data}
        env = {**environment, **changes}
        done = subprocess.run(
            [*program, *arguments], capture_output=True, cwd=folder, env=env, timeout=120, check=False, **how
        )
        return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def played(environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs `edge-wsd` over the played pair: `played("run", "hello", stdin="...", NO_COLOR="1")`."""
    return _runner(FAKE, environment, tmp_path)


@pytest.fixture
def program(environment: dict[str, str], tmp_path: Path) -> Run:
    """Runs the real `edge-wsd`."""
    return _runner(REAL, environment, tmp_path)


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts a process over the played pair, or the real one with `real=True`, for tests that disturb it."""

    def begin(*arguments: str, real: bool = False, **how: Any) -> subprocess.Popen[bytes]:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how}
        return subprocess.Popen([*(REAL if real else FAKE), *arguments], cwd=tmp_path, env=environment, **pipes)

    return begin


@pytest.fixture
def at_terminal(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Person]]:
    """Sits a person down before `edge-wsd` over the played pair, or the real one with `real=True`."""
    people: list[Person] = []

    def sit_down(*arguments: str, real: bool = False, **how: Any) -> Person:
        people.append(Person([*(REAL if real else FAKE), *arguments], environment, tmp_path, **how))
        return people[-1]

    yield sit_down
    for somebody in people:
        somebody.close()


@pytest.fixture
def person(at_terminal: Callable[..., Person]) -> Callable[..., Person]:
    """Sits a person down before a chat: `person()` waits for the first prompt."""

    def sit_down(*arguments: str, **how: Any) -> Person:
        somebody = at_terminal("chat", *arguments, **how)
        somebody.waits_for(">>> ")
        return somebody

    return sit_down
