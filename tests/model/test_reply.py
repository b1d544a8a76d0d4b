"""One reply of a pair of tiny random models: its events, what they tell, and what changes nothing but speed."""

from itertools import pairwise

import pytest

from edge_wsd import ModelSettings, Options, Pair, Session
from edge_wsd.decoding.events import Finished, Reading, Scored, Switched, Token
from edge_wsd.errors import (
    ContextFullError,
    OptionError,
    TemplateError,
)
from tests.contract import assert_promised

OPTIONS = Options(max_tokens=12, threshold=0.0, window=3, chunk=4)


def test_a_reply_tells_who_wrote_what_and_why_it_ended(pair):
    events = list(pair.session(options=OPTIONS).stream("hello"))
    reply = events[-1].reply
    assert isinstance(events[-1], Finished) and reply.finish_reason == "length"
    assert reply.switch.reason == "confident" and reply.switch.index == 2
    assert [token.source for token in reply.tokens] == ["drafter"] * 3 + ["base"] * 9
    assert "".join(event.text for event in events if isinstance(event, Token)) == reply.text
    assert reply.stats.n_tokens == 12 and reply.stats.n_draft == 3
    kinds = [type(event) for event in events]
    assert kinds.index(Token) < kinds.index(Scored) < kinds.index(Switched) < kinds.index(Finished)


@pytest.mark.parametrize(
    "changes",
    [{}, {"max_tokens": 2}, {"threshold": 1.0, "max_draft": 5}, {"switch_at": 0}, {"switch_at": 7}, {"chunk": 16},
     {"temperature": 1.2, "seed": 3, "max_tokens": 40}, {"mode": "base"}, {"mode": "drafter"}],
)  # fmt: skip
def test_the_events_of_a_reply_are_those_that_are_promised(pair, changes):
    reply = list(pair.session(options=OPTIONS.with_changes(**changes)).stream("hello"))
    assert_promised(reply)


def test_the_base_gives_every_token_of_the_reply_its_log_probability(pair):
    reply = pair.generate("hello", OPTIONS)
    assert all(token.logprob is not None and token.logprob < 0 for token in reply.tokens)
    assert [confidence is not None for confidence in reply.confidences] == [False, False, True] + [False] * 9


def test_the_reading_of_a_long_prompt_is_told_piece_by_piece(files):
    """A prompt of minutes was read in silence."""
    settings = ModelSettings(context_length=512, threads=1, batch=64)
    with Pair.load(files["drafter"], files["base"], drafter_settings=settings, base_settings=settings) as pair:
        *events, finished = pair.session(options=OPTIONS).stream("hello there " * 25)
        *short, _ = pair.session(options=OPTIONS).stream("hello")
    assert not any(isinstance(event, Reading) for event in short)
    stats = finished.reply.stats
    for model, n_prompt in (("drafter", stats.drafter_prompt_tokens), ("base", stats.base_prompt_tokens)):
        told = [event for event in events if isinstance(event, Reading) and event.model == model]
        n_read, (n_tokens, *others) = [event.n_read for event in told], {event.n_tokens for event in told}
        assert not others and n_prompt > 128 and n_prompt - 1 <= n_tokens <= n_prompt + OPTIONS.chunk
        assert n_read[0] == 0 and all(0 < b - a <= 64 for a, b in pairwise([*n_read, n_tokens]))


def test_the_same_question_gives_the_same_answer_whatever_the_memories_hold(pair):
    alone = pair.generate("list the file", OPTIONS).text
    pair.generate("something else entirely, much longer than before", OPTIONS)
    assert pair.generate("list the file", OPTIONS).text == alone
    assert pair.generate("list the file", OPTIONS).text == alone


@pytest.mark.parametrize("prompt", ["list", "what is in the file", "hello there"])
def test_speculation_and_chunk_change_nothing_but_speed(pair, prompt):
    """What was compared was a text of three characters."""
    replies = [
        pair.generate(prompt, OPTIONS, chunk=chunk, speculation=speculation, max_tokens=40)
        for chunk in (1, 3, 16)
        for speculation in (True, False)
    ]
    assert len({tuple((token.id, token.source) for token in reply.tokens) for reply in replies}) == 1
    assert len(replies[0].tokens) == 40 and replies[0].switch is not None


def test_sampling_is_repeated_by_its_seed(pair):
    changes = {"temperature": 1.0, "top_p": 0.95, "min_p": 0.01, "top_k": 50, "max_tokens": 30}
    texts = [pair.generate("list", OPTIONS, seed=seed, chunk=k, **changes).text for seed, k in ((1, 2), (1, 8), (2, 8))]
    assert texts[0] == texts[1] != texts[2]


def test_each_model_alone_is_the_pair_with_the_other_left_out(pair):
    base = pair.generate("hello", OPTIONS, mode="base")
    forced = pair.generate("hello", OPTIONS, switch_at=0)
    assert base.text == forced.text and base.switch is None and forced.switch.reason == "forced"
    drafter = pair.generate("hello", OPTIONS, mode="drafter")
    assert {token.source for token in drafter.tokens} == {"drafter"} and drafter.stats.base_passes == 0
    forced = pair.generate("hello", OPTIONS, switch_at=5)
    assert [token.id for token in forced.tokens[:5]] == [token.id for token in drafter.tokens[:5]]
    assert forced.text != drafter.text


def test_a_full_context_is_told_with_the_numbers_that_were_asked_for(pair):
    """It once named a quarter of the context, 256, where 512 tokens were asked for, and no option to change."""
    with pytest.raises(ContextFullError, match=r"for a reply of up to 300; .*, lower max_tokens \(--max-tokens\) or"):
        pair.generate("the list " * 100, max_tokens=300)


def test_a_conversation_that_nobody_can_answer_is_told_what_it_lacks(pair):
    """One of an assistant message alone was told that there is no message; an empty prompt was answered."""
    alone = [{"role": "assistant", "content": "the list"}]
    with pytest.raises(TemplateError, match="only assistant messages; begin it with a user message"):
        pair.generate(alone, OPTIONS)
    for empty in ("", " \n"):
        with pytest.raises(TemplateError, match="the prompt is empty"):
            pair.generate(empty, OPTIONS)
        with pytest.raises(TemplateError, match="the prompt is empty"):  # this one was answered still
            pair.generate([{"role": "user", "content": empty}], OPTIONS)
    with pytest.raises(TemplateError, match="the conversation is empty"):
        pair.generate([], OPTIONS)


def test_options_that_are_none_are_refused(pair):
    for options in ({"max_tokens": 3}, "fast", 3):
        for use in (
            lambda given: pair.generate("hello", given),
            lambda given: pair.session(options=given),
            lambda given: Session(pair, options=given),
            lambda given: setattr(pair.session(), "options", given),
        ):
            with pytest.raises(OptionError, match="options must be an Options object"):
                use(options)


def test_an_unknown_option_is_an_error(pair):
    with pytest.raises(OptionError, match="unknown option 'tresh'"):
        pair.generate("hello", tresh=1)


def test_a_reply_ends_by_length_where_the_context_does(pair):
    n_ctx = pair.base.context.n_ctx
    for n_words in range(64, 71):
        reply = pair.generate("the list is " * n_words, Options(max_tokens=400, threshold=1.0, chunk=7))
        assert reply.finish_reason in ("length", "stop")
        assert reply.stats.base_prompt_tokens + len(reply.tokens) <= n_ctx


def test_statistics_are_true_of_a_reply_that_ends_before_the_base_has_read_it(pair):
    reply = pair.generate("hello", OPTIONS, max_tokens=2)
    assert [token.source for token in reply.tokens] == ["drafter"] * 2
    assert (reply.stats.n_draft, reply.stats.n_drafted, reply.stats.n_accepted) == (2, 2, 2)
    assert reply.stats.draft_share == 1.0


def test_what_is_kept_is_never_more_than_was_proposed(pair):
    for seed in range(20):
        stats = pair.generate("hello", OPTIONS, temperature=1.0, seed=seed, max_tokens=60).stats
        assert stats.n_draft <= stats.n_accepted <= stats.n_drafted


def test_scored_tells_only_of_tokens_that_are_kept(pair):
    events = list(pair.session(options=OPTIONS).stream("hello"))
    scored = [event for event in events if isinstance(event, Scored)]
    assert sum(len(event.logprobs) for event in scored) == events[-1].reply.stats.n_draft


def test_without_a_seed_sampling_differs_from_time_to_time_and_the_reply_tells_how_to_get_it_again(pair):
    options = OPTIONS.with_changes(temperature=1.5, max_tokens=30)
    replies = [pair.generate("hello", options) for _ in range(4)]
    assert len({reply.seed for reply in replies}) == len({reply.text for reply in replies}) == 4
    for reply in replies:
        again = pair.generate("hello", options, seed=reply.seed)
        assert (again.text, again.seed) == (reply.text, reply.seed)
    assert pair.generate("hello", OPTIONS).seed is None
