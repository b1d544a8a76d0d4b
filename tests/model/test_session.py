"""Conversations over a pair of tiny random models: what is kept of a turn, written again, cancelled and undone."""

import threading

import pytest

from edge_wsd import Options, Session
from edge_wsd.decoding.events import Finished, Switched, Token
from edge_wsd.errors import (
    BusyError,
    TemplateError,
)
from tests.live_servers import decode_slowly

OPTIONS = Options(max_tokens=12, threshold=0.0, window=3, chunk=4)


def test_a_conversation_that_ends_with_the_assistant_is_continued(pair):
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "the list is in"}]
    session = pair.session(options=OPTIONS, messages=messages)
    reply = session.ask(None)
    assert session.messages[-1].content == "the list is in" + reply.text
    assert reply.switch.index == -1  # with threshold 0 the given beginning fills the window
    assert reply.text == pair.generate(messages, OPTIONS, mode="base").text


def test_cancelling_ends_the_reply_and_the_session_goes_on(pair, monkeypatch):
    decode_slowly(monkeypatch)
    session = pair.session(options=Options(max_tokens=400, threshold=1.0, max_draft=400))
    written = []
    for event in session.stream("hello"):
        if isinstance(event, Token):
            if not written:
                session.cancel()
            written.append(event.text)
    reply = session.last
    assert reply.finish_reason == "cancelled" and 1 <= len(reply.tokens) < 400
    assert session.messages[-1].content == reply.text == "".join(written)
    session.options = OPTIONS
    assert session.ask("again").finish_reason == "length"


def test_cancelling_from_another_thread_before_the_first_word_undoes_the_turn(pair, held_back):
    session = pair.session(options=OPTIONS)
    stream = session.stream("hello")
    thread = threading.Thread(target=session.cancel)
    thread.start()
    thread.join()
    held_back.set()
    events = list(stream)
    assert events[-1].reply.finish_reason == "cancelled" and session.messages == ()
    assert session.ask("hello").text == pair.generate("hello", OPTIONS).text


def test_a_second_reply_over_the_same_pair_waits_for_its_turn(pair):
    """It was told that the pair is busy, and by a reader who had left as well."""
    expected = [pair.generate(prompt, OPTIONS) for prompt in ("hello", "hi")]
    first = pair.session(options=OPTIONS).stream("hello")
    next(first)
    second = pair.session(options=OPTIONS).stream("hi")
    assert [stream.result().text for stream in (second, first)] == [expected[1].text, expected[0].text]


def test_a_second_reply_to_the_same_conversation_is_refused_while_one_is_unread(pair):
    session = pair.session(options=OPTIONS)
    stream = session.stream("hello")
    for use in (lambda: session.stream("hi"), session.regenerate, session.clear):
        with pytest.raises((BusyError, TemplateError)):
            use()
    reply = stream.result()
    assert [message.content for message in session.messages] == ["hello", reply.text]
    assert session.stream("hi").result().text


def test_closing_the_stream_early_leaves_the_conversation_as_it_was(pair):
    session = pair.session(options=OPTIONS)
    session.ask("hello")
    before = session.messages
    stream = session.stream("more")
    next(stream)
    stream.close()
    assert session.messages == before


def test_regenerating_replaces_the_last_reply(pair):
    session = pair.session(options=OPTIONS)
    first = session.ask("hello")
    again = list(session.regenerate())[-1].reply
    assert again.text == first.text and len(session.messages) == 2
    session.options = OPTIONS.with_changes(temperature=1.5, seed=9)
    assert list(session.regenerate())[-1].reply.text != first.text
    session.clear()
    with pytest.raises(TemplateError, match="no reply"):
        session.regenerate()


def test_regenerating_keeps_the_beginning_that_was_given(pair):
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "the list is in"}]
    session = pair.session(options=OPTIONS, messages=messages)
    first = session.ask()
    again = list(session.regenerate())[-1].reply
    assert again.text == first.text and session.messages[-1].content == "the list is in" + again.text


@pytest.mark.parametrize("system", [None, "the system"])
def test_a_reply_to_nothing_cannot_be_written_again(pair, system):
    """A conversation of one assistant message ended in an UnboundLocalError."""
    messages = [{"role": "assistant", "content": "the list"}]
    with pytest.raises(TemplateError, match="begins with its reply"):
        pair.session(system=system, options=OPTIONS, messages=messages).regenerate()


def test_who_stops_reading_at_the_end_keeps_the_pair_from_nobody(pair):
    """A stream that was left at `Finished` but not yet forgotten kept the pair busy."""
    session = pair.session(options=OPTIONS)
    for event in (left := session.stream("hello")):
        if isinstance(event, Finished):
            break
    assert pair.generate("hi", OPTIONS).text and session.ask("more").text
    left.close()
    assert len(session.messages) == 4


class TestInTheMiddleOfAStream:
    """Whatever is called there works or is refused with a name, and the reply comes to its end unharmed."""

    EXPECTED = pytest.mark.parametrize(
        ("use", "error"),
        [
            (lambda session, pair, path: session.ask("hi"), BusyError),
            (lambda session, pair, path: session.stream("hi"), BusyError),
            (lambda session, pair, path: session.regenerate(), BusyError),
            (lambda session, pair, path: session.clear(), BusyError),
            (lambda session, pair, path: pair.generate("hi"), None),
            (lambda session, pair, path: next(pair.session().stream("hi")), None),
            (lambda session, pair, path: pair.session().stream("hi").close(), None),
            (lambda session, pair, path: session.save(path), None),
            (lambda session, pair, path: Session.load(path.with_name("saved.json"), pair), None),
            (lambda session, pair, path: setattr(session, "options", Options(max_tokens=1)), None),
            (lambda session, pair, path: setattr(session, "system", "another"), None),
            (lambda session, pair, path: pair.session(system="another").clear(), None),
        ],
    )

    @EXPECTED
    @pytest.mark.parametrize("until", [Token, Switched])
    def test_it_does_not_disturb_the_reply(self, pair, tmp_path, use, error, until):
        def begun():
            session = pair.session(system="the system", options=OPTIONS)
            session.ask("hello")
            return session

        undisturbed = begun()
        undisturbed.ask("more")
        session = begun()
        session.save(tmp_path / "saved.json")
        before, used = session.messages, False
        for event in session.stream("more"):
            if isinstance(event, until) and not used:
                used = True
                assert session.messages == before
                if error is None:
                    use(session, pair, tmp_path / "chat.json")
                else:
                    with pytest.raises(error):
                        use(session, pair, tmp_path / "chat.json")
        assert used and session.messages == undisturbed.messages
        if (tmp_path / "chat.json").exists():
            assert Session.load(tmp_path / "chat.json", pair).messages == before

    def test_options_and_system_hold_for_the_next_reply(self, pair):
        session = pair.session(options=OPTIONS)
        for _ in session.stream("hello"):
            session.options = Options(max_tokens=1)
        assert len(session.last.tokens) == 12 and len(session.ask("more").tokens) == 1

    def test_cancelling_twice_is_cancelling_once(self, pair):
        session = pair.session(options=Options(max_tokens=400, threshold=1.0, max_draft=400))
        events = []
        for event in session.stream("hello"):
            events.append(event)
            session.cancel()
            session.cancel()
        assert events[-1].reply.finish_reason == "cancelled"
        session.cancel()
        session.options = OPTIONS
        assert session.ask("more").finish_reason == "length"

    def test_a_reply_that_was_cleared_cannot_be_written_again(self, pair):
        session = pair.session(options=OPTIONS)
        session.ask("hello")
        list(session.stream("more"))
        assert [message.role for message in session.messages] == ["user", "assistant"] * 2
        session.clear()
        with pytest.raises(TemplateError, match="no reply"):
            session.regenerate()


def test_a_continuation_cancelled_before_its_first_word_did_not_happen(pair, held_back):
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "the list is in "}]
    session = pair.session(options=OPTIONS, messages=messages)
    stream = session.stream()
    session.cancel()
    held_back.set()
    assert list(stream)[-1].reply.finish_reason == "cancelled"
    assert session.messages[-1].content == "the list is in "


def test_a_reply_written_again_and_broken_off_keeps_the_old_one(pair):
    session = pair.session(options=OPTIONS)
    session.ask("hello")
    before = session.messages
    stream = session.regenerate()
    next(stream)
    stream.close()
    assert session.messages == before


def test_asking_for_another_reply_does_not_undo_a_cancel(pair, held_back):
    session = pair.session(options=OPTIONS)
    stream = session.stream("hello")
    session.cancel()
    with pytest.raises(BusyError):
        session.stream("next")
    held_back.set()
    assert list(stream)[-1].reply.finish_reason == "cancelled"
