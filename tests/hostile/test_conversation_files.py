"""A conversation file with any of its values replaced is read or refused in one line; nothing else happens."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from edge_wsd.authorship import Authorship, AuthorSpan
from edge_wsd.conversation_file import SavedConversation
from edge_wsd.decoding.events import Switched
from edge_wsd.decoding.options import Options
from edge_wsd.errors import SessionFileError
from edge_wsd.prompts.messages import Message

ODD: tuple[Any, ...] = (
    None, True, 0, -1, 1.5, 10**400, 1e308, "", "base", "x" * 999, [], [[]], [1, 2, 3], {}, {"a": 1}, [None], [{}], "\0"
)  # fmt: skip
WHOLE = SavedConversation(
    "Be brief.",
    (Message("user", "hello"), Message("assistant", "Sure, yes")),
    Options(stop=("END",)),
    (
        None,
        Authorship(
            (AuthorSpan("drafter", "Sure,"), AuthorSpan("base", " yes")), Switched(1, "confident", 0.9), 5, pair="demo"
        ),
    ),
    {"name": "demo"},
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(place for key in keys for place in places(value[key], (*path, key)))]


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    value = copy.copy(value)
    value[path[0]] = changed(value[path[0]], path[1:], new)
    return value


def test_any_odd_value_anywhere_is_read_or_refused(tmp_path):
    path, whole = tmp_path / "talk.json", json.loads(json.dumps(WHOLE.as_json()))
    SavedConversation.parse(whole, path)
    n_refused, n_read = 0, 0
    for place in places(whole):
        for odd in ODD:
            path.write_text(json.dumps(changed(whole, place, odd)))
            try:
                found = SavedConversation.read(path)
            except SessionFileError as error:
                assert str(path) in str(error) and "\n" not in str(error)
                n_refused += 1
            else:  # what was taken is whole, and can be written again
                found.write(tmp_path / "again.json")
                assert SavedConversation.read(tmp_path / "again.json") == found
                assert all(
                    one is None or "".join(span.text for span in one.spans) == message.content
                    for message, one in zip(found.messages, found.written, strict=True)
                )
                n_read += 1
    assert n_refused > 500 and n_read > 50


def test_a_file_that_was_cut_off_or_damaged_is_read_or_refused(tmp_path):
    path, data = tmp_path / "talk.json", json.dumps(WHOLE.as_json()).encode()
    damage = random.Random(3)
    for _ in range(500):
        spoilt = bytearray(data[: damage.randrange(len(data))] if damage.random() < 0.3 else data)
        for _ in range(damage.randrange(4)):
            if spoilt:
                spoilt[damage.randrange(len(spoilt))] = damage.randrange(256)
        path.write_bytes(spoilt)
        try:
            SavedConversation.read(path)
        except SessionFileError as error:
            assert str(path) in str(error)
