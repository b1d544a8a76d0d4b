"""Drafted tokens that repeat the question or the draft, over models that say "XYabcd abcd abcd " and so on."""

from __future__ import annotations

import pytest

from edge_wsd import Options, Pair, Reply, Scored, Session

OPTIONS = Options(threshold=0.5, max_draft=30, max_tokens=40)
COUNTED = 9  # of "XYabcd abcd ...": from the second "abc" on, three tokens stand before


def judged(reply: Reply) -> list[bool | None]:
    return [token.repeated for token in reply.tokens if token.source == "drafter"]


def test_without_the_option_every_token_counts_and_none_is_judged(chanting: Pair) -> None:
    reply = chanting.generate("hello", OPTIONS, window=COUNTED + 1)
    assert reply.switch is not None and (reply.switch.index, reply.switch.reason) == (COUNTED, "confident")
    assert judged(reply) == [None] * (COUNTED + 1)


@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_repeated_tokens_are_left_out_and_marked(chanting: Pair, chunk: int) -> None:
    options = OPTIONS.with_changes(ignore_repeated=True, chunk=chunk)
    reply = chanting.generate("hello", options, window=COUNTED)
    assert reply.switch is not None and (reply.switch.index, reply.switch.reason) == (COUNTED - 1, "confident")
    assert judged(reply) == [False] * COUNTED
    reply = chanting.generate("hello", options, window=COUNTED + 1)
    assert reply.switch is not None and (reply.switch.index, reply.switch.reason) == (29, "draft_limit")
    assert judged(reply) == [False] * COUNTED + [True] * (30 - COUNTED)
    assert all(token.repeated is None for token in reply.tokens[30:])


def test_the_users_last_message_is_what_a_draft_repeats(chanting: Pair) -> None:
    options = OPTIONS.with_changes(ignore_repeated=True, window=5)
    chat = chanting.session(options=options)
    assert judged(chat.ask("Say XYABCD please"))[:6] == [False, False, True, True, True, True]
    assert judged(chat.ask("and now?")) == [False] * 5


def test_the_events_tell_it_too(chanting: Pair) -> None:
    chat: Session = chanting.session(options=OPTIONS.with_changes(ignore_repeated=True, window=COUNTED + 1))
    told = [flag for event in chat.stream("hello") if isinstance(event, Scored) for flag in event.repeated]
    assert chat.last is not None and told == judged(chat.last)
