"""Drafted tokens are held back until they are scored; their order and their texts stay what they were."""

from edge_wsd.decoding.events import Scored, Token
from edge_wsd.serve.openai.logprobs import LogprobOrder, token_logprob


def drafted(position, text, id_=None):
    return Token(position, position if id_ is None else id_, text, "drafter", piece=text.encode())


def written(position, text, logprob=-0.5):
    return Token(position, position, text, "base", logprob, piece=text.encode())


def told(shown):
    return [(each.token.text, each.token.logprob, each.counts) for each in shown]


def test_a_drafted_token_waits_for_its_score():
    order = LogprobOrder()
    assert told(order.token(drafted(0, "a"))) == []
    assert told(order.token(drafted(1, "b"))) == []
    assert told(order.scored(Scored(0, (-0.1,), (None,)))) == [("a", -0.1, True)]
    assert told(order.scored(Scored(1, (-0.2,), (None,)))) == [("b", -0.2, True)]
    assert told(order.token(written(2, "c"))) == [("c", -0.5, True)]


def test_a_score_may_come_before_its_token():
    order = LogprobOrder()
    assert told(order.scored(Scored(0, (-0.1, -0.2), (None, None)))) == []
    assert told(order.token(drafted(0, "a"))) == [("a", -0.1, True)]
    assert told(order.token(drafted(1, "b"))) == [("b", -0.2, True)]


def test_a_position_that_is_cut_anew_counts_once_and_keeps_all_texts():
    order = LogprobOrder()
    assert told(order.token(drafted(0, "ab"))) == []
    assert told(order.token(drafted(0, "", id_=7))) == []
    assert told(order.token(drafted(1, "c"))) == []
    shown = list(order.scored(Scored(0, (-0.1, -0.2), (None, None))))
    assert [(each.token.id, each.token.text, each.counts) for each in shown] == [
        (0, "ab", False), (7, "", True), (1, "c", True),
    ]  # fmt: skip


def test_text_that_comes_late_to_a_known_position_has_no_second_entry():
    order = LogprobOrder()
    assert told(order.token(written(0, ""))) == [("", -0.5, True)]
    assert told(order.token(written(0, "held back"))) == [("held back", -0.5, False)]


def test_the_end_brings_what_was_never_scored():
    order = LogprobOrder()
    order.token(drafted(0, "a"))
    order.token(drafted(1, "b"))
    known = Token(0, 0, "a", "drafter", -0.3)
    assert told(order.end((known,))) == [("a", -0.3, True), ("b", None, False)]


def test_minus_infinity_is_written_as_the_floor():
    assert token_logprob(written(0, "x", float("-inf")), 0).logprob == -9999.0
