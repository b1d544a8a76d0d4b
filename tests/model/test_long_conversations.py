"""Conversations that grow: what is reused of them, what is left out where a context is full, and that it is told."""

from itertools import pairwise

import pytest

from edge_wsd import Options
from edge_wsd.decoding.events import Dropped, Finished
from edge_wsd.errors import (
    ContextFullError,
)
from edge_wsd.prompts.messages import Message

OPTIONS = Options(max_tokens=12, threshold=0.0, window=3, chunk=4)


def test_the_second_turn_decodes_only_what_is_new_in_both_memories(pair):
    session = pair.session(options=OPTIONS)
    session.ask("the first question is a long one so that there is something to reuse")
    first = session.last.stats
    session.ask("next")
    second = session.last.stats
    assert second.base_reused_tokens >= first.base_prompt_tokens
    assert second.drafter_reused_tokens >= first.drafter_prompt_tokens


def test_the_oldest_turns_go_when_the_context_is_full_and_that_is_told(pair):
    session = pair.session(system="the system", options=OPTIONS)
    dropped = []
    for turn in range(12):
        events = list(session.stream(f"question {turn} " + "the file list is " * 3))
        dropped += [event.n_messages for event in events if isinstance(event, Dropped)]
        assert isinstance(events[-1], Finished)
    assert dropped and all(n % 2 == 0 for n in dropped)
    assert len(session.messages) == 24


def test_a_prompt_longer_than_the_context_is_refused_with_both_counts_and_nothing_is_lost(pair):
    session = pair.session(options=OPTIONS)
    session.ask("hello")
    before = session.messages
    n_ctx = pair.base.context.n_ctx
    told = rf"leaves 0 of the {n_ctx} in the context .* of up to 12; shorten the prompt or raise .*\(--ctx\)$"
    with pytest.raises(ContextFullError, match=told) as caught:
        session.ask("the list " * 400)
    assert caught.value.needed > caught.value.available
    assert session.messages == before
    session.ask("again")


def test_a_full_context_is_emptied_by_half_so_that_later_turns_find_their_beginning_in_memory(pair):
    """As few turns as possible were dropped, every turn again, and so all that was left was read again each time."""
    session = pair.session(system="the system", options=OPTIONS)
    dropped, read_again = [], []
    for turn in range(40):
        events = list(session.stream(f"question {turn} the file list is"))
        dropped += [turn for event in events if isinstance(event, Dropped)]
        stats = session.last.stats
        if turn and turn not in dropped:
            read_again += [
                stats.base_prompt_tokens - stats.base_reused_tokens,
                stats.drafter_prompt_tokens - stats.drafter_reused_tokens,
            ]
    assert 2 <= len(dropped) < 8 and min(b - a for a, b in pairwise(dropped)) >= 3
    assert max(read_again) < 80  # the last reply and the new question


def test_a_long_conversation_is_encoded_few_times_and_hears_a_cancel(pair, monkeypatch):
    """1,600 messages were once rendered and cut into tokens as a whole for every message left out: 36 s, deaf."""
    sizes, encode = [], type(pair.base).encode

    def counting(model, messages, *tools, **how):
        sizes.append(len(messages))
        return encode(model, messages, *tools, **how)

    monkeypatch.setattr(type(pair.base), "encode", counting)
    messages = [{"role": ("user", "assistant")[i % 2], "content": "the list of files"} for i in range(1600)]
    session = pair.session(options=OPTIONS, messages=messages)
    events = list(session.stream("hello"))
    assert events[0].n_messages > 1500 and events[-1].reply.text
    assert len(sizes) < 2 * 13 and sum(sizes) < 2 * 4 * 1600  # halving: 1600 + 800 + 400 + ..., for both
    sizes.clear()
    session.ask("again")
    assert len(sizes) == 2

    def cancelling(model, messages, *tools, **how):
        session.cancel()
        return counting(model, messages, *tools, **how)

    session = pair.session(options=OPTIONS, messages=messages)
    sizes.clear()
    monkeypatch.setattr(type(pair.base), "encode", cancelling)
    (finished,) = session.stream("hello")
    assert finished.reply.finish_reason == "cancelled" and len(sizes) == 1
    assert len(session.messages) == 1600


def test_what_was_left_out_for_a_turn_that_did_not_happen_is_there_again(pair):
    session = pair.session(options=OPTIONS)
    n_ctx = pair.base.context.n_ctx
    n_most = max(len(model.encode([Message("user", "the list " * 80)]).tokens) for model in (pair.drafter, pair.base))
    long = "the list " * (80 * (n_ctx * 3 // 5) // n_most)  # two of them do not fit together
    session.ask(long)
    stream = session.stream(long)
    assert isinstance(next(stream), Dropped)
    stream.close()
    assert not any(isinstance(event, Dropped) for event in session.stream("more"))
