"""Whatever the environment does to the hub's client is one line that names the variable, and no secret is shown."""

from __future__ import annotations

import os
import traceback

import pytest

from edge_wsd.errors import HubError
from edge_wsd.models.store.hub import Hub
from edge_wsd.models.store.hub_client import cached_file
from edge_wsd.models.store.hub_environment import require_importable
from edge_wsd.models.store.hub_errors import RetryPolicy
from edge_wsd.redaction import redacted, remember, without_password
from tests.hub_server import HubServer

TOKEN, PASSWORD = "hf_AbCdEfGhIjKlMnOp", "pa55wordOfMine"
FOREIGN = ("hf_", "hugging_face_", "http_", "https_", "all_", "no_proxy", "ssl_cert")


@pytest.fixture
def look_up(monkeypatch, tmp_path):
    """Asks a hub on this machine through a client that is made anew."""
    from huggingface_hub import close_session

    for name in list(os.environ):
        if name.lower().startswith(FOREIGN):
            monkeypatch.delenv(name)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))
    with HubServer() as server:
        server.add("a/b", {"b-Q4_K_M.gguf": b"x"})
        monkeypatch.setenv("HF_ENDPOINT", server.url)

        def ask(token=None, **variables):
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
                if name == "HF_TOKEN_PATH":
                    monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
            close_session()
            require_importable()
            hub = Hub(token=token, retries=RetryPolicy(tries_to_begin=1, silence_s=5))
            return hub.snapshot("a/b", tick=lambda *_: None)

        yield ask
        close_session()


@pytest.mark.parametrize(
    "variable, value, told",
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9", "needs one more package: pip install socksio"),
        ("all_proxy", "socks4://127.0.0.1:9", "is not the address of a proxy; expected http://HOST:PORT"),
        ("HTTPS_PROXY", f"http://me:{PASSWORD}@host:port", "is 'http://host:port', which is not the address"),
        ("http_proxy", f"http://me:{PASSWORD}/x@host:1", "is not the address of a proxy"),
        ("https_proxy", "http://[::1", "is not the address of a proxy"),
        ("SSL_CERT_FILE", "/nowhere.pem", "no certificates can be read: No such file"),
        ("SSL_CERT_FILE", "/dev", "no certificates can be read: Is a directory"),
        ("SSL_CERT_FILE", __file__, "no certificates can be read: no PEM file"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "soon", "is 'soon'; expected a number of seconds from 1 to"),
        ("HF_HUB_ETAG_TIMEOUT", "-3", "expected a number of seconds"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "9" * 5000, "expected a number of seconds"),
        ("HF_HUB_ETAG_TIMEOUT", "", "expected a number of seconds"),
        ("HF_HUB_USER_AGENT_ORIGIN", "a\nb", "holds a line break or characters outside ASCII"),
        ("HF_ENDPOINT", "no address", "is 'no address', which is not the address of a hub; expected https://HOST"),
        ("HF_ENDPOINT", "ftp://127.0.0.1", "is not the address of a hub"),
        ("HF_ENDPOINT", "http://[half", "is not the address of a hub"),
        ("HF_ENDPOINT", f"http://me:{PASSWORD}@127.0.0.1:port", "is 'http://127.0.0.1:port', which is not"),
        ("HF_ENDPOINT", "http://127.0.0.1\n.example", "is not the address of a hub"),
        ("HF_TOKEN", f"{TOKEN} {PASSWORD}", "the access token in HF_TOKEN holds a space, a line break"),
        ("HF_TOKEN", f"{TOKEN}é", "the access token in HF_TOKEN holds"),
        ("HUGGING_FACE_HUB_TOKEN", f"{TOKEN}\t{PASSWORD}", "the access token in HUGGING_FACE_HUB_TOKEN holds"),
        ("HF_TOKEN_PATH", "/dev", "the access token in /dev cannot be read: it is a folder, not a file; fix the file"),
        ("HF_TOKEN_PATH", "/dev/zero", "the access token in /dev/zero cannot be read: it is a device"),  # without end
        ("HF_OIDC_RESOURCE", "someone/Tiny-GGUF", "the access token cannot be obtained: HF_OIDC_RESOURCE"),
    ],
    ids=lambda value: value[:30],
)
def test_what_is_in_the_way_is_one_line_that_names_the_variable(look_up, variable, value, told):
    """A proxy that needed another package was an internal error, and so was all the rest."""
    with pytest.raises(HubError) as caught:
        look_up(**{variable: value})
    line = str(caught.value)
    assert told in line and variable in line and line.isprintable()
    shown = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in redacted(shown) and PASSWORD not in redacted(shown)


@pytest.mark.parametrize(
    "variable, value",
    [
        ("HF_HOME", "/proc/nobody/writes/here"), ("REQUESTS_CA_BUNDLE", "/nowhere.pem"), ("SSL_CERT_DIR", "/nowhere"),
        ("NO_PROXY", "[::1"), ("HF_TOKEN", ""), ("http_proxy", ""), ("SSL_CERT_FILE", ""), ("HF_TOKEN", f" {TOKEN}\n"),
    ],
)  # fmt: skip
def test_what_is_in_nobodys_way_is_no_error(look_up, variable, value):
    assert [file.path for file in look_up(**{variable: value}).files] == ["b-Q4_K_M.gguf"]


def test_a_token_file_that_is_no_text_is_told(look_up, tmp_path):
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    with pytest.raises(HubError, match=r"HF_TOKEN_PATH.* is not text"):
        look_up(HF_TOKEN_PATH=str(tmp_path / "token"))


@pytest.mark.parametrize("token", [f"{TOKEN}\n{PASSWORD}", f"{TOKEN} {PASSWORD}", f"{TOKEN}\x7f", f"{TOKEN}…"])
def test_a_token_that_no_request_can_carry_is_not_shown(look_up, token):
    """It was printed whole in the error."""
    with pytest.raises(HubError, match="the access token in --token holds a space") as caught:
        look_up(token=token)
    shown = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in shown and PASSWORD not in shown


def test_a_cache_that_cannot_be_read_holds_nothing(monkeypatch, tmp_path):
    folder = tmp_path / "models--a--b"
    (folder / "refs" / "main").mkdir(parents=True)
    (folder / "snapshots").write_text("no folder")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert cached_file("a/b", "a" * 40, "config.json") is None


@pytest.mark.parametrize(
    "text, shown",
    [
        (f"GET https://me:{PASSWORD}@host/x", "GET https://[hidden]@host/x"),
        (f"http://{PASSWORD}@host", "http://[hidden]@host"),
        (f"the token {TOKEN} is", "the token [hidden] is"),
        ("{'authorization': 'Bearer abcdefghijkl'}", "{'authorization': 'Bearer [hidden]'}"),
        ("https://cdn/x?X-Amz-Signature=abc&b=1", "https://cdn/x?X-Amz-Signature=[hidden]&b=1"),
        ("https://cdn/x?a=1&Signature=abc", "https://cdn/x?a=1&Signature=[hidden]"),
        ("https://huggingface.co/a/b@main and hf_hub_download", "https://huggingface.co/a/b@main and hf_hub_download"),
        ("a basic question, a bearer of news", "a basic question, a bearer of news"),
    ],
)
def test_what_looks_like_a_secret_is_hidden_and_nothing_else(text, shown):
    assert redacted(text) == shown


def test_secrets_of_the_environment_are_hidden_wherever_they_stand(monkeypatch):
    monkeypatch.setenv("https_proxy", f"http://me:{PASSWORD}@host:1")
    monkeypatch.setenv("HF_TOKEN", "without-any-form 2nd-line")
    assert redacted(f"a {PASSWORD} b without-any-form c 2nd-line d") == "a [hidden] b [hidden] c [hidden] d"
    remember("given\nby-hand")
    assert redacted("x by-hand 'given\\nby-hand'") == "x [hidden] '[hidden]'"


def test_an_address_is_told_without_its_password():
    assert without_password("https://me:p@ss@host:1/x") == "https://host:1/x" and without_password("host") == "host"
