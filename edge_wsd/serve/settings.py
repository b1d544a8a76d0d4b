"""Settings of the server. Their defaults are defined only here; the command line and the documentation read them.

>>> ServeSettings(port=0).url("127.0.0.1", 8080)
'http://127.0.0.1:8080'
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from edge_wsd import checks
from edge_wsd.llama.settings import MOST_PARALLEL

MIB = 1 << 20
ANY_ORIGIN = "*"
_LONGEST_S = 30 * 86400.0


@dataclass(frozen=True)  # no slots: the command line reads the defaults of the fields
class ServeSettings:
    """Validated on construction; an `OptionError` names the setting. Times in seconds."""

    host: str = "127.0.0.1"
    """The address to listen on. One that other machines reach needs an API key."""
    port: int = 8686
    """0 for any that is free."""
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    """Any of them opens the server; without one there is no lock."""
    allow_origins: tuple[str, ...] = ()
    """Pages of which sites may use the server from a browser, such as https://example.com; * for all."""
    allow_hosts: tuple[str, ...] = ()
    """Further names of this machine that requests may be sent to."""
    keep_alive_s: float | None = 1800.0
    """How long an idle pair stays in memory; None for ever."""
    parallel: int = 1
    """Requests that are answered at the same time."""
    max_queued: int = 64
    """Requests that may wait for their turn; one more is refused."""
    max_body_bytes: int = 8 * MIB
    max_prompt_tokens: int | None = None
    """None for as many as the context holds."""
    deadline_s: float = 1800.0
    """From the arrival of a request to the end of its answer."""
    body_deadline_s: float = 60.0
    """For the arrival of a request's head, and then of its body."""
    shutdown_s: float = 10.0
    """How long answers may go on after the server was asked to stop."""
    heartbeat_s: float = 5.0
    """After so long without an event a stream gets a line of comment, so that nobody takes it for dead."""

    def __post_init__(self) -> None:
        checks.require(isinstance(self.host, str) and self.host != "", "host", "an address or a name", self.host)
        checks.require_whole("port", self.port, 0, 65535)
        for key in self.api_keys:
            expected = "one word of printable ASCII characters"
            holds = isinstance(key, str) and key != "" and key.isascii() and key.isprintable() and " " not in key
            checks.require(holds, "api_key", expected, "another text")  # which the message must not show
        for origin in self.allow_origins:
            expected = "* or SCHEME://HOST[:PORT], such as https://example.com"
            checks.require(origin == ANY_ORIGIN or is_origin(origin), "allow_origins", expected, origin)
        for host in self.allow_hosts:
            is_name = isinstance(host, str) and host != "" and not set(host) & set("/@:* ")
            checks.require(is_name, "allow_hosts", "a host's name without a port", host)
        for name in ("keep_alive_s", "deadline_s", "body_deadline_s", "shutdown_s", "heartbeat_s"):
            value = getattr(self, name)
            if value is None and name == "keep_alive_s":
                continue
            checks.require_number(name, value)
            least = 0.0 if name in ("keep_alive_s", "shutdown_s") else 0.01
            expected = f"between {least:g} and {_LONGEST_S:g} seconds"
            checks.require(least <= value <= _LONGEST_S, name, expected, value)
        checks.require_whole("parallel", self.parallel, 1, MOST_PARALLEL)
        checks.require_whole("max_queued", self.max_queued, 0)
        checks.require_whole("max_body_bytes", self.max_body_bytes, 1024)
        checks.require_whole("max_prompt_tokens", self.max_prompt_tokens, 1, or_none=True)
        expected = "a loopback address, or another one together with an API key"
        checks.require(bool(self.api_keys) or self.is_loopback, "host", expected, self.host)

    @property
    def is_loopback(self) -> bool:
        """Whether only programs of this machine reach the server."""
        return is_loopback(self.host)

    def url(self, host: str, port: int) -> str:
        """Where a server is that listens on `host` and `port`, for a program of this machine."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return f"http://{host}:{port}"
        if address.is_unspecified:
            host = "127.0.0.1" if address.version == 4 else "::1"
        return f"http://[{host}]:{port}" if address.version == 6 else f"http://{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine and nothing but it."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def is_origin(text: str) -> bool:
    """Whether a browser could send `text` as the origin of a page."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    is_whole = bool(parts.scheme and parts.netloc) and text == f"{parts.scheme}://{parts.netloc}"
    return is_whole and not set(text) & set("@*")
