"""A real browser in front of real servers over the demo pair.

>>> def test_it(open_page):
...     page = open_page()
...     page.fill("#ask textarea", "How do I list files by size?")
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from edge_wsd.llama.settings import ModelSettings
from tests.live_servers import LiveServer, decode_slowly, demo_models, running_server

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ROOMY = ModelSettings(gpu_layers=0, threads=1, context_length=1024)
ENDLESS = {"grammar": "root ::= [a-z ] root", "grammar_from": "start", "max_tokens": 900, "stop_loops": False}
PATIENCE_MS = 30_000
WIDE = {"width": 1280, "height": 860}


expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"needs a browser: one of {', '.join(BROWSERS)}; on Debian apt-get install chromium")
    with sync_playwright() as started:
        # Without its own sandbox, which neither root nor a container can set up.
        browser = started.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def demo_server() -> Iterator[LiveServer]:
    """One with the defaults."""
    with running_server() as server:
        yield server


@pytest.fixture(scope="module")
def _talkative_server() -> Iterator[LiveServer]:
    with running_server(_demo_with(ENDLESS)) as server:
        yield server


@pytest.fixture
def talkative_server(_talkative_server: LiveServer, monkeypatch: pytest.MonkeyPatch) -> LiveServer:
    """One whose answers take long enough to be stopped, however quick the machine is."""
    decode_slowly(monkeypatch)
    return _talkative_server


@pytest.fixture(scope="module")
def hostile_server() -> Iterator[LiveServer]:
    """One that answers with HTML, in whose answers a script would run if they were taken for HTML."""
    answer = "<img src=x onerror=document.title=1>\\n<script>document.title=2</script>"
    with running_server(_demo_with({"grammar": f'root ::= "{answer}"', "grammar_from": "start"})) as server:
        yield server


def _demo_with(changes: dict[str, Any]) -> Any:
    return demo_models(changes=changes, loading={"drafter_settings": ROOMY, "base_settings": ROOMY})


@dataclass
class Watched:
    """What a page asked for and complained of."""

    urls: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


@pytest.fixture
def watched() -> Watched:
    return Watched()


@pytest.fixture
def open_page(browser: Browser, demo_server: LiveServer, watched: Watched) -> Iterator[Callable[..., Page]]:
    """Opens the page of a server. No test may end with a request to another host or a complaint of the browser."""
    servers = {demo_server.url}
    with ExitStack() as stack:

        def opened(server: LiveServer = demo_server, *, ready: bool = True, script: str = "", **context: Any) -> Page:
            made = stack.enter_context(browser.new_context(**{"viewport": WIDE, **context}))
            made.add_init_script(script)
            page = made.new_page()
            page.set_default_timeout(PATIENCE_MS)
            page.on("request", lambda request: watched.urls.append(request.url))
            page.on("pageerror", lambda error: watched.complaints.append(str(error)))
            page.on("console", lambda line: watched.complaints.append(line.text) if line.type == "error" else None)
            servers.add(server.url)
            page.goto(server.url)
            if ready:
                page.wait_for_selector("body[data-ready]")
            return page

        yield opened
    hosts = {urlsplit(url).netloc for url in watched.urls}
    assert hosts <= {urlsplit(url).netloc for url in servers}
    assert watched.complaints == []
