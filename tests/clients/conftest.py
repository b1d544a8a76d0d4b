"""A server as its users start it, with the demonstration pair, for clients that know nothing of edge-wsd."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def address(_cache_of_its_own: None) -> Iterator[str]:
    """Where it listens, without a path. One process for all tests of clients."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "edge_wsd", "serve", "--pair", "demo", "--port", "0", "--parallel", "4", "--quiet"]
    with subprocess.Popen(
        [*command, "--ready-fd", str(writing), "--until-stdin-closes"], pass_fds=[writing], stdin=subprocess.PIPE
    ) as process:
        os.close(writing)
        with os.fdopen(reading) as pipe:
            line = pipe.readline()
        assert line, f"the server ended with {process.wait()}"
        yield json.loads(line)["url"]
        assert process.poll() is None, "the server died"
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(60) == 0


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is on this machine."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
