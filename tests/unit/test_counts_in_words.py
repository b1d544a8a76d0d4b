"""One thing is told as one: "after 1 tokens" stood in the figures of an answer."""

import re
from dataclasses import replace

import pytest

from edge_wsd.cli.ui.status import dropped_note, statistics_rows, status_parts
from edge_wsd.decoding.events import Reply, Statistics, Switched, Token
from edge_wsd.decoding.options import Options
from edge_wsd.errors import QueueFullError
from edge_wsd.units import counted
from tests.fake_contexts import engine_of, held, plain

ONES = Statistics(
    n_tokens=1,
    n_draft=1,
    n_hand_overs=1,
    n_drafted=1,
    n_accepted=1,
    n_proposed={"drafter": 1, "ngram": 0},
    n_proposed_accepted={"drafter": 1, "ngram": 0},
    base_passes=1,
    drafter_prompt_tokens=1,
    base_prompt_tokens=1,
    base_reused_tokens=1,
)
ONE_OF_MANY = re.compile(r"(?<![\d.,])1( \w+)? (tokens|times|replies|messages|are)\b")


def test_the_s_goes_with_one_thing_alone():
    assert [counted(n, "prompt tokens") for n in range(3)] == ["0 prompt tokens", "1 prompt token", "2 prompt tokens"]


@pytest.mark.parametrize(
    "options", [Options(), Options(rule="nudge"), Options(mode="base")], ids=lambda o: o.rule + o.mode
)
def test_an_answer_of_one_token_is_told_as_such(options):
    token = Token(0, 5, "Yes", "drafter", -0.1, repeated=True)
    reply = Reply("Yes", (token,), (None,), "stop", Switched(0, "confident", 0.9), ONES)
    told = [*status_parts(reply, options), *(value for _, value in statistics_rows(reply)), dropped_note(1)]
    assert [text for text in told if ONE_OF_MANY.search(text)] == []
    assert "2 oldest messages no longer fit and were" in dropped_note(2)
    assert "1 of 1 guessed token right" in told and "drafter: 1, right 1" in told
    if options.mode == "wsd":
        assert "after 1 token, confident" in dict(statistics_rows(reply))["switch"]


def test_the_figures_of_an_answer_tell_who_guessed_ahead_and_how_much_was_right():
    def told(**given):
        return Reply("Yes", (Token(0, 5, "Yes", "base", -0.1),), (None,), "stop", None, replace(ONES, **given))

    both = told(n_proposed={"drafter": 9, "ngram": 5}, n_proposed_accepted={"drafter": 6, "ngram": 1})
    assert "7 of 14 guessed tokens right" in status_parts(both, Options())
    assert dict(statistics_rows(both))["guessed ahead"] == "drafter: 9, right 6; lookup: 5, right 1"
    none = told(n_proposed={"drafter": 0, "ngram": 0})
    assert not any("guessed" in part for part in status_parts(none, Options()))
    assert "guessed ahead" not in dict(statistics_rows(none))


def test_a_queue_of_one_is_told_as_such():
    with engine_of(parallel=1, longest_queue=1) as engine, held(engine.base):
        streams = [engine.submit(plain([1, 2], 3)) for _ in range(2)]
        with pytest.raises(QueueFullError, match="1 reply is waiting already"):
            engine.submit(plain([1, 2], 3))
        assert len(streams) == 2
