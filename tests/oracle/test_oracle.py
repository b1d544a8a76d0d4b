"""The runtime against the published algorithm run the slow way by transformers, over the same weights."""

from __future__ import annotations

import pytest

from edge_wsd import Options, Reply
from tests.oracle.cases import CASES
from tests.oracle.conftest import VOCABULARIES
from tests.oracle.published import Answer

pytestmark = pytest.mark.oracle
TOLERANCE = 1e-3


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("speculation", [True, False], ids=["speculation", "plain"])
@pytest.mark.parametrize("chunk", [1, 4, 16])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_reply_is_that_of_the_published_algorithm(case, chunk, speculation, vocabulary, pairs, oracle):
    expected = oracle[vocabulary][case.name]
    if expected.undecided:
        pytest.skip(f"rounding decides: {expected.undecided}")
    options = Options(**case.options, chunk=chunk, speculation=speculation)
    reply = pairs[vocabulary].generate(list(case.messages), options)

    assert_same(reply, expected)


def assert_same(reply: Reply, expected: Answer) -> None:
    """Text, tokens, authors, switch, log-probabilities and confidences."""
    assert reply.text == expected.text
    assert [token.id for token in reply.tokens] == expected.ids
    assert reply.finish_reason == expected.finish
    assert [token.source for token in reply.tokens].count("drafter") == len(expected.confidences)
    if expected.switch is None:
        # Over before the base took over, perhaps before it read anything.
        assert reply.switch is None
        n_read = len(expected.ids) - [token.logprob for token in reply.tokens].count(None)
    else:
        assert (reply.switch.index, reply.switch.reason) == (expected.switch, expected.reason)
        assert reply.switch.confidence == close(expected.confidence)
        n_read = len(expected.ids)
    assert [token.logprob for token in reply.tokens[:n_read]] == close(expected.logprobs[:n_read])
    confidences = [confidence or 0.0 for confidence in reply.confidences[: min(n_read, len(expected.confidences))]]
    assert confidences == close(expected.confidences[: len(confidences)])


def close(value):
    return None if value is None else pytest.approx(value, abs=TOLERANCE, rel=0)


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_at_least_forty_prompts_are_compared_with_a_draft_handed_over_as_text(vocabulary, oracle):
    compared = [answer for answer in oracle[vocabulary].values() if answer.by_text and not answer.undecided]
    assert len(compared) >= 40


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
def test_the_cases_contain_every_kind_of_ending(vocabulary, oracle):
    answers = [answer for answer in oracle[vocabulary].values() if not answer.undecided]
    reasons = {answer.reason for answer in answers if answer.switch is not None}
    assert reasons == {"confident", "draft_limit", "draft_ended"}
    assert {answer.finish for answer in answers} == {"stop", "length"}
    assert {answer.switch for answer in answers} >= {None, -1, 0}
    assert len({answer.switch for answer in answers}) >= 8
    assert any(answer.stripped and answer.reason == "draft_limit" for answer in answers)


def test_the_vocabularies_are_what_they_are_called(pairs):
    assert pairs["same"].vocabulary.same
    assert not pairs["different"].vocabulary.same
