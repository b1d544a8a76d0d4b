"""Conversations that begin as another one: each is written as if it were alone, and what they share is read once."""

from dataclasses import replace

import pytest

from edge_wsd import ModelSettings, Options, Pair, Token
from edge_wsd.errors import BusyError, ClosedError
from edge_wsd.llama.context import Context
from tests.other_architectures import hybrid, mamba, sliding_window
from tests.tiny_models import TinyModel

SETTINGS = ModelSettings(context_length=1024, threads=1, kv_type="f32", flash_attention="off")
OPTIONS = Options(max_tokens=12, max_draft=12, threshold=0.0, window=3, chunk=4, propose=1)
SYSTEM = "the list of files " * 40
QUESTIONS = ["hello", "the next is another", "files"]
KINDS = {
    "same vocabulary": [lambda: TinyModel(seed=1, scale=0.4), lambda: TinyModel(seed=2, scale=0.4)],
    "different vocabularies": [
        lambda: TinyModel(seed=3, scale=0.4, words=("he", "lp", "ful")),
        lambda: TinyModel(seed=2, scale=0.4),
    ],
    "sliding window": [sliding_window, sliding_window],
    "recurrent": [mamba, mamba],
    "hybrid": [hybrid, hybrid],
}


@pytest.fixture(scope="module", params=list(KINDS))
def kind(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("forks")
    makers = zip(("drafter", "base"), KINDS[request.param], strict=True)
    return [make().write(folder / f"{role}.gguf") for role, make in makers]


@pytest.fixture(params=[1, 4], ids=["one at a time", "four at once"])
def parallel(request):
    return request.param


@pytest.fixture
def load(kind, parallel):
    pairs = []

    def load(**changes):
        settings = replace(SETTINGS, **changes)
        pairs.append(Pair.load(*kind, drafter_settings=settings, base_settings=settings, parallel=parallel))
        return pairs[-1]

    yield load
    for pair in pairs:
        pair.close()


@pytest.fixture
def decoded(monkeypatch):
    """Tokens of every decode."""
    counts, decode = [], Context._decode_batch

    def counting(context, read):
        counts.append(sum(len(tokens) for _, tokens in read))
        return decode(context, read)

    monkeypatch.setattr(Context, "_decode_batch", counting)
    return counts


def alone(load, messages, **changes):
    """The reply of a pair that has read nothing else."""
    pair = load(**changes)
    try:
        return pair.session(system=SYSTEM, options=OPTIONS, messages=messages).ask()
    finally:
        pair.close()


@pytest.mark.parametrize("exact", [False, True], ids=["", "exact"])
def test_children_of_one_parent_go_their_own_ways_and_read_only_what_is_their_own(load, decoded, parallel, exact):
    pair = load(exact=exact)
    parent = pair.session(system=SYSTEM, options=OPTIONS)
    parent.ask("the first question is a long one so that there is something to share")
    n_shared = sum(decoded)
    children = [parent.fork() for _ in QUESTIONS]
    decoded.clear()
    streams = []
    for child, question in zip(children, QUESTIONS, strict=True):
        streams.append(child.stream(question))
        if parallel == 1:
            streams[-1].result()
    replies = [stream.result() for stream in streams]
    is_windowed = pair.base.model.sliding_window and exact  # cannot be copied, nor saved
    if not is_windowed:
        assert sum(decoded) < n_shared / 2
        for stats in (reply.stats for reply in replies):
            assert stats.base_prompt_tokens - stats.base_reused_tokens < 60
            assert stats.drafter_prompt_tokens - stats.drafter_reused_tokens < 60
    assert [child.messages[-2].content for child in children] == QUESTIONS
    assert len(parent.messages) == 2
    for child, reply in zip(children, replies, strict=True):
        assert reply.text == child.messages[-1].content
        assert reply.text == alone(load, child.messages[:-1], exact=exact).text


@pytest.mark.parametrize("exact", [False, True], ids=["", "exact"])
def test_conversations_that_begin_alike_and_together_read_their_beginning_once(load, decoded, exact):
    """Four questions to one system prompt read it four times, as none of them found anything in memory."""
    pair = load(exact=exact)
    n_system = sum(len(pair.model(role).model.vocab.tokenize(SYSTEM)) for role in ("drafter", "base"))
    decoded.clear()
    sessions = [pair.session(system=SYSTEM, options=OPTIONS) for _ in range(4)]
    replies = [stream.result() for stream in [session.stream(f"question {n}") for n, session in enumerate(sessions)]]
    if pair.base.model.can_cut and not pair.base.model.sliding_window:
        n_prompts = sum(reply.stats.drafter_prompt_tokens + reply.stats.base_prompt_tokens for reply in replies)
        n_reused = sum(reply.stats.drafter_reused_tokens + reply.stats.base_reused_tokens for reply in replies)
        assert n_prompts - n_reused < 1.3 * n_system and sum(decoded) < 2.5 * n_system
    for session, reply in zip(sessions, replies, strict=True):
        assert reply.text == alone(load, session.messages[:-1], exact=exact).text


class TestAChild:
    def test_begins_as_its_parent_and_neither_changes_the_other(self, pair):
        parent = pair.session(system="the system", options=OPTIONS)
        parent.ask("hello")
        child = parent.fork()
        assert (child.messages, child.system, child.options) == (parent.messages, parent.system, parent.options)
        assert child.last == parent.last
        child.system, child.options = "another", OPTIONS.with_changes(max_tokens=3)
        child.ask("more")
        parent.clear()
        assert (parent.system, parent.options.max_tokens, parent.messages) == ("the system", 12, ())
        assert len(child.messages) == 4

    def test_writes_the_last_reply_again_with_the_beginning_that_was_given(self, pair):
        messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "the list is in"}]
        parent = pair.session(options=OPTIONS, messages=messages)
        parent.ask()
        child = parent.fork()
        again = child.regenerate().result()
        assert child.messages[-1].content == "the list is in" + again.text == parent.messages[-1].content

    def test_leaves_out_what_its_parent_left_out(self, pair):
        parent = pair.session(system="the system", options=OPTIONS)
        for turn in range(12):
            parent.ask(f"question {turn} " + "the file list is " * 8)
        child = parent.fork()
        texts = [one.ask("next").text for one in (parent, child)]
        assert texts[0] == texts[1]
        assert child.last.stats.base_prompt_tokens == parent.last.stats.base_prompt_tokens

    def test_in_the_middle_of_a_reply_begins_before_that_turn(self, pair):
        parent = pair.session(options=OPTIONS)
        parent.ask("hello")
        before, child = parent.messages, None
        for event in parent.stream("more"):
            if child is None and isinstance(event, Token):
                child = parent.fork()
        assert child.messages == before and len(parent.messages) == 4
        assert child.ask("more").text == parent.last.text

    def test_of_a_parent_that_is_being_written_can_be_asked_at_once(self, pair):
        parent = pair.session(options=OPTIONS)
        stream = parent.stream("hello")
        child = parent.fork()
        with pytest.raises(BusyError):
            parent.ask("hello")
        assert child.ask("hello").text == stream.result().text

    def test_may_have_children_of_its_own(self, pair):
        conversations = [pair.session(options=OPTIONS)]
        for turn in range(5):
            conversations[-1].ask(f"question {turn}")
            conversations.append(conversations[-1].fork())
        assert [len(one.messages) for one in conversations] == [2, 4, 6, 8, 10, 10]

    def test_of_a_closed_pair_cannot_be_asked(self):
        pair = Pair.demo(drafter_settings=SETTINGS, base_settings=SETTINGS)
        parent = pair.session(options=OPTIONS)
        parent.ask("hello")
        pair.close()
        child = parent.fork()
        assert child.messages == parent.messages
        with pytest.raises(ClosedError):
            child.ask("more")
