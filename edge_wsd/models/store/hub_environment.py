"""What the environment says about the hub and the way to it: each mistake is one line that names the variable."""

from __future__ import annotations

import importlib.util
import os
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from edge_wsd.errors import HubError
from edge_wsd.redaction import redacted, without_password

_SECONDS = ("HF_HUB_DOWNLOAD_TIMEOUT", "HF_HUB_ETAG_TIMEOUT")
_LONGEST_S = 99999
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_CERTIFICATES = {"SSL_CERT_FILE": "cafile", "SSL_CERT_DIR": "capath"}
_OTHERS = ("NO_PROXY", "no_proxy", "HF_HOME")
_ORIGIN = "HF_HUB_USER_AGENT_ORIGIN"


def require_importable() -> None:
    """Raises HubError for a variable that the client would stumble over when it is imported."""
    if os.environ.get("HF_ENDPOINT"):
        checked_endpoint(os.environ["HF_ENDPOINT"], "HF_ENDPOINT")
    if not _is_plain(os.environ.get(_ORIGIN, "")):
        raise HubError(f"{_ORIGIN} holds a line break or characters outside ASCII; unset it")
    for name in _SECONDS:
        value = os.environ.get(name)
        if value is not None and not (
            value.strip().isdecimal() and 0 < int(value[:9]) <= _LONGEST_S and len(value) < 9
        ):
            raise HubError(f"{name} is {value!r:.40}; expected a number of seconds from 1 to {_LONGEST_S}")


def client_error(error: Exception) -> HubError:
    """Why a client cannot be made: the variable that is in its way, as far as that can be told."""
    found = next((defect for defect in (*_defects_of_proxies(), *_defects_of_certificates())), None)
    if found is not None:
        return HubError(found)
    given = [name for name in _names_given() if os.environ.get(name)]
    look = f"look at {', '.join(given)} in the environment" if given else "reinstall huggingface-hub"
    return HubError(f"the hub's client cannot be made: {first_line(error)}; {look}")


def checked_endpoint(address: str, origin: str) -> str:
    """The address without a slash at its end. Raises HubError for one that no hub can have."""
    address = address.strip().rstrip("/")
    if _is_address(address, ("http", "https")):
        return address
    raise HubError(
        f"{origin} is {_shown(address)}, which is not the address of a hub; expected https://HOST, "
        "as https://huggingface.co"
    )


def token_error(error: Exception) -> HubError:
    """Why the access token cannot be read."""
    path = getattr(error, "filename", None)
    if isinstance(error, OSError) and path:
        return HubError(
            f"the access token in {path} cannot be read: {error.strerror}; fix the file, name another one in "
            "HF_TOKEN_PATH or HF_HOME, set HF_TOKEN, or run `hf auth login`"
        )
    if isinstance(error, UnicodeDecodeError):
        return HubError(
            "the file with the access token (HF_TOKEN_PATH, else `token` in HF_HOME) is not text; run `hf auth login`"
        )
    return HubError(f"the access token cannot be obtained: {first_line(error)}; look at HF_TOKEN and HF_OIDC_RESOURCE")


def refuse_token(origin: str) -> HubError:
    """What to say of a token that no request can carry; never what it is."""
    return HubError(
        f"the access token in {origin} holds a space, a line break or characters outside ASCII; copy it again"
    )


def first_line(error: Exception) -> str:
    """The first line of an error, without secrets and control characters, cut to a length that can be read."""
    text = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
    return printable(redacted(text))


def printable(text: str, most: int = 200) -> str:
    """What came from the net, as a part of a message: at most `most` characters, and none that moves a cursor."""
    shown = "".join(character if character.isprintable() else "\ufffd" for character in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[:most]}…"


def _defects_of_proxies() -> Iterator[str]:
    for lower in _PROXIES:
        name = next((name for name in (lower, lower.upper()) if os.environ.get(name)), None)
        if name is None:
            continue
        address = os.environ[name]
        address = address if "://" in address else f"http://{address}"
        if not _is_address(address, _PROXY_SCHEMES):
            yield (
                f"{name} is {_shown(address)}, which is not the address of a proxy; expected http://HOST:PORT or "
                "socks5://HOST:PORT"
            )
        elif address.startswith("socks") and importlib.util.find_spec("socksio") is None:
            yield f"{name} names a SOCKS proxy, which needs one more package: pip install socksio"


def _defects_of_certificates() -> Iterator[str]:
    for name, kind in _CERTIFICATES.items():
        path = os.environ.get(name)
        if not path:
            continue
        try:
            ssl.create_default_context().load_verify_locations(**{kind: path})
        except OSError as error:  # SSLError is one
            reason = os.strerror(error.errno) if error.errno and not isinstance(error, ssl.SSLError) else "no PEM file"
            yield f"{name} is {path}, from which no certificates can be read: {reason}; fix it or unset it"


def _names_given() -> Iterator[str]:
    for name in _PROXIES:
        yield from (name, name.upper())
    yield from (*_CERTIFICATES, *_OTHERS)


def _is_address(address: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(address)
        _ = parts.port  # raises ValueError for what is no number
    except ValueError:
        return False
    return _is_plain(address) and " " not in address and parts.scheme.lower() in schemes and bool(parts.hostname)


def _is_plain(text: str) -> bool:
    """Whether a line of HTTP can hold it."""
    return text.isascii() and text.isprintable()


def _shown(address: str) -> str:
    return printable(repr(without_password(address)), 80)
