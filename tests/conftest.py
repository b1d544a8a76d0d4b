"""Keeps the tests out of the user's own directories, and lets them be interrupted."""

import signal
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

# No test asserts a time; on a busy machine hypothesis's deadline does.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for all tests, so that each model is probed once; child processes inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_WSD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _signals_are_heard() -> Iterator[None]:
    """Started as a background job or by `nohup`, a process ignores some signals and so do its children; the tests
    send them on purpose.
    """
    heard: dict[signal.Signals, Any] = {signal.SIGINT: signal.default_int_handler}
    for name in ("SIGHUP", "SIGQUIT"):
        if hasattr(signal, name):
            heard[getattr(signal, name)] = signal.SIG_DFL
    before = {number: signal.signal(number, handler) for number, handler in heard.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
