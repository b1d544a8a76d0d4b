"""How a model is named: a file, `owner/repo:TYPE` on the hub, or the repository's name alone for one in the store.

>>> parse_model_name("someone/Pilot-3B-GGUF:Q4_K_M")
HubModel(repo='someone/Pilot-3B-GGUF', type='Q4_K_M')
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from edge_wsd.errors import StoreError

DEFAULT_TYPE = "Q4_K_M"
"""What a pull makes or fetches when no type is named."""

_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_]|[.-](?![.-]|$|[:/]))*"  # the hub's own rule: no `--`, no `..`, no `-` or `.` last
_TYPE = r"[A-Za-z0-9_](?:[A-Za-z0-9_]|[.-](?![.-]|$))*"
_HUB = re.compile(rf"(?P<repo>{_PART}/{_PART})(?::(?P<type>{_TYPE}))?")
_IN_STORE = re.compile(rf"(?P<name>{_PART})(?::(?P<type>{_TYPE}))?")
_PAGE = re.compile(r"(?:hf://|https?://(?:www\.)?(?:huggingface\.co|hf\.co)/|hf\.co/|huggingface\.co/)")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")
_SUFFIX = ".gguf"
_MAX_REPO_LENGTH = 96


@dataclass(frozen=True)
class LocalFile:
    """A file named by its path, which need not exist."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)


@dataclass(frozen=True)
class HubModel:
    """A repository of the hub, `owner/repo`, and the type wanted from it; None if none was named."""

    repo: str
    type: str | None = None

    def __str__(self) -> str:
        return self.repo if self.type is None else f"{self.repo}:{self.type}"


@dataclass(frozen=True)
class StoreName:
    """A model of the store by its repository's name without the owner."""

    name: str
    type: str | None = None

    def __str__(self) -> str:
        return self.name if self.type is None else f"{self.name}:{self.type}"


def parse_model_name(text: str) -> LocalFile | HubModel | StoreName:
    """What `text` names. Nothing is looked up, except whether it is the path of an existing file or folder.

    The address of a page of the hub may stand for its repository. Raises StoreError for what can be no name.
    """
    if not text.strip() or "\0" in text:
        raise StoreError(f"{text!r} does not name a model; give a GGUF file, or a repository as owner/repo:TYPE")
    page = _PAGE.match(text)
    if page is not None:
        return _parse_hub(text[page.end() :].rstrip("/"), text)
    if _looks_local(text):
        return LocalFile(_expanded(text))
    if "/" in text:
        return _parse_hub(text, text)
    match = _IN_STORE.fullmatch(text)
    if match is None:
        raise StoreError(f"{text!r} does not name a model; give a GGUF file, or a repository as owner/repo:TYPE")
    return StoreName(match["name"], match["type"])


def _looks_local(text: str) -> bool:
    if text.startswith(("./", "../", "/", "~", ".\\", "..\\", "\\")) or text in (".", ".."):
        return True
    if os.path.exists(text) or _DRIVE.match(text):
        return True
    return text.lower().endswith(_SUFFIX) and not (":" in text and _HUB.fullmatch(text))


def _expanded(text: str) -> Path:
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # `~someone` of nobody
        raise StoreError(f"{text!r} does not name a file: {error}") from None


def _parse_hub(text: str, asked: str) -> HubModel:
    match = _HUB.fullmatch(text)
    if match is None or len(match["repo"]) > _MAX_REPO_LENGTH:
        raise StoreError(
            f"{asked!r} is neither a file nor a repository; a file ends in .gguf, a repository is owner/repo:TYPE"
        )
    wanted = match["type"]
    return HubModel(match["repo"], wanted[: -len(_SUFFIX)] if wanted and wanted.lower().endswith(_SUFFIX) else wanted)
