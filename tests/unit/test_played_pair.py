"""The pair that is played to the command line writes what a real one could: else its tests would show nothing."""

import pytest

from edge_wsd.decoding.options import Options
from tests.cli.fake_program import Session
from tests.contract import assert_promised


@pytest.mark.parametrize("prompt", ["hello", "escape", "a longer prompt of several words"])
@pytest.mark.parametrize("max_tokens", [1, 3, 4, 512])
def test_a_played_reply_keeps_what_is_promised_of_replies(prompt, max_tokens):
    """It once told scores of drafted tokens that were not kept."""
    assert_promised(list(Session(None, Options(max_tokens=max_tokens), []).stream(prompt)))
