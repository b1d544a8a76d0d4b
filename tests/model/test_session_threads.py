"""One conversation and several threads: one of them is answered, the others are told, and no turn is lost."""

import random
import sys
import threading
from functools import partial

import pytest

from edge_wsd import BusyError, Options
from edge_wsd import loaded_pair as loaded_pair_module
from edge_wsd.engine import engine as engine_module
from edge_wsd.llama import library
from tests.interrupts import interrupted_at

OPTIONS = Options(max_tokens=3, threshold=0.0, window=3, chunk=4)
LIMIT_S = 60


def elsewhere(use):
    """What `use` raises in another thread; None if nothing."""
    raised = []

    def run():
        try:
            use()
        except Exception as error:
            raised.append(error)
        else:
            raised.append(None)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(LIMIT_S)
    return raised[0]


USES = {
    "stream": lambda session: session.stream("hi"),
    "ask": lambda session: session.ask("hi"),
    "regenerate": lambda session: session.regenerate(),
    "clear": lambda session: session.clear(),
}


@pytest.mark.parametrize("use", USES)
def test_who_asks_while_another_thread_is_asking_is_told_so(pair, monkeypatch, use):
    """Between the look whether a reply is being written and the beginning of the next one, both once passed."""
    session = pair.session(options=OPTIONS)
    session.ask("hello")
    before, real, refusals = session.messages, loaded_pair_module.fit, []

    def fit(*given):
        monkeypatch.setattr(loaded_pair_module, "fit", real)
        refusals.append(elsewhere(lambda: USES[use](session)))
        return real(*given)

    monkeypatch.setattr(loaded_pair_module, "fit", fit)
    reply = session.ask("more")
    assert [type(error) for error in refusals] == [BusyError]
    assert [message.content for message in session.messages[len(before) :]] == ["more", reply.text]


@pytest.mark.parametrize("use", USES)
def test_who_asks_while_a_turn_is_being_kept_is_told_so(pair, monkeypatch, use):
    """The stream was over a moment before its turn was kept: a clear in between was undone, a question lost."""
    session, refusals = pair.session(options=OPTIONS), []
    session.ask("hello")
    keep = session._keep

    def kept(*given):
        refusals.append(elsewhere(lambda: USES[use](session)))
        keep(*given)

    monkeypatch.setattr(session, "_keep", kept)
    reply = session.ask("more")
    assert [type(error) for error in refusals] == [BusyError]
    assert [message.content for message in session.messages][-2:] == ["more", reply.text]
    monkeypatch.undo()
    assert session.ask("on").text and len(session.messages) == 6


def test_a_stream_that_is_closed_while_its_turn_is_kept_has_ended_all_the_same(pair, monkeypatch):
    session = pair.session(options=OPTIONS)
    stream, keep = session.stream("hello"), session._keep
    monkeypatch.setattr(session, "_keep", lambda *given: (elsewhere(stream.close), keep(*given)))
    reply = stream.result()
    assert stream.is_over and [message.content for message in session.messages] == ["hello", reply.text]


def test_an_interruption_while_asking_leaves_the_conversation_free(pair, monkeypatch):
    session = pair.session(options=OPTIONS)

    def fit(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(loaded_pair_module, "fit", fit)
        with pytest.raises(KeyboardInterrupt):
            session.ask("hello")
    assert session.messages == () and session.ask("hello").text


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a generator that is let go
def test_ctrl_c_anywhere_in_asking_leaves_the_pair_as_it_was(pair, monkeypatch):
    """Behind taking a lock it was never given back; a thread that was counted already was counted for ever, and the
    pair could not be closed.
    """
    monkeypatch.setattr(engine_module, "_IDLE_S", 60.0)  # Python itself does not stand it while a thread is started
    pair.generate("hello", OPTIONS)
    n, was_interrupted = 0, True
    while was_interrupted:
        n, session = n + 1, pair.session(options=OPTIONS)
        was_interrupted = interrupted_at(n, partial(session.stream, "hello"))
        assert not pair.loaded._users and not session._claims, n
        assert not any(lock._is_owned() for lock in (pair.loaded._lock, pair.loaded.engine._lock, library.LOCK)), n
        assert n % 10 or session.ask("hello").text
    assert n > 100


def test_of_many_threads_that_ask_no_turn_is_lost(pair):
    """A question that was asked of the messages of a moment ago once replaced the turn that had come since."""
    session, answered = pair.session(options=OPTIONS), {}

    def ask(name):
        rng, n_answered = random.Random(name), 0
        while n_answered < 5:
            question = f"{name} {rng.random()}"
            try:
                session.ask(question)
            except BusyError:
                continue
            answered[question] = name
            n_answered += 1

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in "abc"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT_S)
    finally:
        sys.setswitchinterval(interval)
    assert [message.role for message in session.messages] == ["user", "assistant"] * 15
    assert {message.content for message in session.messages if message.role == "user"} == set(answered)
