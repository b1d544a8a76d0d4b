"""Conversations in files: what is kept comes back, and what is not a conversation is told and left alone."""

import json

import pytest

from edge_wsd import Options, Session
from edge_wsd.errors import (
    OptionError,
    SessionFileError,
    TemplateError,
)

OPTIONS = Options(max_tokens=12, threshold=0.0, window=3, chunk=4)


def test_a_saved_conversation_comes_back_whole(pair, tmp_path):
    session = pair.session(system="be brief", options=OPTIONS.with_changes(stop=("END",)))
    session.ask("hello é 🙂")
    session.save(tmp_path / "chat.json")
    again = Session.load(tmp_path / "chat.json", pair)
    assert (again.messages, again.system, again.options) == (session.messages, session.system, session.options)
    assert [path.name for path in tmp_path.iterdir()] == ["chat.json"]


@pytest.mark.parametrize("text", ["\ud83d", "ab\udcff", 5, b"hello"])
def test_what_is_no_text_is_refused_before_anything_is_lost(pair, tmp_path, text):
    """Half a character was once taken, and saving the conversation then failed."""
    session = pair.session(system="be brief", options=OPTIONS)
    session.ask("hello")
    before = session.messages
    for use in (
        lambda: session.stream(text),
        lambda: session.ask(text),
        lambda: setattr(session, "system", text),
        lambda: pair.session(system=text),
        lambda: pair.session(messages=[{"role": "user", "content": text}]),
        lambda: pair.session(messages=[{"role": text, "content": "hello"}]),
    ):
        with pytest.raises(TemplateError):
            use()
    with pytest.raises(OptionError, match="stop must be"):
        pair.generate("hello", stop=[text])
    assert (session.messages, session.system) == (before, "be brief")
    session.save(tmp_path / "chat.json")
    assert Session.load(tmp_path / "chat.json", pair).messages == before


@pytest.mark.parametrize("name", ["a\0b.json", "\ud83d.json"])
def test_a_name_that_no_file_can_have_is_told(pair, tmp_path, name):
    with pytest.raises(SessionFileError, match="it cannot be a file name"):
        pair.session().save(tmp_path / name)
    with pytest.raises(SessionFileError):
        Session.load(tmp_path / name, pair)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("not json", "is not a saved conversation"),
        ("[]", "is not a saved conversation"),
        ('{"format": "edge-wsd conversation 1"}', "is a damaged conversation"),
        (b"\xff\xfe", "is not a saved conversation"),
    ],
)
def test_a_file_that_is_no_conversation_is_named(pair, tmp_path, content, complaint):
    path = tmp_path / "chat.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SessionFileError, match=rf"chat\.json: {complaint}"):
        Session.load(path, pair)


def test_a_saved_option_out_of_range_is_named(pair, tmp_path):
    path = tmp_path / "chat.json"
    pair.session(options=OPTIONS).save(path)
    data = json.loads(path.read_text())
    data["options"]["window"] = 0
    path.write_text(json.dumps(data))
    with pytest.raises(SessionFileError, match="window must be at least 1"):
        Session.load(path, pair)


def test_only_a_conversation_is_replaced_by_a_conversation(pair, tmp_path):
    """A model, or whatever else was named, was replaced."""
    session = pair.session(options=OPTIONS)
    for content in (b"GGUF and more", b"[]", b'{"format": "something else"}'):
        (tmp_path / "precious").write_bytes(content)
        with pytest.raises(SessionFileError, match="is not a conversation, so it was left as it is"):
            session.save(tmp_path / "precious")
        assert (tmp_path / "precious").read_bytes() == content
    (tmp_path / "empty").touch()
    for name in ("empty", "new", "new"):
        session.save(tmp_path / name)
        assert Session.load(tmp_path / name, pair).options == OPTIONS


def test_saving_where_nothing_can_be_written_says_so(pair, tmp_path):
    with pytest.raises(SessionFileError, match="cannot be written"):
        pair.session().save(tmp_path / "missing" / "chat.json")
