"""What is told of long counting where there is no terminal to draw a bar on."""

import re

from edge_wsd.cli.ui import count_bar
from edge_wsd.cli.ui.count_bar import counting, rate_in_words


def test_without_a_terminal_a_line_tells_now_and_then_how_far_it_is(monkeypatch, capsys):
    """A batch of hours in the background was silent to its end."""
    with counting("a.jsonl", 7, 10, quiet=False) as counter:
        counter.count()
        assert capsys.readouterr().err == "", "not for each"
        monkeypatch.setattr(count_bar, "_EVERY_S", 0.0)
        counter.count()
        told = capsys.readouterr().err
        assert re.fullmatch(r"a\.jsonl: 9 of 10 done, [0-9.]+/s, 0:00:0\d left\n", told)
    assert (counter.n_done, counter.n_counted) == (9, 2)
    with counting("-", 0, None, quiet=False) as counter:
        counter.count()
        assert re.fullmatch(r"-: 1 done, [0-9.]+/s\n", capsys.readouterr().err)
    with counting("a.jsonl", 0, 1, quiet=True) as counter:
        counter.count()
        assert capsys.readouterr().err == ""


def test_a_rate_is_told_in_the_unit_in_which_it_is_a_readable_number():
    assert [rate_in_words(rate) for rate in (12.34, 1.0, 0.05, 0.0, None)] == ["12.3/s", "1.0/s", "3.0/min", "", ""]
