"""What may be shown of a reply while it is being written."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_wsd.decoding.stop_strings import StopStrings
from edge_wsd.decoding.text import TextStream
from edge_wsd.decoding.writer import ReplyWriter
from tests.fakes import FakeVocabulary

STOPS = ["\n\n[User]", "\n[User]", "[User]", "ab"]


def pieces_of(data, cuts):
    points = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(points)]


def shown(pieces, stops):
    stream = TextStream(stops)
    parts = []
    for piece in pieces:
        parts.append(stream.feed(piece))
        if stream.stop is not None:
            return parts, stream
    parts.append(stream.flush())
    return parts, stream


@given(st.text(alphabet="aé🙂b\n[User]", max_size=30), st.lists(st.integers(0, 90), max_size=20))
def test_the_text_ends_before_the_first_stop_string_however_the_bytes_are_cut(text, cuts):
    parts, stream = shown(pieces_of(text.encode(), cuts), STOPS)
    found = [text.find(stop) for stop in STOPS if stop in text]
    assert "".join(parts) == (text[: min(found)] if found else text)
    assert (stream.stop is not None) == bool(found)


@given(st.binary(max_size=30), st.lists(st.integers(0, 30), max_size=10))
def test_bytes_that_are_no_text_become_replacement_characters(data, cuts):
    parts, _ = shown(pieces_of(data, cuts), [])
    assert "".join(parts) == data.decode("utf-8", errors="replace")


def test_a_character_is_shown_once_it_is_whole():
    stream = TextStream()
    assert [stream.feed(bytes([b])) for b in "é🙂".encode()] == ["", "é", "", "", "", "🙂"]


def test_a_possible_beginning_of_a_stop_string_is_held_back_and_then_given_back():
    stream = TextStream(["\n[User]"])
    assert [stream.feed(c.encode()) for c in "a\n[Us!"] == ["a", "", "", "", "", "\n[Us!"]


def test_the_texts_of_the_events_add_up_to_the_reply():
    vocabulary = FakeVocabulary([b"", b"a", b"\n", b"[User", b"]", "é".encode()[:1], "é".encode()[1:]])
    writer = ReplyWriter(vocabulary, max_tokens=50, stops=STOPS)
    events = [event for token in (1, 5, 6, 2, 3, 0) for event in writer.write(token, "base")]
    assert "".join(event.text for event in events) == writer.text == "aé\n[User"
    assert (writer.finish, writer.stop) == ("stop", None)


@pytest.mark.parametrize(("reason", "text"), [("stop", "a\ufffd"), ("length", "a"), ("cancelled", "a")])
def test_half_a_character_is_no_text_where_the_reply_was_cut_off_in_it(reason, text):
    """It stayed in the conversation as U+FFFD, and was read again with every turn."""
    first, second = "🙂".encode()[:2], "🙂".encode()[2:]
    vocabulary = FakeVocabulary([b"", b"a", first, second])
    writer = ReplyWriter(vocabulary, max_tokens=2 if reason == "length" else 50)
    events = [event for token in (1, 2) for event in writer.write(token, "base")]
    if reason != "length":
        events += writer.write(0, "base") if reason == "stop" else writer.end(reason)
    assert (writer.finish, writer.text, len(writer.ids)) == (reason, text, 2)
    assert "".join(event.text for event in events) == text


def test_a_held_back_beginning_of_a_stop_string_is_shown_where_the_reply_was_cut_off():
    stream = TextStream(["[User]"])
    assert stream.feed(b"a[Us" + "🙂".encode()[:3]) == "a"
    assert stream.flush(cut_off=True) == "[Us"


def test_a_stop_string_over_several_tokens_is_told_from_an_end_token():
    vocabulary = FakeVocabulary([b"", b"a", b"\n", b"[User", b"]"])
    writer = ReplyWriter(vocabulary, max_tokens=50, stops=STOPS)
    for token in (1, 2, 2, 3, 4):
        assert writer.finish is None
        writer.write(token, "base")
    assert (writer.text, writer.finish, writer.stop) == ("a", "stop", "\n\n[User]")


@pytest.mark.parametrize("token", [0, 3])
def test_the_token_that_ended_a_reply_is_told_if_the_model_that_finishes_it_chose_it(token):
    vocabulary = FakeVocabulary([b"", b"a", b"b", b"[User"])
    for logprob, source, told in ((-0.5, "base", token), (None, "drafter", None)):
        writer = ReplyWriter(vocabulary, max_tokens=9, stop_tokens={3: "[User"})
        writer.write(1, "base", -0.1)
        assert writer.end_token is None
        writer.write(token, source, logprob)
        assert writer.finish == "stop" and writer.ids == [1]
        assert (writer.end_token and writer.end_token.id) == told


def test_cutting_into_other_tokens_shows_nothing_twice():
    vocabulary = FakeVocabulary([b"", b"a", b"b", b"ab", b"c"])
    writer = ReplyWriter(vocabulary, max_tokens=9)
    events = [*writer.write(4, "drafter"), *writer.write(1, "drafter")]
    writer.cut(1)
    events += [*writer.write(3, "drafter"), *writer.write(4, "base")]
    assert [event.text for event in events] == ["c", "a", "b", "c"]
    assert (writer.ids, writer.text) == ([4, 3, 4], "cabc")


# A stop string such as "bye<|im_end|>" never stopped: the token is no part of the text.
def test_a_stop_string_with_a_control_token_in_it_stops_at_the_token_and_is_left_out():
    vocabulary = FakeVocabulary([b"", b"a", b"bye", b"", b"!"])
    strings = StopStrings.of(["bye<|x|>!", "a<|end|>"], lambda text: {"bye<|x|>!": ["bye", 3, "!"]}.get(text, ["a", 0]))
    for tokens, text, stop in (
        ((1, 2, 3, 4), "a", "bye<|x|>!"),
        ((1, 2, 3, 1, 2), "abyeabye", None),
        ((2, 4, 3, 4), "bye!!", None),
        ((2, 1, 0), "bye", "a<|end|>"),
        ((1, 2, 0), "abye", None),
        ((1, 3, 0), "a", None),
    ):
        writer = ReplyWriter(vocabulary, max_tokens=50, stops=strings.patterns, marks=strings.marks)
        events = [event for token in tokens if not writer.finish for event in writer.write(token, "base")]
        events += () if writer.finish else writer.end("length")
        assert "".join(event.text for event in events) == writer.text == text
        assert writer.stop == stop
