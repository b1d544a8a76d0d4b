"""The documents as a site, in a browser: scripts run, light and dark can be chosen, and a narrow screen suffices."""

from __future__ import annotations

import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytest.importorskip("mkdocs", reason="the site is made by mkdocs, which is in the extra `test`")
ROOT = Path(__file__).parents[2]
NAMES = sorted("" if page.stem == "index" else f"{page.stem}/" for page in (ROOT / "docs").glob("*.md"))


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_args):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Where it is served."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def page(browser):
    with browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="light") as context:
        page = context.new_page()
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(f"{page.url}: {error}"))
        yield page


def test_every_page_runs_its_scripts_and_fits_on_a_telephone(site, page):
    """A heading that begins with a digit once ended the scripts of its page: its anchor is no selector."""
    wide = []
    for name in NAMES:
        page.goto(site + name)
        page.wait_for_function("[...document.querySelectorAll('table')].every(one => one.classList.contains('table'))")
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            wide.append(name)
    assert wide == [] and page.problems == []


def test_light_and_dark_follow_the_system_and_can_be_chosen(site, page):
    page.set_viewport_size({"width": 1280, "height": 844})
    page.goto(site + "library/")
    look = "() => [document.documentElement.dataset.bsTheme, getComputedStyle(document.querySelector('.kn')).color]"
    light = page.evaluate(look)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("document.documentElement.dataset.bsTheme === 'dark'")
    dark = page.evaluate(look)
    assert light[0] == "light" and light[1] != dark[1]
    page.click("#theme-menu")
    page.click("[data-bs-theme-value=light]")
    assert page.evaluate(look) == light
    assert page.problems == []
