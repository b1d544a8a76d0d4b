"""The text and JSON files of a folder, read with bounds: a damaged download ends in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_wsd.errors import ConversionError
from edge_wsd.models.gguf.file_kind import LFS_POINTER
from edge_wsd.reading import parse_json, read_bounded

# Eight times the largest tokenizer.json of any known model.
_MOST_BYTES = 256 * 2**20
_MOST_CARD_BYTES = 4 * 2**20


def text_of(folder: Path, name: str) -> str | None:
    """The UTF-8 text of a file of `folder`; None when there is no such file. Raises ConversionError."""
    try:
        data = read_bounded(folder / name, _MOST_BYTES)
        refuse_pointer(data, name)
        return data.decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise ConversionError(f"{name} is not UTF-8 ({error}); download it again") from None
    except OSError as error:
        raise ConversionError(f"{name} cannot be read: {error.strerror or error}") from None


def refuse_pointer(head: bytes, name: str) -> None:
    """Raises ConversionError for a file that begins as Git LFS leaves one whose content has yet to be fetched."""
    if head.startswith(LFS_POINTER):
        raise ConversionError(f"{name} is a Git LFS pointer, not the file itself; run `git lfs pull` in its folder")


def read_json(folder: Path, name: str) -> dict[str, Any] | None:
    """The object in a JSON file of `folder`; None when there is no such file. Raises ConversionError."""
    text = text_of(folder, name)
    if text is None:
        return None
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ConversionError(f"{name} is not valid JSON ({error}); download it again") from None
    if not isinstance(values, dict):
        raise ConversionError(f"{name} holds a {type(values).__name__}, expected a JSON object")
    return values


def read_card(folder: Path) -> str:
    """The model card, of which nothing depends: what is no UTF-8 shows as question marks, what is none as nothing."""
    try:
        return read_bounded(folder / "README.md", _MOST_CARD_BYTES).decode("utf-8-sig", errors="replace")
    except OSError:
        return ""
