"""Keeps the tests out of the user's own directories, lets them be interrupted, and has a hub for those of pulling."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.hub_server import HubServer

# No test asserts a time; on a busy machine hypothesis's deadline does.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def _cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One cache for all tests, so that each model is probed once; child processes inherit it.

    What a machine is told once, of kernels that fail as those for AMX do that GCC 12 builds, is told here.
    """
    from edge_wsd.llama import kernels

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGE_WSD_CACHE", str(tmp_path_factory.mktemp("cache")))
        kernels.verdict()
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


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A hub on this machine with one repository, for a user without a token and without a cache."""
    from tests.hub_server import HubServer
    from tests.tiny_hub import FILE, GGUF, ODDS, REPO

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf-cache"))
    with HubServer() as hub:
        hub.add(REPO, {FILE: GGUF, **ODDS})
        yield hub


@pytest.fixture
def in_bounded_time() -> Iterator[None]:
    """Whoever would wait for ever fails instead."""
    if not hasattr(signal, "setitimer"):  # on Windows
        yield
        return

    def stop(*_: object) -> None:
        raise AssertionError("somebody waits for ever")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 120)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)
