"""Texts as they stand: written on by a pair without a template, and scored, against the models' own rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_wsd import (
    ContextFullError,
    Message,
    ModelSettings,
    OptionError,
    Pair,
    Reading,
    Reply,
    Source,
    TemplateError,
    VocabularyError,
)
from edge_wsd.llama.context import Context

CPU = ModelSettings(gpu_layers=0, threads=1, context_length=512, exact=True)  # so a row depends on its text alone
TEXT = "To list files by size, with the largest first, type:\n```\nls -lS\n```\nThe -S option sorts the list by size."
LONG = (TEXT + "\n") * 8  # more than is scored in one pass


@pytest.fixture(scope="module", params=["same", "other"])
def demo(request: pytest.FixtureRequest) -> Iterator[Pair]:
    other = request.param == "other"
    with Pair.demo(other_vocabulary=other, drafter_settings=CPU, base_settings=CPU, parallel=4) as pair:
        yield pair


def rows_behind(pair: Pair, source: Source, tokens: list[int]) -> NDArray[np.float64]:
    """What follows each token, read at once in a context of the test's own: log-probabilities (n_tokens, n_vocab)."""
    with Context(pair.model(source).model, CPU) as context:
        logits = context.sequence().logits(tokens).astype(np.float64)
    return logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def assert_scores_are_the_rows(pair: Pair, source: Source, reply: Reply, n_top: int) -> None:
    tokens = [token.id for token in reply.prompt]
    rows = rows_behind(pair, source, tokens)
    vocab = pair.model(source).model.vocab
    assert reply.prompt[0].logprob is None and not reply.prompt[0].top
    for token, row in zip(reply.prompt[1:], rows, strict=False):
        assert token.logprob == pytest.approx(row[token.id], abs=1e-4)
        best = np.argsort(-row, kind="stable")[:n_top]
        assert [one.logprob for one in token.top] == pytest.approx(row[best].tolist(), abs=1e-4)
    assert all(token.piece == vocab.piece(token.id) for token in reply.prompt)


# Scoring


@pytest.mark.parametrize("source", ["base", "drafter"])
@pytest.mark.parametrize("text", ["ls", TEXT, LONG])
def test_the_score_of_each_token_is_the_models_own(demo: Pair, source: Source, text: str) -> None:
    reply = demo.score(text, source, top_logprobs=3).result()
    assert b"".join(token.piece for token in reply.prompt).decode() == text
    assert reply.tokens == () and reply.text == "" and reply.finish_reason == "length"
    assert_scores_are_the_rows(demo, source, reply, 3)


def test_tokens_are_scored_as_their_text_is(demo: Pair) -> None:
    of_text = demo.score(TEXT, top_logprobs=2).result().prompt
    assert demo.score([token.id for token in of_text], top_logprobs=2).result().prompt == of_text


def test_what_is_in_memory_already_is_scored_all_the_same(demo: Pair) -> None:
    first = demo.score(LONG).result()
    assert demo.score(LONG).result().prompt == first.prompt
    longer = demo.score(LONG + "That is all.").result()
    assert longer.prompt[: len(first.prompt) - 1] == first.prompt[:-1]
    assert longer.stats.base_reused_tokens == 0


def test_scores_come_between_the_passes_of_other_replies(demo: Pair) -> None:
    """Each is what it would be alone."""
    alone = demo.score(LONG, top_logprobs=1).result().prompt
    answer = demo.generate("How do I list files by size?", max_tokens=40).text
    chat = demo.session().stream("How do I list files by size?")
    scores = [demo.score(LONG, top_logprobs=1) for _ in range(2)]
    assert all(stream.result().prompt == alone for stream in scores)
    assert chat.result().text.startswith(answer)


def test_nothing_of_a_long_text_is_scored_once_it_is_cancelled(demo: Pair) -> None:
    stream = demo.score(LONG)
    assert isinstance(next(stream), Reading)
    stream.cancel()
    reply = stream.result()
    assert reply.finish_reason in ("cancelled", "length")  # the last pass may be over
    assert bool(reply.prompt) == (reply.finish_reason == "length")


def test_a_text_that_fills_the_context_is_scored_and_one_more_token_is_refused(demo: Pair) -> None:
    tokens = [token.id for token in demo.score(LONG).result().prompt]
    full = (tokens * 4)[: demo.base.context.n_ctx]
    for _ in range(2):  # the second finds it in memory, which has no room for more
        assert len(demo.score(full).result().prompt) == 512
    with pytest.raises(ContextFullError, match="512"):
        demo.score([*full, 5])


# Writing on


@pytest.mark.parametrize("source", ["base", "drafter"])
def test_one_model_writes_on_as_behind_the_same_prompt(demo: Pair, source: Source) -> None:
    prompt = demo.model(source).encode([Message("user", "How do I list files by size?")])
    expected = demo.generate("How do I list files by size?", mode=source, max_tokens=20, stop_loops=False)
    of_tokens = demo.complete(prompt.tokens, mode=source, max_tokens=20, stop_loops=False).result()
    of_text = demo.complete(prompt.text, mode=source, max_tokens=20, stop_loops=False, special=True).result()
    assert of_tokens.text.startswith(expected.text) and of_text.text == of_tokens.text


@pytest.mark.parametrize("as_tokens", [False, True])
def test_both_models_get_the_same_text(demo: Pair, as_tokens: bool) -> None:
    ids = [token.id for token in demo.score("To list files").result().prompt]
    prompt = ids if as_tokens else "To list files"
    reply = demo.complete(prompt, max_tokens=12, switch_at=4).result()
    drafted = demo.complete("To list files", mode="drafter", max_tokens=12).result()
    draft = "".join(token.text for token in reply.tokens if token.source == "drafter")
    assert draft and drafted.text.startswith(draft)
    assert draft.startswith(" "), "the space between prompt and answer is the answer's"
    rows = rows_behind(demo, "base", ids + [token.id for token in reply.tokens])
    for token, row in zip(reply.tokens, rows[len(ids) - 1 :], strict=False):
        assert token.logprob == pytest.approx(row[token.id], abs=1e-4)


def test_the_prompt_may_be_scored_before_it_is_written_on(demo: Pair) -> None:
    for mode in ("wsd", "base"):
        plain = demo.complete(TEXT, mode=mode, max_tokens=12, top_logprobs=2).result()
        scored = demo.complete(TEXT, mode=mode, max_tokens=12, top_logprobs=2, score_prompt=True).result()
        assert scored.text == plain.text and scored.tokens == plain.tokens and not plain.prompt
        assert scored.prompt == demo.score(TEXT, top_logprobs=2).result().prompt


def test_a_template_has_no_say(demo: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its stop strings are for conversations."""
    text = demo.complete(TEXT, mode="base", max_tokens=8).result().text
    monkeypatch.setattr(type(demo.base.template), "stops", (text[2:4],))
    assert demo.complete(TEXT, mode="base", max_tokens=8).result().text == text
    assert demo.complete(TEXT, mode="base", max_tokens=8, stop=text[2:4]).result().text == text[: text.index(text[2:4])]


def test_the_bos_of_ids_is_no_text_for_a_drafter_of_another_vocabulary(
    demo: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocab = demo.base.model.vocab
    ids = [token.id for token in demo.score("To list files").result().prompt]
    assert ids[0] == vocab.bos
    expected = demo.complete("To list files", max_tokens=2).result().stats.drafter_prompt_tokens
    monkeypatch.setattr(vocab, "text", lambda token: "<start of text>")  # as no token of the drafter is called
    assert demo.complete(ids, max_tokens=2).result().stats.drafter_prompt_tokens == expected


# What is refused


@pytest.mark.parametrize(
    ("prompt", "error", "message"),
    [
        ([], OptionError, "prompt must be a text or a list of token ids"),
        (["a"], OptionError, "prompt must be"),
        ([True], OptionError, "prompt must be"),
        (b"ls", OptionError, "prompt must be"),
        (None, OptionError, "prompt must be"),
        ("\ud800", OptionError, "whole characters"),
        ([5, 10**6], VocabularyError, "1000000"),
        ([5, -1], VocabularyError, "-1"),
        ([10**6], VocabularyError, "1000000"),
        ("ls " * 2000, ContextFullError, "512"),
    ],
)
def test_what_is_no_prompt_is_refused_at_once(demo: Pair, prompt: object, error: type[Exception], message: str) -> None:
    for ask in (demo.complete, demo.score):
        with pytest.raises(error, match=message):
            ask(prompt)


def test_no_text_at_all_is_refused_where_texts_begin_with_nothing(demo: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    assert demo.complete("", mode="base", max_tokens=3).result().stats.base_prompt_tokens == 1
    monkeypatch.setattr(demo.base.model.vocab, "add_bos", False)
    with pytest.raises(TemplateError, match="empty"):
        demo.complete("", mode="base")
