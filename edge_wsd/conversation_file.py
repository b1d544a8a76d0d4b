"""A conversation kept in a file: JSON with its messages, system prompt and options.

>>> SavedConversation(None, (Message("user", "hello"),), Options()).write("talk.json")
>>> SavedConversation.read("talk.json").messages
(Message(role='user', content='hello'),)
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edge_wsd.decoding.options import Options
from edge_wsd.errors import OptionError, SessionFileError, TemplateError
from edge_wsd.files import write_atomically
from edge_wsd.prompts.messages import Message, parse_messages
from edge_wsd.reading import parse_json, read_bounded

FORMAT = "edge-wsd conversation 1"
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class SavedConversation:
    """What is kept of a conversation; `messages` are without the system prompt."""

    system: str | None
    messages: tuple[Message, ...]
    options: Options

    def write(self, path: str | Path) -> None:
        """Replaces a conversation at `path`, and nothing else. Raises `SessionFileError`."""
        path = Path(path)
        if path.is_file() and path.stat().st_size and not holds_conversation(path):
            raise SessionFileError(
                f"{path} exists and is not a conversation, so it was left as it is; choose another name"
            )
        data = {"format": FORMAT, **asdict(self)}
        # Half a character would be no reason to lose the rest.
        text = (json.dumps(data, ensure_ascii=False, indent=2) + "\n").encode(errors="replace")
        try:
            write_atomically(path, text)
        except OSError as error:
            raise SessionFileError(f"{path}: cannot be written ({error.strerror}); choose another place") from error

    @classmethod
    def read(cls, path: str | Path) -> SavedConversation:
        """The conversation in a file. Raises `SessionFileError`."""
        try:
            data = parse_json(read_bounded(path, _MOST_BYTES))
        except OSError as error:
            raise SessionFileError(f"{path}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise SessionFileError(f"{path}: is not a saved conversation ({error})") from error
        if not is_conversation(data):
            raise SessionFileError(f"{path}: is not a saved conversation; expected a file written by /save")
        return cls.parse(data, path)

    @classmethod
    def parse(cls, data: dict[str, Any], path: str | Path) -> SavedConversation:
        """The conversation in the JSON object of such a file. Raises `SessionFileError` that names `path`."""
        try:
            options = dict(data["options"])
            options["stop"] = tuple(options.get("stop", ()))
            if not isinstance(data["system"], str | None):
                raise TypeError("the system prompt is not text")
            return cls(data["system"], parse_messages(data["messages"]), Options().with_changes(**options))
        except (KeyError, TypeError, ValueError, OptionError, TemplateError) as error:
            raise SessionFileError(f"{path}: is a damaged conversation ({error})") from error


def is_conversation(data: object) -> bool:
    """Whether the content of a JSON file says that it is a saved conversation."""
    return isinstance(data, dict) and data.get("format") == FORMAT


def holds_conversation(path: str | Path) -> bool:
    """Whether the file at `path` is a saved conversation, so that saving there destroys nothing else."""
    try:
        return is_conversation(parse_json(read_bounded(path, _MOST_BYTES)))
    except (OSError, ValueError):
        return False
