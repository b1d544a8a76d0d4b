"""A conversation kept in a file: JSON with its messages, who wrote them, system prompt, options and pair.

>>> SavedConversation(None, (Message("user", "hello"),), Options()).write("talk.json")
>>> SavedConversation.read("talk.json").messages
(Message(role='user', content='hello'),)

Files of the first format, without authors and pair, are read as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge_wsd.authorship import Authorship
from edge_wsd.decoding.options import Options
from edge_wsd.errors import OptionError, SessionFileError, TemplateError
from edge_wsd.files import write_atomically
from edge_wsd.prompts.messages import Message, parse_messages
from edge_wsd.reading import parse_json, read_bounded

FORMAT = "edge-wsd conversation 2"
_READ_FORMATS = (FORMAT, "edge-wsd conversation 1")
_MOST_BYTES = 64 << 20
PAIR_KEYS = ("name", "drafter", "base", "drafter_template", "base_template")
"""What may be kept of a pair: its name, its models and templates as a user names them."""
_LOADING_KINDS: Mapping[str, type] = {
    **dict.fromkeys(("drafter", "base"), dict),
    **dict.fromkeys(("drafter_template", "base_template", "overlap"), str),
    "isolate": bool,
}


@dataclass(frozen=True, slots=True)
class SavedConversation:
    """What is kept of a conversation; `messages` are without the system prompt."""

    system: str | None
    messages: tuple[Message, ...]
    options: Options
    written: tuple[Authorship | None, ...] = ()
    """One for each message: None where it was not written by a pair, or where nothing is known of that."""
    pair: Mapping[str, str] = field(default_factory=dict)
    """The pair that it was held with, by some of `PAIR_KEYS`; empty if that is unknown."""
    loading: Mapping[str, Any] = field(default_factory=dict)
    """How its models were loaded, where that was not as usual with this pair: under `drafter` and `base` settings by
    their names, and templates, `overlap` and `isolate`. Which values they may have is for whoever loads them to say."""

    def __post_init__(self) -> None:
        missing = len(self.messages) - len(self.written)
        object.__setattr__(self, "written", (*self.written, *[None] * missing))

    def as_json(self) -> dict[str, Any]:
        """The JSON object of the file."""
        messages = [
            {**message.as_dict(), **({} if authorship is None else {"written": authorship.as_json()})}
            for message, authorship in zip(self.messages, self.written, strict=True)
        ]
        data = {"format": FORMAT, "system": self.system, "messages": messages, "options": asdict(self.options)}
        return {**data, "pair": dict(self.pair), **({"loading": dict(self.loading)} if self.loading else {})}

    def write(self, path: str | Path) -> None:
        """Replaces a conversation at `path`, and nothing else. Raises `SessionFileError`."""
        path = Path(path)
        if path.is_file() and path.stat().st_size and not holds_conversation(path):
            raise SessionFileError(
                f"{path} exists and is not a conversation, so it was left as it is; choose another name"
            )
        # Half a character would be no reason to lose the rest.
        text = (json.dumps(self.as_json(), ensure_ascii=False, indent=2) + "\n").encode(errors="replace")
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
            messages, written = _parse_written(data["messages"])
            pair, loading = _parse_pair(data.get("pair", {})), _parse_loading(data.get("loading", {}))
            return cls(data["system"], messages, Options().with_changes(**options), written, pair, loading)
        except (KeyError, TypeError, ValueError, OverflowError, OptionError, TemplateError) as error:
            raise SessionFileError(f"{path}: is a damaged conversation ({error})") from error


def is_conversation(data: object) -> bool:
    """Whether the content of a JSON file says that it is a saved conversation."""
    return isinstance(data, dict) and data.get("format") in _READ_FORMATS


def holds_conversation(path: str | Path) -> bool:
    """Whether the file at `path` is a saved conversation, so that saving there destroys nothing else."""
    try:
        return is_conversation(parse_json(read_bounded(path, _MOST_BYTES)))
    except (OSError, ValueError):
        return False


def _parse_written(data: object) -> tuple[tuple[Message, ...], tuple[Authorship | None, ...]]:
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        return parse_messages(data), ()  # type: ignore[arg-type]  # which says what is wrong with it
    messages = parse_messages([{key: entry[key] for key in entry if key != "written"} for entry in data])
    return messages, tuple(
        Authorship.parse(entry["written"], message.content) if "written" in entry else None
        for entry, message in zip(data, messages, strict=True)
    )


def _parse_pair(data: object) -> dict[str, str]:
    if not isinstance(data, dict) or not all(key in PAIR_KEYS and isinstance(data[key], str) for key in data):
        raise TypeError("the pair is not told as it should be")
    return data


def _parse_loading(data: object) -> dict[str, Any]:
    if not isinstance(data, dict) or not all(isinstance(data[key], _LOADING_KINDS.get(key, ())) for key in data):
        raise TypeError("how the models are loaded is not told as it should be")
    return data
