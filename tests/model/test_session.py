"""Conversations over a pair of tiny random models: what is remembered, reused, dropped and undone."""

import json
import threading

import pytest

from edge_wsd import ModelSettings, Options, Pair, Session
from edge_wsd.decoding.events import Dropped, Finished, Scored, Switched, Token
from edge_wsd.errors import (
    BusyError,
    ContextFullError,
    OptionError,
    SessionFileError,
    TemplateError,
)

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


def test_the_base_gives_every_token_of_the_reply_its_log_probability(pair):
    reply = pair.generate("hello", OPTIONS)
    assert all(token.logprob is not None and token.logprob < 0 for token in reply.tokens)
    assert [confidence is not None for confidence in reply.confidences] == [False, False, True] + [False] * 9


def test_the_reading_of_a_long_prompt_is_reported_pass_by_pass(files):
    """A prompt of minutes was read in silence."""
    settings = ModelSettings(context_length=512, threads=1, batch=64)
    seen = []
    with Pair.load(files["drafter"], files["base"], drafter_settings=settings, base_settings=settings) as pair:
        session = pair.session(options=OPTIONS)
        session.on_reading = lambda model, done, total: seen.append((model, done, total))
        reply = session.ask("hello there " * 25)
        pair.session(options=OPTIONS).ask("hello " * 30)  # which nobody wants to hear of
    prompt = {"drafter": reply.stats.drafter_prompt_tokens, "base": reply.stats.base_prompt_tokens}
    assert min(prompt.values()) > 128
    for model, n_tokens in prompt.items():
        passes = [(done, total) for name, done, total in seen if name == model and total >= n_tokens]
        total = passes[0][1]
        assert n_tokens <= total <= n_tokens + OPTIONS.chunk
        # the first pass takes the remainder
        assert passes == [(done, total) for done in (0, *range((total - 1) % 64 + 1, total, 64))]


def test_the_second_turn_decodes_only_what_is_new_in_both_memories(pair):
    session = pair.session(options=OPTIONS)
    session.ask("the first question is a long one so that there is something to reuse")
    first = session.last.stats
    session.ask("next")
    second = session.last.stats
    assert second.base_reused_tokens >= first.base_prompt_tokens
    assert second.drafter_reused_tokens >= first.drafter_prompt_tokens


def test_the_same_question_gives_the_same_answer_whatever_the_memories_hold(pair):
    alone = pair.generate("list the file", OPTIONS).text
    pair.generate("something else entirely, much longer than before", OPTIONS)
    assert pair.generate("list the file", OPTIONS).text == alone
    assert pair.generate("list the file", OPTIONS).text == alone


def test_speculation_and_chunk_change_nothing_but_speed(pair):
    texts = {
        pair.generate("list", OPTIONS, chunk=chunk, speculation=speculation, max_tokens=40).text
        for chunk in (1, 3, 16)
        for speculation in (True, False)
    }
    assert len(texts) == 1


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
    assert pair.generate("hello", OPTIONS, switch_at=5).text[: len(drafter.text)][:3] == drafter.text[:3]


def test_a_conversation_that_ends_with_the_assistant_is_continued(pair):
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "the list is in"}]
    session = pair.session(options=OPTIONS, messages=messages)
    reply = session.ask(None)
    assert session.messages[-1].content == "the list is in" + reply.text
    assert reply.switch.index == -1  # with threshold 0 the given beginning fills the window
    assert reply.text == pair.generate(messages, OPTIONS, mode="base").text


def test_cancelling_ends_the_reply_and_the_session_goes_on(pair):
    session = pair.session(options=Options(max_tokens=400, threshold=1.0))
    written = []
    for event in session.stream("hello"):
        if isinstance(event, Token):
            written.append(event.text)
            if len(written) == 5:
                session.cancel()
    reply = session.last
    assert reply.finish_reason == "cancelled" and 5 <= len(reply.tokens) < 400
    assert session.messages[-1].content == reply.text == "".join(written)
    session.options = OPTIONS
    assert session.ask("again").finish_reason == "length"


def test_cancelling_from_another_thread_before_the_first_word_undoes_the_turn(pair):
    session = pair.session(options=OPTIONS)
    stream = session.stream("hello")
    thread = threading.Thread(target=session.cancel)
    thread.start()
    thread.join()
    events = list(stream)
    assert events[-1].reply.finish_reason == "cancelled" and session.messages == ()
    assert session.ask("hello").text == pair.generate("hello", OPTIONS).text


def test_a_second_reply_at_the_same_time_is_told_that_the_pair_is_busy(pair):
    stream = pair.session(options=OPTIONS).stream("hello")
    next(stream)
    with pytest.raises(BusyError, match="another reply"):
        next(pair.session(options=OPTIONS).stream("hi"))
    stream.close()
    assert pair.generate("hi", OPTIONS).text


def test_closing_the_stream_early_leaves_the_conversation_as_it_was(pair):
    session = pair.session(options=OPTIONS)
    session.ask("hello")
    before = session.messages
    stream = session.stream("more")
    next(stream)
    stream.close()
    assert session.messages == before


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
    with pytest.raises(ContextFullError, match=r"do not fit .* shorten the prompt or set a larger context") as caught:
        session.ask("the list " * 400)
    assert caught.value.needed > caught.value.available
    assert session.messages == before
    session.ask("again")


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


def test_a_saved_conversation_comes_back_whole(pair, tmp_path):
    session = pair.session(system="be brief", options=OPTIONS.with_changes(stop=("END",)))
    session.ask("hello é 🙂")
    session.save(tmp_path / "chat.json")
    again = Session.load(tmp_path / "chat.json", pair)
    assert (again.messages, again.system, again.options) == (session.messages, session.system, session.options)
    assert [path.name for path in tmp_path.iterdir()] == ["chat.json"]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("not json", "is not a saved conversation"),
        ("[]", "is not a saved conversation"),
        ('{"format": "edge-wsd conversation 1"}', "is a damaged conversation"),
        (b"\xff\xfe", "is not a saved conversation"),
    ],
)
def test_a_file_that_is_no_conversation_is_named(pair, tmp_path, content, complaint):
    path = tmp_path / "chat.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SessionFileError, match=rf"chat\.json: {complaint}"):
        Session.load(path, pair)


def test_a_saved_option_out_of_range_is_named(pair, tmp_path):
    path = tmp_path / "chat.json"
    pair.session(options=OPTIONS).save(path)
    data = json.loads(path.read_text())
    data["options"]["window"] = 0
    path.write_text(json.dumps(data))
    with pytest.raises(SessionFileError, match="window must be at least 1"):
        Session.load(path, pair)


def test_saving_where_nothing_can_be_written_says_so(pair, tmp_path):
    with pytest.raises(SessionFileError, match="cannot be written"):
        pair.session().save(tmp_path / "missing" / "chat.json")


def test_an_unknown_option_is_an_error(pair):
    with pytest.raises(OptionError, match="unknown option 'tresh'"):
        pair.generate("hello", tresh=1)


def test_a_reply_ends_by_length_where_the_context_does(pair):
    n_ctx = pair.base.context.n_ctx
    for n_words in range(64, 71):
        reply = pair.generate("the list is " * n_words, Options(max_tokens=400, threshold=1.0, chunk=7))
        assert reply.finish_reason in ("length", "stop")
        assert len(pair.base.sequence.tokens) <= n_ctx


def test_statistics_are_true_of_a_reply_that_ends_before_the_base_has_read_it(pair):
    reply = pair.generate("hello", OPTIONS, max_tokens=2)
    assert [token.source for token in reply.tokens] == ["drafter"] * 2
    assert (reply.stats.n_draft, reply.stats.n_drafted, reply.stats.n_accepted) == (2, 2, 2)
    assert reply.stats.draft_share == 1.0


def test_what_is_kept_is_never_more_than_was_proposed(pair):
    for seed in range(20):
        stats = pair.generate("hello", OPTIONS, temperature=1.0, seed=seed, max_tokens=60).stats
        assert stats.n_draft <= stats.n_accepted <= stats.n_drafted


def test_a_slow_reader_does_not_make_the_first_token_later(pair):
    stream = pair.session(options=OPTIONS).stream("hello")
    for event in stream:
        if isinstance(event, Token) and event.position == 0:
            threading.Event().wait(0.3)
    assert event.reply.stats.ttft_s < event.reply.stats.total_s - 0.3


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


def test_a_reply_written_again_and_broken_off_keeps_the_old_one(pair):
    session = pair.session(options=OPTIONS)
    session.ask("hello")
    before = session.messages
    stream = session.regenerate()
    next(stream)
    stream.close()
    assert session.messages == before


def test_asking_for_another_reply_does_not_undo_a_cancel(pair):
    session = pair.session(options=Options(max_tokens=300, threshold=1.0))
    stream = session.stream("hello")
    next(stream)
    session.cancel()
    session.stream("next")
    assert list(stream)[-1].reply.finish_reason == "cancelled"
