"""The one place that takes secrets out of texts for people: access tokens, passwords in addresses, signed links.

>>> redacted("GET https://me:secret@hub.example/api failed")
'GET https://[hidden]@hub.example/api failed'
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress

HIDDEN = "[hidden]"
_TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_ID_TOKEN")
_ADDRESS_VARIABLES = ("HF_ENDPOINT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_SHORTEST = 4
"""Characters of a secret that is looked for everywhere: hiding "a" would garble every text."""

_FORMS = (
    (re.compile(r"(?<=://)[^/\s?#@]*@"), f"{HIDDEN}@"),
    (re.compile(r"\b(?:hf|api_org)_[A-Za-z0-9]{10,}"), HIDDEN),
    (re.compile(r"\b(Bearer|Basic) [\w.~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    (
        re.compile(r"(?i)([?&](?:x-amz-\w*(?:signature|credential|token)|key-pair-id|policy|sig(?:nature)?|\w*token)=)[^&\s'\"]+"),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"(?i)(\(b'[\w-]*(?:token|authorization|cookie)[\w-]*', b')[^']*"), rf"\1{HIDDEN}"),  # of a header
)  # fmt: skip
_remembered: set[str] = set()


def redacted(text: str) -> str:
    """`text` without what looks like a secret, is one of the environment, or was remembered as one."""
    for secret in sorted({*_remembered, *_of_environment()}, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for form, replacement in _FORMS:
        text = form.sub(replacement, text)
    return text


def remember(secret: str) -> None:
    """Hides this secret, whole and in its parts, from now on."""
    _remembered.update(_parts(secret))


class _Redacting(logging.Filter):
    """Whoever handles a record of a logger with this filter sees it without secrets."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Never keeps one back."""
        with suppress(TypeError, ValueError):  # the arguments do not fit the message, which `logging` tells itself
            message = record.getMessage()
            if (shown := redacted(message)) != message:
                record.msg, record.args = shown, None
        if record.exc_info and not record.exc_text:
            record.exc_text = redacted(logging.Formatter().formatException(record.exc_info))  # handlers show this one
        return True


_REDACTING = _Redacting()


def logger_without_secrets(name: str) -> logging.Logger:
    """The logger of this name. A filter counts for one logger alone, so each of ours is made here."""
    logger = logging.getLogger(name)
    logger.addFilter(_REDACTING)
    return logger


def without_password(address: str) -> str:
    """The address without the name and password that may stand in front of its host."""
    scheme, separator, rest = address.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else address.rpartition("@")[2]


def _of_environment() -> Iterator[str]:
    for name in _TOKEN_VARIABLES:
        yield from _parts(os.environ.get(name, ""))
    for name in _ADDRESS_VARIABLES:
        for value in (os.environ.get(name, ""), os.environ.get(name.lower(), "")):
            name_and_password = value.partition("://")[2].rpartition("@")[0] or value.rpartition("@")[0]
            yield from _parts(name_and_password.partition(":")[2] or name_and_password)


def _parts(secret: str) -> Iterator[str]:
    """One with line breaks or spaces may be shown in pieces, or with its line breaks written as in Python."""
    pieces = (secret, secret.strip(), repr(secret)[1:-1], *secret.split())
    yield from (piece for piece in pieces if len(piece) >= _SHORTEST)
