"""The likeliest tokens at each position of a reply, against the rows of the model that finishes it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_wsd import Alternative, ModelSettings, Options, Pair, Reply, Scored, Source, Token
from edge_wsd.cli.ui.status import reply_object
from edge_wsd.llama.context import Context
from edge_wsd.prompts.messages import Message

CPU = ModelSettings(gpu_layers=0, threads=1, context_length=512, exact=True)  # so a row depends on its text alone
QUESTION = "How do I list files by size?"
N = 5
OPTIONS = Options(max_tokens=40, top_logprobs=N)


@pytest.fixture(scope="module", params=["same", "other"])
def demo(request: pytest.FixtureRequest) -> Iterator[Pair]:
    other = request.param == "other"
    with Pair.demo(other_vocabulary=other, drafter_settings=CPU, base_settings=CPU, parallel=2) as pair:
        yield pair


def rows_of(pair: Pair, source: Source, reply: Reply) -> NDArray[np.float64]:
    """What that model says of each position, read all at once in a context of the test's own: (n_tokens, n_vocab)."""
    model = pair.model(source)
    prompt = model.encode([Message("user", QUESTION)]).tokens
    text = prompt + [token.id for token in reply.tokens]
    with Context(model.model, CPU) as context:
        logits = context.sequence().logits(text[:-1])[len(prompt) - 1 :].astype(np.float64)
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def assert_tops_are_the_rows(pair: Pair, source: Source, reply: Reply) -> None:
    vocab = pair.model(source).model.vocab
    for token, row in zip(reply.tokens, rows_of(pair, source, reply), strict=True):
        best = np.argsort(-row, kind="stable")[:N].tolist()
        assert [one.logprob for one in token.top] == pytest.approx(row[best].tolist(), abs=1e-4)
        assert sorted(one.logprob for one in token.top) == [one.logprob for one in token.top][::-1]
        for one in token.top:
            assert row[one.id] == pytest.approx(one.logprob, abs=1e-4)
            assert one.piece == vocab.piece(one.id)
        assert token.logprob == pytest.approx(row[token.id], abs=1e-4)
        assert token.piece == vocab.piece(token.id)


def the_token(token: Token) -> Alternative | None:
    return next((one for one in token.top if one.id == token.id), None)


@pytest.mark.parametrize("options", [{}, {"chunk": 1}, {"switch_at": 4}, {"rule": "nudge"}, {"speculation": False}])
def test_a_reply_of_both_tells_what_the_base_thought_of_each_position(demo: Pair, options: dict[str, object]) -> None:
    reply = demo.generate(QUESTION, OPTIONS.with_changes(**options))
    assert {token.source for token in reply.tokens} == {"drafter", "base"}
    assert_tops_are_the_rows(demo, "base", reply)
    written_by_base = [token for token in reply.tokens if token.source == "base"]
    assert all(token.top[0] == the_token(token) for token in written_by_base), "greedy takes the first"


@pytest.mark.parametrize("source", ["base", "drafter"])
def test_a_model_alone_tells_its_own(demo: Pair, source: Source) -> None:
    assert_tops_are_the_rows(demo, source, demo.generate(QUESTION, OPTIONS, mode=source))


def test_what_is_drawn_is_told_as_before_the_draw(demo: Pair) -> None:
    """Temperature, penalties and biases choose; what is told is the model's own."""
    reply = demo.generate(QUESTION, OPTIONS, temperature=1.5, seed=3, repeat_penalty=1.3, logit_bias={"ls": -5})
    assert_tops_are_the_rows(demo, "base", reply)
    assert any(token.top[0].id != token.id for token in reply.tokens if token.source == "base")


def test_drafted_tokens_get_theirs_with_their_scores(demo: Pair) -> None:
    chat = demo.session(options=OPTIONS)
    told: dict[int, tuple[Alternative, ...]] = {}
    for event in chat.stream(QUESTION):
        if isinstance(event, Token):
            assert bool(event.top) == (event.source == "base")
            assert event.piece
        elif isinstance(event, Scored):
            assert len(event.top) == len(event.logprobs)
            told |= dict(enumerate(event.top, event.first))
    assert chat.last is not None
    drafted = {token.position: token.top for token in chat.last.tokens if token.source == "drafter"}
    assert drafted and drafted.items() <= told.items()


@pytest.mark.parametrize("options", [{"max_tokens": 3}, {"switch_at": 30, "max_tokens": 9}, {"stop": ["let"]}])
def test_a_draft_that_is_cut_off_before_the_base_has_read_it_is_scored_all_the_same(
    demo: Pair, options: dict[str, object]
) -> None:
    """Clients count on a number for every token."""
    options = {**options, "chunk": 16}  # however long passes take
    reply = demo.generate(QUESTION, OPTIONS.with_changes(**options))
    assert {token.source for token in reply.tokens} == {"drafter"}
    assert_tops_are_the_rows(demo, "base", reply)
    unasked = demo.generate(QUESTION, OPTIONS.with_changes(**options), top_logprobs=0)
    assert unasked.text == reply.text and unasked.stats.base_passes == reply.stats.base_passes - 1


def test_so_is_one_behind_a_given_beginning(demo: Pair) -> None:
    beginning = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "Sure, I"}]
    reply = demo.generate(beginning, OPTIONS, max_tokens=2)
    assert all(token.logprob is not None and token.top for token in reply.tokens)
    longer = demo.generate(beginning, OPTIONS)
    assert [token.top for token in longer.tokens[:2]] == [token.top for token in reply.tokens]


def test_nothing_is_told_unasked(demo: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("edge_wsd._native.likeliest")
    reply = demo.generate(QUESTION, OPTIONS, top_logprobs=0)
    assert reply.tokens and not any(token.top for token in reply.tokens)


def test_an_end_has_a_name_among_the_alternatives(demo: Pair) -> None:
    reply = demo.generate(QUESTION, OPTIONS, top_logprobs=20)
    vocab = demo.base.model.vocab
    ends = [one for token in reply.tokens for one in token.top if vocab.is_end(one.id)]
    assert ends and all(one.text == vocab.text(one.id) and one.piece == b"" for one in ends)


@pytest.mark.parametrize("options", [{}, {"mode": "base"}, {"mode": "drafter"}, {"rule": "nudge"}])
def test_the_token_that_ends_a_reply_is_told_beside_it(demo: Pair, options: dict[str, object]) -> None:
    reply = demo.generate(QUESTION, OPTIONS, max_tokens=200, **options)
    source: Source = "drafter" if reply.tokens[-1].source == "drafter" else "base"
    vocab = demo.model(source).model.vocab
    assert reply.finish_reason == "stop"
    if reply.end is None:  # the drafter ended it, whom nobody scored
        assert options == {"rule": "nudge"}
        return
    assert vocab.is_end(reply.end.id) and reply.end.top[0].id == reply.end.id
    assert reply.end.logprob == reply.end.top[0].logprob and reply.end.text == vocab.text(reply.end.id)
    assert demo.generate(QUESTION, OPTIONS, max_tokens=5, **options).end is None


def test_the_text_is_the_same_with_and_without(demo: Pair) -> None:
    for changes in ({}, {"temperature": 1.0, "seed": 5}):
        texts = {demo.generate(QUESTION, OPTIONS, top_logprobs=n, **changes).text for n in (0, 1, 20)}
        assert len(texts) == 1


def test_run_json_has_them_where_they_were_asked_for(demo: Pair) -> None:
    asked, unasked = (demo.generate(QUESTION, OPTIONS, top_logprobs=n) for n in (2, 0))
    shown = json.loads(json.dumps(reply_object(asked)))
    for token, entry in zip(asked.tokens, shown["tokens"], strict=True):
        assert entry["top"] == [{"id": one.id, "text": one.text, "logprob": one.logprob} for one in token.top]
    assert all("top" not in entry for entry in reply_object(unasked)["tokens"])
