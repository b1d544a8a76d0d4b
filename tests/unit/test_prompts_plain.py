"""Messages, the base's plain template, and choosing a template."""

from pathlib import Path
from typing import Any

import pytest

from edge_wsd.errors import OptionError, TemplateError
from edge_wsd.prompts.choose import base_template, drafter_template
from edge_wsd.prompts.messages import Message, parse_messages
from edge_wsd.prompts.plain_template import PlainTemplate


def test_messages_are_read_from_dictionaries_and_kept_as_they_are() -> None:
    user = Message("user", " Hi ")
    assert parse_messages([user]) == parse_messages([{"role": "user", "content": " Hi "}]) == (user,)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ("Hello", "must be a list of messages, not str"),
        (7, "must be a list of messages, not int"),
        ({"role": "user", "content": "x"}, "must be a list of messages, not dict"),
        (["Hello"], "message 1 must be an object"),
        ([{"role": "user"}], "message 1 has no content"),
        ([{"role": "user", "content": "x", "name": "y"}], "message 1 has the unknown key 'name'"),
        ([{"role": "user", "content": "x"}, {"role": "robot", "content": "y"}], "message 2: role must be .*'robot'"),
        ([{"role": "user", "content": None}], "message 1: content must be a string, not NoneType"),
        ([{"role": ["user"], "content": "x"}], "message 1: role must be"),
        ([{"role": "user", "content": "ab\ud83d"}], r"message 1: .* half a character \(U\+D83D\) at position 2"),
        ([{"role": "us\udce9r", "content": "x"}], r"message 1: role must be .*\\udce9"),
        ([{"role": "user", "content": "x", "\udce9": "y"}], r"message 1 has the unknown key '\\udce9'"),
    ],
)
def test_a_bad_message_is_named_by_its_number(messages: Any, reason: str) -> None:
    with pytest.raises(TemplateError, match=reason):
        parse_messages(messages)


def test_the_plain_template_writes_headings_and_stripped_contents() -> None:
    messages = [Message("system", " Be brief.\n"), Message("user", "\nHi "), Message("assistant", "Yes?")]
    more = Message("user", "List files")
    assert PlainTemplate().render([*messages, more]) == (
        "\n\n[System]\nBe brief.\n\n[User]\nHi\n\n[Assistant]\nYes?\n\n[User]\nList files\n\n[Assistant]\n"
    )


def test_the_plain_template_leaves_a_last_assistant_message_open() -> None:
    messages = [Message("user", "Hi"), Message("assistant", "Sure, ")]
    assert PlainTemplate().render(messages) == "\n\n[User]\nHi\n\n[Assistant]\nSure,"


def test_the_plain_template_has_nine_stops() -> None:
    assert set(PlainTemplate.stops) == {
        "\n\n[User]",
        "\n\n[System]",
        "\n\n[Assistant]",
        "\n[User]",
        "\n[System]",
        "\n[Assistant]",
        "[User]",
        "[System]",
        "[Assistant]",
    }


def test_the_plain_template_needs_a_message() -> None:
    with pytest.raises(TemplateError, match="no message"):
        PlainTemplate().render([])


def test_plain_and_chat_are_chosen_by_name() -> None:
    assert isinstance(base_template("plain", "{{ 1 }}", "", ""), PlainTemplate)
    chat = drafter_template("chat", "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "<s>", "</s>")
    assert chat.render([Message("user", "Hi")]) == "<s>Hi</s>"
    assert chat.parses_special and not PlainTemplate().parses_special
    assert chat.stops == ()


@pytest.mark.parametrize("nothing", [None, "", " \n"])
def test_a_model_without_a_chat_template_is_told_the_option_that_helps(nothing: str | None) -> None:
    with pytest.raises(TemplateError, match=r"drafter has no chat template.*--drafter-template plain"):
        drafter_template("chat", nothing, "", "")
    with pytest.raises(TemplateError, match=r"base has no chat template.*--base-template plain"):
        base_template("chat", nothing, "", "")


def test_a_template_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "my.jinja"
    path.write_text("\ufeff>{{ messages[0].content }}<\n", encoding="utf-8")
    assert drafter_template(str(path), None, "", "").render([Message("user", "é")]) == ">é<"


def test_a_template_file_that_cannot_be_used_is_a_typed_error(tmp_path: Path) -> None:
    binary, large = tmp_path / "binary", tmp_path / "large"
    binary.write_bytes(b"\xff\xfe\x00")
    large.write_bytes(b"a" * (1 << 21))
    for choice, reason in (
        (str(tmp_path / "none.jinja"), "No such file"),
        (str(tmp_path), "cannot be read"),
        (str(binary), "not UTF-8"),
        (str(large), "larger than"),
        ("a\0b", "cannot be a file name"),
    ):
        with pytest.raises(TemplateError, match=reason):
            base_template(choice, None, "", "")


@pytest.mark.parametrize("choice", [None, 0, 2.5, b"chat", ["chat"]])
def test_a_template_that_is_no_name_is_the_documented_error(choice: Any) -> None:
    """A number was read as an open file, the others ended in a TypeError."""
    with pytest.raises(OptionError, match="drafter_template must be chat, plain or the name of a Jinja file, not "):
        drafter_template(choice, None, "", "")


def test_a_template_may_be_named_by_a_path(tmp_path: Path) -> None:
    (tmp_path / "my.jinja").write_text("a")
    assert base_template(tmp_path / "my.jinja", None, "", "").render([Message("user", "Hi")]) == "a"  # type: ignore[arg-type]
