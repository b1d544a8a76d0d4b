"""What a lane tells of the time that passes take: only what is known."""

import pytest

from edge_wsd.decoding.costs import Costs
from edge_wsd.errors import DecodeError
from tests.fake_contexts import LONG_PROMPT, engine_of, plain


@pytest.fixture
def took(monkeypatch):
    """Tokens, rows and seconds of each pass."""
    told = []
    monkeypatch.setattr(
        Costs, "took", lambda _costs, _source, n, rows, _replies, seconds: told.append((n, rows, seconds))
    )
    return told


@pytest.mark.parametrize("is_asynchronous", [False, True])
def test_a_pass_that_nobody_waited_for_has_no_time_nor_has_the_one_that_waits_for_both(took, is_asynchronous):
    """A decode on a GPU returns at once, so that 512 tokens of a prompt seemed to take 6 ms, and the next ones 360."""
    with engine_of(batch=512) as engine:
        engine.base.model.is_asynchronous = is_asynchronous
        engine.submit(plain(LONG_PROMPT[:1500], 3)).result()
    without_rows = [seconds for _, rows, seconds in took if rows == 0]
    with_rows = [seconds for _, rows, seconds in took if rows > 0]
    assert len(without_rows) >= 2 and len(with_rows) == 3
    assert all((seconds is None) == is_asynchronous for seconds in [*without_rows, with_rows[0]])
    assert None not in with_rows[1:]


def test_a_pass_behind_one_that_failed_has_no_time_where_that_may_still_be_computed(took):
    with engine_of() as engine:
        engine.base.model.is_asynchronous = True
        engine.base.on_decode = fails
        with pytest.raises(DecodeError):
            engine.submit(plain([1, 2], 3)).result()
        engine.base.on_decode = lambda pieces: None
        engine.submit(plain([1, 2], 3)).result()
    assert [seconds is None for _, _, seconds in took] == [True, False, False]


def fails(_pieces):
    raise DecodeError("on purpose")
