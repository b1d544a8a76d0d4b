"""The page's files and headers; no browser is needed."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from edge_wsd import Options
from edge_wsd.serve.page.routes import page_files
from tests.live_servers import LiveServer, running_server

BROWSER = {"Accept": "text/html,*/*"}
OTHER_HOSTS = re.compile(rb"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", re.IGNORECASE)


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with running_server(api_keys=("secret",)) as server:
        yield server


def test_the_page_and_its_files_need_no_key_but_what_it_asks_for_does(server: LiveServer) -> None:
    with server.client() as client:
        statuses = {path: client.get(path).status_code for path in ("/", "/page/static/main.js", "/page/config")}
        assert statuses == {"/": 200, "/page/static/main.js": 200, "/page/config": 401}
        assert client.get("/page/config", headers={"Authorization": "Bearer secret"}).status_code == 200


def test_every_file_comes_with_a_strict_policy(server: LiveServer) -> None:
    with server.client() as client:
        for path in ("/", "/favicon.ico", *(f"/page/static/{name}" for name in page_files())):
            response = client.get(path, headers=BROWSER)
            policy = response.headers["content-security-policy"].split("; ")
            assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
            assert not [rule for rule in policy if "unsafe" in rule or "*" in rule or "http" in rule]
            assert response.headers["x-content-type-options"] == "nosniff"
            assert int(client.head(path, headers=BROWSER).headers["content-length"]) == len(response.content)


def test_a_file_that_is_not_the_page_s_is_not_found(server: LiveServer) -> None:
    with server.client() as client:
        for name in ("routes.py", "..%2froutes.py", "%2e%2e/routes.py", "static/main.js"):
            assert client.get(f"/page/static/{name}").status_code in (401, 404)


def test_no_file_names_another_host() -> None:
    namespace = b"http://www.w3.org/2000/svg"
    found = {name: OTHER_HOSTS.findall(content.replace(namespace, b"")) for name, (_, content) in page_files().items()}
    assert {name: hosts for name, hosts in found.items() if hosts} == {}


def test_nothing_is_parsed_as_html_or_run_from_text() -> None:
    sinks = re.compile(
        rb"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|srcdoc"
    )
    assert {name: sinks.findall(content) for name, (_, content) in page_files().items() if sinks.search(content)} == {}


def test_the_page_learns_defaults_from_their_one_home(server: LiveServer) -> None:
    with server.client(headers={"Authorization": "Bearer secret"}) as client:
        config = client.get("/page/config").json()
    demo = config["pairs"][0]
    assert demo["name"] == "demo" and demo["examples"]
    assert demo["options"] == {name: getattr(Options(), name) for name in demo["options"]}
