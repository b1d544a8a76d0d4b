"""What is told of long counting where there is no terminal to draw a bar on."""

import re

from edge_wsd.cli.ui import count_bar
from edge_wsd.cli.ui.amounts import BYTES, amount_in_words, rate_in_words
from edge_wsd.cli.ui.count_bar import counting, counting_stages


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


def test_large_numbers_are_told_as_a_share():
    assert [amount_in_words(3, total) for total in (10, 100_000, 300_000, None)] == ["3/10", "3/100000", "0%", "3"]


def test_measuring_and_comparing_tell_it_as_well(monkeypatch, capsys):
    """`imatrix` and `verify` had bars of their own, and in the background they were silent for hours."""
    monkeypatch.setattr(count_bar, "_EVERY_S", 0.0)
    with counting_stages(quiet=False) as progress:
        progress("Q8_0", 0, 10)
        assert capsys.readouterr().err == "", "nothing is known of its rate"
        progress("Q8_0", 5, 10)
        progress("Q4_0", 9, 10)
        progress("Q4_0", 10, 10)
    first, second = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"Q8_0: 5 of 10 done, [0-9.]+/s, 0:00:0\d left", first)
    assert re.fullmatch(r"Q4_0: 10 of 10 done, [0-9.]+/s, 0:00:00 left", second)
    with counting_stages(quiet=False, unit=BYTES) as progress:
        progress("model.gguf", 0, 1 << 40)
        progress("model.gguf", 1 << 39, 1 << 40)
    assert re.fullmatch(r"model\.gguf: 50% done, 0:00:0\d left\n", capsys.readouterr().err)
