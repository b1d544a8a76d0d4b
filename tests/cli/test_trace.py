"""`edge-wsd trace` over a played pair: every token, who wrote it, and what the base thinks of it."""

from __future__ import annotations


def test_every_token_is_a_row_with_the_switch_noted(played):
    done = played("trace", "hello\nthere")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "#  token     by       probability  confidence  note",
        '1  "Sure,"   drafter        0.607',
        '2  " you"    drafter        0.000',
        '3  " said"   drafter        0.905       0.900  switch: confident',
        '4  " hello"  base           0.779',
        '5  " there"  base           0.779',
    ]
    assert "switch after 3 tokens" in done.stderr
    assert played("trace", "hello", "-q").stderr == ""


def test_repeated_tokens_and_a_loop_are_noted(played):
    done = played("trace", "loops", "--ignore-repeated")
    lines = done.stdout.splitlines()
    assert [line.endswith("  repeated") for line in lines] == [False, False, True, False, False]
    assert lines[-1].endswith("  stopped in a loop")
    assert "stopped in a loop: the same 4 tokens came 30 times in a row" in done.stderr


def test_the_question_is_one_argument_or_comes_on_stdin(played):
    assert played("trace", stdin="hello\n").stdout == played("trace", "hello").stdout
    wrong = played("trace", "hello", "there")
    assert wrong.returncode == 2 and 'edge-wsd trace "hello there"' in wrong.stderr


def test_a_narrow_terminal_loses_no_figure(at_terminal):
    somebody = at_terminal("trace", "hello", columns=40)
    assert somebody.leaves() == 0
    assert "0.905" in somebody.seen and "switch: confident" in somebody.seen


def test_eighty_columns_hold_a_row_per_token(at_terminal):
    """The note of the switch alone took half of them, and made five lines of each token."""
    somebody = at_terminal("trace", "hello", columns=80)
    assert somebody.leaves() == 0
    assert '3  " said"   drafter        0.905       0.900  switch: confident' in somebody.seen
