"""The text and JSON files of a folder, read with bounds: a damaged download ends in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edge_wsd.errors import ConversionError
from edge_wsd.reading import parse_json, read_bounded

# Eight times the largest tokenizer.json of any known model.
_MOST_BYTES = 256 * 2**20


def read_text(folder: Path, name: str) -> str | None:
    """The UTF-8 text of a file of `folder`; None when there is no such file. Raises ConversionError."""
    try:
        return read_bounded(folder / name, _MOST_BYTES).decode("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise ConversionError(f"{name} is not UTF-8 ({error}); download it again") from None
    except OSError as error:
        raise ConversionError(f"{name} cannot be read: {error.strerror or error}") from None


def read_json(folder: Path, name: str) -> dict[str, Any] | None:
    """The object in a JSON file of `folder`; None when there is no such file. Raises ConversionError."""
    text = read_text(folder, name)
    if text is None:
        return None
    try:
        values = parse_json(text)
    except ValueError as error:
        raise ConversionError(f"{name} is not valid JSON ({error}); download it again") from None
    if not isinstance(values, dict):
        raise ConversionError(f"{name} holds a {type(values).__name__}, expected a JSON object")
    return values
