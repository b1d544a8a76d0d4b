"""Whatever the environment does to the hub's client is one line that names the variable, and no secret is shown."""

from __future__ import annotations

import base64

import pytest

from edge_wsd.demo.files import drafter_path
from tests.hub_server import Fault, HubServer

GGUF = drafter_path().read_bytes()
NAME, FILE = "someone/Tiny-GGUF:Q4_K_M", "tiny-Q4_K_M.gguf"
TOKEN, PASSWORD = "hf_AbCdEfGhIjKlMnOp", "pa55wordOfMine"


@pytest.fixture
def hub():
    with HubServer() as server:
        server.add("someone/Tiny-GGUF", {FILE: GGUF})
        yield server


@pytest.fixture
def environment(environment, hub, tmp_path):
    foreign = ("hf_", "hugging_face_", "http_", "https_", "all_", "no_proxy", "ssl_cert", "edge_wsd_debug")
    kept = {name: value for name, value in environment.items() if not name.lower().startswith(foreign)}
    return {
        **kept, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "EDGE_WSD_STORE": str(tmp_path / "store"),
    }  # fmt: skip


@pytest.mark.parametrize(
    "variable, value, told",
    [
        ("ALL_PROXY", "socks5://127.0.0.1:9", "needs one more package: pip install socksio"),
        ("HF_HUB_DOWNLOAD_TIMEOUT", "soon", "is 'soon'; expected a number of seconds from 1 to"),
        ("HF_ENDPOINT", "http://[half", "is not the address of a hub"),
        ("HF_HOME", "/dev/null", "the access token in /dev/null/token cannot be read: Not a directory"),
        ("HF_TOKEN", f"{TOKEN} {PASSWORD}", "the access token in HF_TOKEN holds a space, a line break"),
    ],
    ids=lambda value: value[:30],
)
def test_what_is_in_the_way_is_one_line_that_names_the_variable(program, variable, value, told):
    """A proxy that needed another package was an internal error, and so was all the rest."""
    done = program("pull", NAME, **{variable: value})
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
    assert told in done.stderr and variable in done.stderr and "internal error" not in done.stderr


@pytest.mark.parametrize("before", [[], ["--debug"]], ids=["", "debug"])
def test_a_token_that_no_request_can_carry_is_not_shown(program, before):
    """It was printed whole in the error."""
    done = program(*before, "pull", NAME, "--token", f"{TOKEN}\n{PASSWORD}")
    assert done.returncode == 1 and "the access token in --token holds a space" in done.stderr
    assert TOKEN not in done.stderr and PASSWORD not in done.stderr


@pytest.mark.parametrize("fault", [None, Fault("/main", status=403, times=9), Fault(FILE, status=403, times=9)])
def test_a_password_in_the_endpoint_is_used_and_never_shown_or_stored(program, hub, tmp_path, fault):
    """It was in every message about the hub, and in the manifest of every model."""
    hub.faults += [fault] if fault else []
    endpoint = hub.url.replace("://", f"://me:{PASSWORD}@")
    for before in ([], ["--debug"]):
        done = program(*before, "pull", NAME, "--force", HF_ENDPOINT=endpoint)
        assert (done.returncode == 0) is (fault is None), done.stderr
        assert PASSWORD not in done.stderr
    basic = "Basic " + base64.b64encode(f"me:{PASSWORD}".encode()).decode()
    assert {one.token for one in hub.requests if one.origin == "hub"} == {basic}
    assert {one.token for one in hub.requests if one.origin != "hub"} <= {None}
    stored = [path.read_bytes() for path in (tmp_path / "store").rglob("manifest.json")]
    assert len(stored) == (fault is None) and not any(PASSWORD.encode() in data for data in stored)
