"""More conversations in turns than a context keeps: each goes on from what was saved of it."""

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest

from edge_wsd import ModelSettings, Options, Pair
from edge_wsd.engine.saved_texts import SavedTexts
from edge_wsd.errors import DecodeError
from edge_wsd.llama.context import Context
from edge_wsd.llama.sequence import Sequence
from tests.devices import rounds_alike

SETTINGS = ModelSettings(threads=1, context_length=1024, gpu_layers=0)
OPTIONS = Options(max_tokens=24)
N_CHATS = 6
ROUNDS = [
    ["list files by size", "show the free disk space", "count the lines of a file", "find large files", "list folders"],
    ["And only the largest one?", "Thank you. How do I stop a program?", "How do I sort a file?"],
]


def question(chat, turn):
    task = ROUNDS[0][chat % len(ROUNDS[0])]
    return (
        f"How do I {task} in the folder number {chat}, and what is the shortest way to write it?"
        if turn == 0
        else ROUNDS[1][(turn + chat) % 3]
    )


@pytest.fixture
def load():
    pairs = []

    def load(other=False, parallel=1, **changes):
        settings = replace(SETTINGS, **changes)
        given = {"drafter_settings": settings, "base_settings": settings, "parallel": parallel}
        pairs.append(Pair.demo(other_vocabulary=other, **given))
        return pairs[-1]

    yield load
    for pair in pairs:
        pair.close()


@pytest.fixture
def read(monkeypatch):
    """Tokens of each decode."""
    counts, decode = [], Context._decode_batch

    def counting(context, parts):
        counts.append(sum(len(tokens) for _, tokens in parts))
        return decode(context, parts)

    monkeypatch.setattr(Context, "_decode_batch", counting)
    return counts


def new_tokens(reply):
    """Tokens of both prompts that were not in memory."""
    stats = reply.stats
    n_prompts = stats.drafter_prompt_tokens + stats.base_prompt_tokens
    return n_prompts - stats.drafter_reused_tokens - stats.base_reused_tokens


def alone(load, chat, **how):
    """The last reply of a conversation, by a pair that has read nothing else."""
    pair = load(**how)
    session = pair.session(options=OPTIONS, messages=chat.messages[:-1])
    reply = session.ask()
    pair.close()
    return reply


@pytest.mark.parametrize("other", [False, True], ids=["same vocabulary", "other vocabulary"])
@pytest.mark.parametrize("kind", [{}, {"exact": True}, {"kv_type": "q8_0"}], ids=str)
def test_six_conversations_in_turns_read_only_what_is_new(load, read, other, kind):
    """Of four conversations and more each read everything again in every turn."""
    pair = load(other, **kind)
    chats = [pair.session(options=OPTIONS) for _ in range(N_CHATS)]
    for turn in range(3):
        for number, chat in enumerate(chats):
            before = chat.messages
            read.clear()
            reply = chat.ask(question(number, turn))
            if turn:
                n_before = [len(model.encode(before).tokens) for model in (pair.drafter, pair.base)]
                n_whole = [len(model.encode(chat.messages[:-1]).tokens) for model in (pair.drafter, pair.base)]
                n_new = sum(n_whole) - sum(n_before)
                assert new_tokens(reply) <= n_new + 24  # and ends of replies that are cut into other tokens
            if turn == 2:  # with the reply and its proposals fewer than the prompts have
                assert sum(read) < sum(n_whole)
            assert reply.text == alone(load, chat, other=other, **kind).text


def test_without_memory_for_them_they_are_read_again(load):
    pair = load(cache_ram=0)
    chats = [pair.session(options=OPTIONS) for _ in range(N_CHATS)]
    for number, chat in enumerate(chats):
        chat.ask(question(number, 0))
    replies = [chat.ask(question(number, 1)) for number, chat in enumerate(chats)]
    assert all(new_tokens(reply) > 60 for reply in replies)
    assert [reply.text for reply in replies] == [alone(load, chat).text for chat in chats]


@rounds_alike
def test_four_at_once_of_twelve_in_turns_read_only_what_is_new(load):
    pair = load(parallel=4)
    chats = [pair.session(options=OPTIONS) for _ in range(12)]
    for turn in range(3):
        streams = [chat.stream(question(number, turn)) for number, chat in enumerate(chats)]
        replies = [stream.result() for stream in streams]
        if turn:
            assert max(map(new_tokens, replies)) < 60
    assert [reply.text for reply in replies] == [alone(load, chat).text for chat in chats]


def test_a_state_that_cannot_be_restored_costs_a_reading_and_no_answer(load, monkeypatch):
    pair = load()
    chats = [pair.session(options=OPTIONS) for _ in range(N_CHATS)]
    for number, chat in enumerate(chats):
        chat.ask(question(number, 0))

    save = Sequence._save

    def damaged(sequence, flags):
        state = save(sequence, flags)
        return replace(state, data=np.ones_like(state.data))

    monkeypatch.setattr(Sequence, "_save", damaged)
    for number, chat in enumerate(chats):
        reply = chat.ask(question(number, 1))
        assert reply.text == alone(load, chat).text
    reply = chats[0].ask(question(0, 2))
    assert new_tokens(reply) > 60 and reply.text == alone(load, chats[0]).text


@pytest.mark.parametrize("error", [MemoryError(), DecodeError("llama.cpp saved 0 of 0 bytes")], ids=str)
def test_a_text_that_cannot_be_saved_costs_a_reading_and_no_answer(load, monkeypatch, error):
    def fails(sequence, flags):
        raise error

    monkeypatch.setattr(Sequence, "_save", fails)
    pair = load()
    chats = [pair.session(options=OPTIONS) for _ in range(4)]
    for turn in range(2):
        replies = [chat.ask(question(number, turn)) for number, chat in enumerate(chats)]
    assert [reply.text for reply in replies] == [alone(load, chat).text for chat in chats]


def test_closing_frees_what_was_saved_though_somebody_holds_the_pair(load, monkeypatch):
    saved, add = [], SavedTexts.add

    def adding(texts, state):
        saved.append(weakref.ref(state.data))
        add(texts, state)

    monkeypatch.setattr(SavedTexts, "add", adding)
    pair = load()
    for number in range(N_CHATS):
        pair.session(options=OPTIONS).ask(question(number, 0))
    assert len(saved) >= 2 * (N_CHATS - 3) and all(data() is not None for data in saved)
    pair.close()
    gc.collect()
    assert all(data() is None for data in saved)


def test_closing_in_the_middle_of_many_saves_nothing_more(load, monkeypatch):
    pair = load(parallel=8)
    for number in range(12):
        pair.session(options=OPTIONS).ask(question(number, 0))
    streams = [pair.session(options=Options(max_tokens=400)).stream(question(number, 0)) for number in range(8)]
    for stream in streams:
        next(stream)
    monkeypatch.setattr(SavedTexts, "add", lambda texts, state: pytest.fail("saved"))
    pair.close()
    assert {stream.result().finish_reason for stream in streams} <= {"cancelled", "stop", "length"}


@pytest.mark.parametrize("parallel", [1, 64])
def test_as_many_conversations_as_there_are_never_use_up_the_places_of_a_context(load, parallel):
    pair = load(parallel=parallel, context_length=256)
    assert pair.base.context.n_sequences <= 256
    chats = [pair.session(options=Options(max_tokens=4)) for _ in range(3 * min(parallel, 50))]
    for _ in range(2):
        streams = [chat.stream("How do I list files?") for chat in chats]
        assert all(stream.result().text for stream in streams)
