"""The runtime against the published algorithm run the slow way by transformers, over the same weights."""

from __future__ import annotations

import pytest
from tests.oracle.cases import CASES

from edge_wsd import Options

pytestmark = pytest.mark.oracle
TOLERANCE = 1e-3


@pytest.mark.parametrize("vocabulary", ["same", "different"])
@pytest.mark.parametrize("speculation", [True, False], ids=["speculation", "plain"])
@pytest.mark.parametrize("chunk", [1, 4, 16])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_reply_is_that_of_the_published_algorithm(case, chunk, speculation, vocabulary, pairs, oracle):
    expected = oracle[vocabulary][case.name]
    if expected.undecided:
        pytest.skip(f"rounding decides: {expected.undecided}")
    options = Options(**case.options, chunk=chunk, speculation=speculation)
    reply = pairs[vocabulary].generate(list(case.messages), options)

    assert reply.text == expected.text
    assert [token.id for token in reply.tokens] == expected.ids
    assert reply.finish_reason == expected.finish
    if expected.switch is None:
        assert reply.switch is None
    else:
        assert (reply.switch.index, reply.switch.reason) == (expected.switch, expected.reason)
