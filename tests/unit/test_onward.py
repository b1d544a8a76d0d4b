"""Greedy passes that go on by themselves: when the engine lets them, and that replies are the same as without."""

import pytest

from edge_wsd.decoding.events import Reply
from edge_wsd.decoding.protocols import Onward, Pass
from edge_wsd.errors import Cancelled
from tests.fake_contexts import WORDS, engine_of, held


def asking(prompt, n, asked, *, stops=(), told=None):
    """A writer of about `n` tokens that asks for `asked` at once, and reports how many rows it was given each time.
    With None it does not ask to go on, as one that draws its tokens."""

    def write(memories):
        memory, text, told_here = memories["drafter"], list(prompt), []
        sequence = memory.take(text)
        reason = "length"
        try:
            while len(text) < len(prompt) + n:
                left = len(prompt) + n - len(text)
                onward = None if asked is None else Onward(min(asked, left) - 1, stops)
                rows = yield Pass(sequence, text, [], onward=onward)
                told_here.append(rows.n_rows)
                text += [rows.choose(row)[0] for row in range(rows.n_rows)]
        except Cancelled:
            reason = "cancelled"
        finally:
            memory.give_back(sequence)
        if told is not None:
            told.append(told_here)
        return Reply(" ".join(map(str, text[len(prompt) :])), (), (), reason, None)

    return write


def text_of(prompt, n, asked, **settings):
    with engine_of(**settings) as engine:
        return [int(word) for word in engine.submit(asking(prompt, n, asked)).result().text.split()]


def without_end(n):
    """Prompts of texts in which no token ends the text for `n` tokens: steps would end there."""
    prompts = [[1, 2, i, j] for i in range(1, 9) for j in range(1, 9)]
    return [prompt for prompt in prompts if not any(map(WORDS.is_end, text_of(prompt, n, 1)))]


def test_the_text_is_the_same_however_many_tokens_are_asked_for_at_once():
    expected = text_of([1, 2, 3], 20, 1)
    assert all(text_of([1, 2, 3], 20, asked) == expected for asked in (2, 5, 20))
    assert text_of([1, 2, 3], 20, 5, room=24) == expected  # that it just fits into


def test_a_reply_by_itself_is_given_all_that_it_asks_for():
    told = []
    with engine_of() as engine:
        engine.submit(asking(without_end(12)[0], 12, 6, told=told)).result()
        assert len(engine.drafter.decodes) == 2  # the others were steps
    assert told == [[6, 6]]


def test_replies_go_on_together_until_the_first_has_all_it_asked_for():
    told = []
    first, second, *_ = without_end(9)
    with engine_of() as engine:
        with held(engine.drafter):
            streams = [engine.submit(asking(first, 9, 3, told=told)), engine.submit(asking(second, 9, 9, told=told))]
        for stream in streams:
            stream.result()
    together, second_arrived_in_the_first_decode = [[3, 3, 3]] * 2, [[1, 3, 3, 2], [3, 3, 2, 1]]
    assert told in (together, second_arrived_in_the_first_decode)


@pytest.mark.parametrize("asked", [1, None])
def test_a_reply_that_asks_for_single_tokens_does_not_wait_for_others_that_ask_for_many(asked):
    told = []
    first, second, *_ = without_end(9)
    with engine_of() as engine:
        with held(engine.drafter):
            streams = [
                engine.submit(asking(first, 9, asked, told=told)),
                engine.submit(asking(second, 9, 9, told=told)),
            ]
        for stream in streams:
            stream.result()
    assert told[0] == [1] * 9
    assert told[1][:7] == [1] * 7


def test_stop_tokens_end_the_steps():
    prompt = without_end(20)[0]
    first = text_of(prompt, 20, 1)
    told = []
    with engine_of() as engine:
        engine.submit(asking(prompt, 20, 20, stops=[first[7]], told=told)).result()
    assert told[0][0] == first.index(first[7]) + 1


def test_a_new_reply_does_not_wait_until_all_steps_are_taken():
    told = []
    first, second, *_ = without_end(9)
    with engine_of() as engine:
        go_on, streams = engine.drafter.go_on, []

        def step(going, enough):
            if not streams:
                streams.append(engine.submit(asking(second, 3, 1)))
            return go_on(going, enough)

        engine.drafter.go_on = step
        engine.submit(asking(first, 9, 9, told=told)).result()
        streams[0].result()
    assert told[0][0] == 1


def test_a_cancel_ends_the_steps():
    told = []
    with engine_of() as engine:
        go_on = engine.drafter.go_on

        def step(going, enough):
            stream.cancel()
            assert enough.is_set
            return go_on(going, enough)

        engine.drafter.go_on = step
        with held(engine.drafter):
            stream = engine.submit(asking(without_end(9)[0], 9, 9, told=told))
        assert stream.result().finish_reason == "cancelled"
    assert told == [[1]]


def test_steps_count_as_turns_so_that_others_do_not_wait_for_the_base_all_the_longer():
    counted = []
    with engine_of() as engine:
        engine._steps._turns.went_on = counted.append
        engine.submit(asking(without_end(12)[0], 12, 6)).result()
    assert counted == [5, 5]
