"""Conversations over a pair of tiny random models: what is remembered, reused, dropped and undone."""

import json
import threading
from itertools import pairwise

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
from edge_wsd.prompts.messages import Message
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
    forced = pair.generate("hello", OPTIONS, switch_at=5)
    assert [token.id for token in forced.tokens[:5]] == [token.id for token in drafter.tokens[:5]]
    assert forced.text != drafter.text


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
    n_ctx = pair.base.context.n_ctx
    told = rf"leaves 0 of the {n_ctx} of the context .* of up to 12; shorten the prompt or raise .*\(--ctx\)$"
    with pytest.raises(ContextFullError, match=told) as caught:
        session.ask("the list " * 400)
    assert caught.value.needed > caught.value.available
    assert session.messages == before
    session.ask("again")


def test_a_full_context_is_told_with_the_numbers_that_were_asked_for(pair):
    """It once named a quarter of the context, 256, where 512 tokens were asked for, and no option to change."""
    with pytest.raises(ContextFullError, match=r"for a reply of up to 300; .*, lower max_tokens \(--max-tokens\) or"):
        pair.generate("the list " * 100, max_tokens=300)


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

    def counting(model, messages, **how):
        sizes.append(len(messages))
        return encode(model, messages, **how)

    monkeypatch.setattr(type(pair.base), "encode", counting)
    messages = [{"role": ("user", "assistant")[i % 2], "content": "the list of files"} for i in range(1600)]
    session = pair.session(options=OPTIONS, messages=messages)
    events = list(session.stream("hello"))
    assert events[0].n_messages > 1500 and events[-1].reply.text
    assert len(sizes) < 2 * 13 and sum(sizes) < 2 * 4 * 1600  # halving: 1600 + 800 + 400 + ..., for both
    sizes.clear()
    session.ask("again")
    assert len(sizes) == 2

    def cancelling(model, messages, **how):
        session.cancel()
        return counting(model, messages, **how)

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
    with pytest.raises(TemplateError, match="no message that the reply answers"):
        pair.session(system=system, options=OPTIONS, messages=messages).regenerate()


def test_a_conversation_that_nobody_can_answer_is_told_what_it_lacks(pair):
    """One of an assistant message alone was told that there is no message; an empty prompt was answered."""
    alone = [{"role": "assistant", "content": "the list"}]
    with pytest.raises(TemplateError, match="only messages of the assistant; begin it with one of the user"):
        pair.generate(alone, OPTIONS)
    for empty in ("", " \n"):
        with pytest.raises(TemplateError, match="the prompt is empty"):
            pair.generate(empty, OPTIONS)
        with pytest.raises(TemplateError, match="the prompt is empty"):  # this one was answered still
            pair.generate([{"role": "user", "content": empty}], OPTIONS)
    with pytest.raises(TemplateError, match="the conversation is empty"):
        pair.generate([], OPTIONS)


@pytest.mark.parametrize("text", ["\ud83d", "ab\udcff", 5, b"hello"])
def test_what_is_no_text_is_refused_before_anything_is_lost(pair, tmp_path, text):
    """Half a character was once taken, and saving the conversation then failed."""
    session = pair.session(system="be brief", options=OPTIONS)
    session.ask("hello")
    before = session.messages
    for use in (
        lambda: session.stream(text),
        lambda: session.ask(text),
        lambda: setattr(session, "system", text),
        lambda: pair.session(system=text),
        lambda: pair.session(messages=[{"role": "user", "content": text}]),
        lambda: pair.session(messages=[{"role": text, "content": "hello"}]),
    ):
        with pytest.raises(TemplateError):
            use()
    with pytest.raises(OptionError, match="stop must be"):
        pair.generate("hello", stop=[text])
    assert (session.messages, session.system) == (before, "be brief")
    session.save(tmp_path / "chat.json")
    assert Session.load(tmp_path / "chat.json", pair).messages == before


@pytest.mark.parametrize("name", ["a\0b.json", "\ud83d.json"])
def test_a_name_that_no_file_can_have_is_told(pair, tmp_path, name):
    with pytest.raises(SessionFileError, match="no name of a file can hold this"):
        pair.session().save(tmp_path / name)
    with pytest.raises(SessionFileError):
        Session.load(tmp_path / name, pair)


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


def test_only_a_conversation_is_replaced_by_a_conversation(pair, tmp_path):
    """A model, or whatever else was named, was replaced."""
    session = pair.session(options=OPTIONS)
    for content in (b"GGUF and more", b"[]", b'{"format": "something else"}'):
        (tmp_path / "precious").write_bytes(content)
        with pytest.raises(SessionFileError, match="is no conversation, so it stays as it is"):
            session.save(tmp_path / "precious")
        assert (tmp_path / "precious").read_bytes() == content
    (tmp_path / "empty").touch()
    for name in ("empty", "new", "new"):
        session.save(tmp_path / name)
        assert Session.load(tmp_path / name, pair).options == OPTIONS


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
            (lambda session, pair, path: next(session.stream("hi")), BusyError),
            (lambda session, pair, path: next(session.regenerate()), BusyError),
            (lambda session, pair, path: session.clear(), BusyError),
            (lambda session, pair, path: pair.generate("hi"), BusyError),
            (lambda session, pair, path: next(pair.session().stream("hi")), BusyError),
            (lambda session, pair, path: session.stream("hi"), None),
            (lambda session, pair, path: session.regenerate(), None),
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
        session = pair.session(options=Options(max_tokens=300, threshold=1.0))
        events = []
        for event in session.stream("hello"):
            events.append(event)
            session.cancel()
            session.cancel()
        assert events[-1].reply.finish_reason == "cancelled"
        session.cancel()
        session.options = OPTIONS
        assert session.ask("more").finish_reason == "length"

    def test_a_stream_that_was_asked_for_earlier_answers_the_conversation_as_it_is_then(self, pair):
        """It once forgot the reply that came in between."""
        session = pair.session(options=OPTIONS)
        first, second = session.stream("hello"), session.stream("more")
        list(first)
        list(second)
        assert [message.role for message in session.messages] == ["user", "assistant"] * 2
        again = session.regenerate()
        session.clear()
        with pytest.raises(TemplateError, match="no reply"):
            next(again)


def test_a_continuation_cancelled_before_its_first_word_did_not_happen(pair):
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "the list is in "}]
    session = pair.session(options=OPTIONS, messages=messages)
    stream = session.stream()
    session.cancel()
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


def test_asking_for_another_reply_does_not_undo_a_cancel(pair):
    session = pair.session(options=Options(max_tokens=300, threshold=1.0))
    stream = session.stream("hello")
    next(stream)
    session.cancel()
    session.stream("next")
    assert list(stream)[-1].reply.finish_reason == "cancelled"
