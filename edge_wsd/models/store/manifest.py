"""What the store knows of one model: where it came from, how it was made, and which files it is.

>>> read_manifest(folder / "manifest.json").name
'someone/Pilot-3B-GGUF:Q4_K_M'
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from edge_wsd.errors import StoreError
from edge_wsd.reading import parse_json, read_bounded

FILE_NAME = "manifest.json"
FORMAT = 1
READY, CONVERTED = "ready GGUF", "converted"
_MAX_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NAME_BYTES = 255


@dataclass(frozen=True)
class StoredFile:
    """One file of a model. `name` counts from the model's folder; `origin` is its path in the repository, if any."""

    name: str
    n_bytes: int
    sha256: str
    origin: str | None = None


@dataclass(frozen=True)
class Manifest:
    """One model of the store. Texts are as the hub gave them: not safe for a terminal."""

    repo: str
    type: str
    revision: str
    """The commit that was fetched."""
    asked: str
    """The name that was typed, in full or without a type."""
    asked_revision: str | None
    """The branch, tag or commit that was typed, if any."""
    licence: str | None
    made: str
    """READY: fetched as it is. CONVERTED: from a checkpoint."""
    files: tuple[StoredFile, ...]
    created: str
    """UTC, as in 2025-01-31T12:00:00Z."""
    endpoint: str
    edge_wsd: str
    """Version that fetched or converted it."""
    imatrix: str | None = None
    lora: str | None = None
    tokenizer_texts: int | None = None
    """Texts on which the tokenizer was compared with the checkpoint's; None: it was not."""
    tokenizer_equal: int | None = None
    notes: tuple[str, ...] = ()
    """What the conversion wants the user to know."""

    @property
    def name(self) -> str:
        return f"{self.repo}:{self.type}"

    @property
    def n_bytes(self) -> int:
        return sum(file.n_bytes for file in self.files)

    def is_called(self, wanted: str) -> bool:
        """Whether `owner/repo:wanted` means this model: its type, or the name of its file in the repository."""
        stems = (PurePosixPath(file.origin).stem for file in self.files if file.origin is not None)
        return wanted.lower() in (self.type.lower(), *(stem.lower() for stem in stems))

    def to_json(self) -> bytes:
        return (json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n").encode()


_TEXTS = ("repo", "type", "revision", "asked", "made", "created", "endpoint", "edge_wsd")
_TEXTS_OR_NONE = ("asked_revision", "licence", "imatrix", "lora")
_NUMBERS_OR_NONE = ("tokenizer_texts", "tokenizer_equal")


def read_manifest(path: Path) -> Manifest:
    """Raises StoreError that says what is wrong with the file at `path`, without its path."""
    try:
        values = parse_json(read_bounded(path, _MAX_BYTES))
    except FileNotFoundError:
        raise StoreError(f"it has no {FILE_NAME}") from None
    except OSError as error:
        raise StoreError(f"its {FILE_NAME} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise StoreError(f"its {FILE_NAME} is not valid JSON: {error}") from None
    return _manifest(values)


def _manifest(values: Any) -> Manifest:
    if not isinstance(values, dict):
        raise StoreError(f"its {FILE_NAME} holds no JSON object")
    if values.get("format") != FORMAT:
        raise StoreError(f"its {FILE_NAME} has format {values.get('format')!r:.40}, this version reads {FORMAT}")
    known = {field.name for field in fields(Manifest)}
    found = {key: value for key, value in values.items() if key in known}  # a later version may tell more
    for key in _TEXTS:
        _require(key, found.get(key), isinstance(found.get(key), str), "a text")
    for key in _TEXTS_OR_NONE:
        _require(key, found.get(key), isinstance(found.get(key), str | None), "a text or null")
        found.setdefault(key, None)
    for key in _NUMBERS_OR_NONE:
        _require(key, found.get(key), found.get(key) is None or type(found[key]) is int, "a number or null")
    files = found.get("files")
    _require("files", files, isinstance(files, list) and bool(files), "a list of files")
    found["files"] = tuple(_file(entry) for entry in files or ())
    notes = found.get("notes", [])
    _require(
        "notes", notes, isinstance(notes, list) and all(isinstance(note, str) for note in notes), "a list of texts"
    )
    found["notes"] = tuple(notes)
    return Manifest(**found)


def _require(key: str, value: object, holds: bool, expected: str) -> None:
    if not holds:
        raise StoreError(f"{key} in its {FILE_NAME} is {value!r:.40}, expected {expected}")


def _file(entry: Any) -> StoredFile:
    values = entry if isinstance(entry, dict) else {}
    name, n_bytes, sha256, origin = (values.get(key) for key in ("name", "n_bytes", "sha256", "origin"))
    _require("a file", entry, isinstance(name, str) and type(n_bytes) is int and n_bytes >= 0, "name and n_bytes")
    _require("sha256", sha256, isinstance(sha256, str) and bool(_SHA256.fullmatch(sha256)), "64 hexadecimal digits")
    _require("origin", origin, isinstance(origin, str | None), "a text or null")
    _require("a file's name", name, is_safe_path(str(name)), "a path inside the model's folder")
    return StoredFile(str(name), int(str(n_bytes)), str(sha256), origin)


def is_safe_path(name: str) -> bool:
    """Whether this relative path with `/` stays inside its folder on every system, hides nothing and is plain text."""
    path = PurePosixPath(name)
    if not name or "\\" in name or _NO_TEXT.search(name) or path.is_absolute() or PureWindowsPath(name).drive:
        return False
    parts = name.split("/")
    return all(part not in ("", ".", "..") and ":" not in part and len(part.encode()) <= _NAME_BYTES for part in parts)
