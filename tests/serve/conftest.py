"""Real servers over the demo pair.

>>> def test_it(live_server):
...     httpx.get(f"{live_server.url}/health")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.live_servers import LiveServer, running_server


@pytest.fixture(scope="module")
def live_server() -> Iterator[LiveServer]:
    """A server with the defaults, but for two answers at the same time."""
    with running_server(parallel=2) as server:
        yield server


@pytest.fixture
def server_with() -> Iterator[Callable[..., LiveServer]]:
    """Starts servers with settings of one's own; they end with the test."""
    with ExitStack() as stack:
        yield lambda *models, **settings: stack.enter_context(running_server(*models, **settings))
