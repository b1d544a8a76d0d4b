"""Settings of a server, and times as people write them."""

import math

import pytest

from edge_wsd.errors import OptionError
from edge_wsd.serve.durations import keep_alive_seconds
from edge_wsd.serve.settings import ServeSettings


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("::1", "http://[::1]:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("localhost", "http://localhost:80"),
    ],
)
def test_the_address_is_one_that_a_program_here_can_use(host, url):
    assert ServeSettings().url(host, 80) == url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("port", 65536), ("port", -1), ("port", "80"), ("host", ""), ("parallel", 0), ("max_queued", -1),
        ("max_body_bytes", 10), ("deadline_s", 0), ("deadline_s", math.nan), ("deadline_s", math.inf),
        ("keep_alive_s", -1), ("heartbeat_s", None), ("max_prompt_tokens", 0),
        ("allow_origins", ("https://example.com/",)), ("allow_origins", ("https://a@b",)),
        ("allow_origins", ("example.com",)), ("allow_hosts", ("a:80",)), ("allow_hosts", ("",)),
    ],
)  # fmt: skip
def test_a_setting_out_of_range_is_named(name, value):
    with pytest.raises(OptionError, match=f"^{name} must be "):
        ServeSettings(**{name: value})


@pytest.mark.parametrize(
    "origin", ["https://example.com", "http://localhost:3000", "app://obsidian.md", "tauri://localhost"]
)
def test_origins_of_pages_and_apps_are_taken(origin):
    assert ServeSettings(allow_origins=(origin,)).allow_origins == (origin,)


def test_for_ever_is_a_time_to_keep_a_pair():
    assert ServeSettings(keep_alive_s=None).keep_alive_s is None
    assert [keep_alive_seconds(each) for each in ("5m", "90", "1h30m", "0", "-1", -1, 2.5)] == [
        300, 90, 5400, 0, math.inf, math.inf, 2.5,
    ]  # fmt: skip
