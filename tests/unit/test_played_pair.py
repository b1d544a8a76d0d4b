"""The pair that is played to the command line writes what a real one could: else its tests would show nothing."""

import pytest

from edge_wsd.decoding.options import Options
from tests.cli.fake_program import Session
from tests.contract import assert_promised


@pytest.mark.parametrize("prompt", ["hello", "escape", "loops", "a longer prompt of several words"])
@pytest.mark.parametrize("ignore_repeated", [True, False])
@pytest.mark.parametrize("max_tokens", [1, 3, 4, 512])
def test_a_played_reply_keeps_what_is_promised_of_replies(prompt, max_tokens, ignore_repeated):
    """It once told scores of drafted tokens that were not kept, and a stop string where the room had ended."""
    options = Options(max_tokens=max_tokens, ignore_repeated=ignore_repeated)
    events = list(Session(None, options, []).stream(prompt))
    assert_promised(events)
    n_tokens = len(events[-1].reply.tokens)
    assert n_tokens <= max_tokens and (events[-1].reply.finish_reason == "length") == (n_tokens == max_tokens)
