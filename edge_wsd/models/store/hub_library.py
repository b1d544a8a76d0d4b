"""The parts of `huggingface_hub` in use. An environment that keeps it from being imported is told in one line."""

from __future__ import annotations

from typing import cast

from edge_wsd.models.store.hub_environment import client_error, require_importable
from edge_wsd.redaction import logger_without_secrets

require_importable()
try:
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled
    from huggingface_hub.utils import (  # type: ignore[attr-defined]  # public, but not exported for type checkers
        build_hf_headers,
        get_session,
    )
except Exception as error:
    raise client_error(error) from None

# The client changed the HTTP library below it twice; the parent of its own error is that library's root of all errors.
HTTP_ERROR = cast("type[Exception]", HfHubHTTPError.__mro__[1])

# They log each address and the head of each answer, and a hub hands out large files by links that are signed.
for _generation in ("", "2"):
    logger_without_secrets(f"httpx{_generation}")
    for _part in ("connection", "http11", "http2", "proxy", "socks"):
        logger_without_secrets(f"httpcore{_generation}.{_part}")
logger_without_secrets("huggingface_hub.utils._http")

__all__ = [
    "HTTP_ERROR",
    "OfflineModeIsEnabled",
    "build_hf_headers",
    "constants",
    "get_session",
    "try_to_load_from_cache",
]
