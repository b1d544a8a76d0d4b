"""Keeps the tests out of the user's own directories, and lets them be interrupted."""

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for all tests, so that each model is probed once; child processes inherit it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_WSD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _ctrl_c_is_heard() -> Iterator[None]:
    """Started as a background job, a process ignores Ctrl-C and so do its children; the tests send it on purpose."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
