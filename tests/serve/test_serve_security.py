"""Who may use the server: by which name, from which page, with which key."""

import asyncio
import socket

import pytest
from starlette.responses import Response

from edge_wsd.errors import OptionError
from edge_wsd.serve.security import OwnNames
from edge_wsd.serve.settings import ServeSettings
from tests.live_servers import running_server

SITE = "https://example.com"
KEY, OTHER_KEY = "first-key", "second-key"


@pytest.fixture(scope="module")
def locked_server():
    with running_server(api_keys=(KEY, OTHER_KEY), allow_origins=(SITE,)) as server:
        yield server


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.5", "example.com", "localhost.example.com", "127.0.0.1.nip.io"]
)
def test_an_address_that_others_reach_needs_a_key(host):
    with pytest.raises(OptionError, match="host must be a loopback address, or another one together with an API key"):
        ServeSettings(host=host)
    assert ServeSettings(host=host, api_keys=("k",)).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST"])
def test_a_loopback_address_needs_none(host):
    assert ServeSettings(host=host).is_loopback


@pytest.mark.parametrize("key", ["", "two words", "ä", "line\n"])
def test_a_key_is_one_word_and_is_not_shown(key):
    with pytest.raises(OptionError, match="api_key must be one word") as caught:
        ServeSettings(api_keys=(key,))
    assert not key.strip() or key.strip() not in str(caught.value)
    assert "secret" not in repr(ServeSettings(api_keys=("secret",)))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:1", "localhost", "LocalHost:99", "localhost.", "[::1]:5", "10.0.0.7", "app.localhost"],
)
def test_a_server_answers_to_addresses_and_its_own_names(live_server, host):
    with live_server.client() as client:
        assert client.get("/v1/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example:8686",
        "me@localhost",
        "",
        "a b",
        "[::1",
    ],
)
@pytest.mark.parametrize("path", ["/", "/health", "/v1/models", "/api/tags"])
def test_a_name_that_somebody_made_point_here_gets_no_answer(live_server, host, path):
    """DNS rebinding: the browser takes the page and this server for one site, and lets the page read everything."""
    with live_server.client() as client:
        answer = client.get(path, headers={"Host": host})
    assert answer.status_code == 403
    error = answer.json()["error"]
    assert "--allow-host" in (error if path.startswith("/api/") else error["message"])


def test_a_further_name_can_be_allowed(server_with):
    server = server_with(allow_hosts=("box.lan",))
    with server.client() as client:
        assert client.get("/health", headers={"Host": "box.lan:80"}).status_code == 200
        assert client.get("/health", headers={"Host": "other.lan"}).status_code == 403


@pytest.mark.parametrize(
    "origin", [SITE, "null", "http://localhost:1", "http://127.0.0.1", "app://obsidian.md", "file://"]
)
def test_pages_of_other_sites_are_refused(live_server, origin):
    """Also where the browser would only hide the answer: the work would be done all the same."""
    with live_server.client() as client:
        for answer in (
            client.get("/v1/models", headers={"Origin": origin}),
            client.post("/tokenize", json={"content": "ls"}, headers={"Origin": origin}),
            client.options("/v1/models", headers={"Origin": origin, "Access-Control-Request-Method": "GET"}),
        ):
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    ("site", "mode", "status"),
    [
        ("cross-site", "no-cors", 403),  # an <img> in a page of anybody's
        ("same-site", "no-cors", 403),  # one in another application of this machine
        ("cross-site", "navigate", 200),  # a link that a person follows
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
    ],
)
def test_other_sites_cannot_even_ask_where_no_origin_is_named(live_server, site, mode, status):
    with live_server.client() as client:
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
        assert client.get("/v1/models", headers=headers).status_code == status


def test_a_site_may_be_allowed_in_capitals_which_no_browser_sends(server_with):
    with server_with(allow_origins=("https://Example.COM",)).client() as client:
        answer = client.get("/health", headers={"Origin": "https://example.com"})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, "https://example.com")


@pytest.mark.parametrize(
    "origin", ["https://*.example.com", "example.com", "https://example.com/", "http://localhost:*"]
)
def test_an_origin_that_no_browser_sends_cannot_be_allowed(origin):
    with pytest.raises(OptionError, match="allow_origins"):
        ServeSettings(allow_origins=(origin,))


def test_the_page_of_the_server_itself_may_ask(live_server):
    with live_server.client() as client:
        assert client.get("/v1/models", headers={"Origin": live_server.url}).status_code == 200


def test_an_allowed_site_is_told_so_before_it_sends_its_key(locked_server):
    asked = {
        "Origin": SITE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type, x-stainless-os",
        "Access-Control-Request-Private-Network": "true",  # Chrome's, of a site that is not on this machine
    }
    with locked_server.client() as client:
        answer = client.options("/v1/chat/completions", headers=asked)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == SITE
        assert answer.headers["access-control-allow-private-network"] == "true"
        assert {"authorization", "content-type"} <= {
            name.strip().lower() for name in answer.headers["access-control-allow-headers"].split(",")
        }
        for key, status in ((KEY, 200), ("wrong", 401)):  # an answer that the page may read, also of a refusal
            answer = client.get("/v1/models", headers={"Origin": SITE, "Authorization": f"Bearer {key}"})
            assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (status, SITE)
        assert client.get("/v1/models", headers={"Origin": "https://example.org"}).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": f"Bearer {KEY}"}, {"Authorization": f"bearer {OTHER_KEY}"}, {"X-Api-Key": KEY}],
)
def test_any_of_the_keys_opens(locked_server, headers):
    with locked_server.client() as client:
        assert client.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": KEY},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": "Bearer"},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Bearer {KEY[:-1]}"},
        {"Authorization": f"Bearer {KEY} {OTHER_KEY}"},
        {"Authorization": b"Bearer \xff"},
        {"X-Api-Key": ""},
    ],
)
def test_nothing_else_does(locked_server, headers):
    with locked_server.client() as client:
        answer = client.get("/v1/models", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert KEY not in answer.text


@pytest.mark.parametrize("path", ["/models/", "/metrics", "/tokenize", "/api/tags", "/openapi.json", "/none"])
def test_every_path_is_locked(locked_server, path):
    with locked_server.client() as client:
        assert client.get(path).status_code == client.post(path).status_code == 401


def test_whether_the_server_is_well_needs_no_key(locked_server):
    with locked_server.client() as client:
        assert client.get("/health").status_code == client.get("/v1/health/").status_code == 200


def test_a_request_without_a_host_gets_no_answer(live_server):
    assert statuses(live_server, b"GET /v1/models HTTP/1.0\r\n\r\n") == [403]


@pytest.mark.parametrize("hosts", [b"Host: localhost\r\nHost: evil.example\r\n", b""])
def test_neither_does_one_that_names_two_or_none(live_server, hosts):
    """Which parser of HTTP is installed decides whether it comes as far as this server's own check."""
    (status,) = statuses(live_server, b"GET /v1/models HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")
    assert status in (400, 403)


@pytest.mark.parametrize(("hosts", "status"), [([b"localhost"], 200), ([b"localhost"] * 2, 403), ([], 403)])
def test_the_check_of_names_trusts_no_parser(hosts, status):
    async def app(scope, receive, send):
        await Response()(scope, receive, send)

    async def ask():
        sent = []

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "path": "/", "headers": [(b"host", host) for host in hosts]}
        await OwnNames(app, [], [])(scope, None, send)
        return sent[0]["status"]

    assert asyncio.run(ask()) == status


def test_whoever_names_two_origins_is_of_both(live_server):
    origins = [("Origin", live_server.url), ("Origin", SITE)]
    with live_server.client() as client:
        assert client.get("/v1/models", headers=origins[:1] * 2).status_code == 200
        assert client.get("/v1/models", headers=origins).status_code == 403


def test_a_request_whose_end_is_told_in_two_ways_is_refused_with_all_that_follows(live_server):
    """Behind a proxy that goes by the other one, the rest would be answered as the next client's request."""
    rest = b"0\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n"
    length = f"Content-Length: {len(rest)}\r\n".encode()
    head = b"POST /tokenize HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n" + length + b"\r\n"
    assert statuses(live_server, head + rest) == [400]


def statuses(server, sent):
    """Of all answers, until the server closes the connection."""
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as sock:
        sock.sendall(sent)
        got = b"".join(iter(lambda: sock.recv(4096), b""))
    return [int(answer.split()[0]) for answer in got.split(b"HTTP/1.1 ")[1:]]
