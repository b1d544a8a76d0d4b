"""`edge-wsd trace`: every token, who wrote it, and what the base thinks of it; the signal of the whole draft."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import replace

import pytest

from edge_wsd import Options, Pair
from edge_wsd.calibration.draft import ScoredDraft, scoring_options
from edge_wsd.calibration.draft_signal import DraftSignal
from edge_wsd.calibration.settings import SettingGrid, WindowSetting
from edge_wsd.cli.ui.signal_chart import ASCII, UNICODE, chart_lines, marks_for
from edge_wsd.decoding.events import Switched
from edge_wsd.errors import PlotError
from edge_wsd.pictures import require_plot

QUESTION = "How do I delete the file notes.txt?"
SHORT = ("--max-tokens", "60", "--threads", "1")


def test_every_token_is_a_row_with_the_switch_noted(played):
    done = played("trace", "hello\nthere", "--no-signal")
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
    done = played("trace", "loops", "--ignore-repeated", "--no-signal")
    lines = done.stdout.splitlines()
    assert [line.endswith("  repeated") for line in lines] == [False, False, True, False, False]
    assert lines[-1].endswith("  stopped in a loop")
    assert "stopped in a loop: the same 4 tokens came 30 times in a row" in done.stderr


def test_the_question_may_stand_without_quotes_or_come_on_stdin(played):
    assert played("trace", stdin="hello there\n").stdout == played("trace", "hello there").stdout
    assert played("trace", "hello", "there").stdout == played("trace", "hello there").stdout


def test_a_narrow_terminal_loses_no_figure(at_terminal):
    somebody = at_terminal("trace", "hello", columns=40)
    assert somebody.leaves() == 0
    assert "0.905" in somebody.seen and "switch: confident" in somebody.seen


def test_eighty_columns_hold_a_row_per_token(at_terminal):
    """The note of the switch alone took half of them, and made five lines of each token."""
    somebody = at_terminal("trace", "hello", columns=80)
    assert somebody.leaves() == 0
    assert '3  " said"   drafter        0.905       0.900  switch: confident' in somebody.seen


def test_the_signal_of_a_played_answer_is_drawn_and_other_settings_are_told(played):
    done = played("trace", "hello", "--threshold", "0.5", "--window", "1")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[6].startswith("1.0 \u2502") and "0.5 \u2502" in done.stdout
    assert "The whole draft:\nSure, you said" in done.stdout.replace("\u2502", "")
    assert "threshold  w=1  w=3  w=4  w=6  w=8  w=12" in lines  # the setting of the answer is there, too
    assert "      0.5   1*   -    -    -    -     -" in lines  # of three tokens one is impossible
    assert played("trace", "hello", "--mode", "base").stdout.count("\n") == 5


@pytest.mark.parametrize("rule", ["nudge", "never"])
def test_the_signal_of_an_answer_by_another_rule_says_whose_switch_is_drawn(played, rule):
    said = f"The answer is by --rule {rule}. What --rule window would have made of the draft:"
    assert said in played("trace", "hello", "--rule", rule).stdout
    assert "The answer is by" not in played("trace", "hello").stdout


def test_ctrl_c_while_the_draft_is_scored_keeps_the_table_of_the_answer(at_terminal):
    somebody = at_terminal("trace", "redrafts", columns=80)
    somebody.waits_for("reads the prompt")
    somebody.types("\x03")
    assert somebody.leaves() == 130
    assert '3  " said"' in somebody.seen and "The whole draft" not in somebody.seen


def test_json_has_the_answer_and_what_every_setting_would_have_done(program):
    done = program("trace", QUESTION, *SHORT, "--json", "-q")
    assert done.returncode == 0 and done.stderr == ""
    found = json.loads(done.stdout)
    with Pair.demo() as pair:
        options = Options(max_tokens=60)
        reply, draft = (
            pair.generate(QUESTION, options),
            ScoredDraft.of(pair.generate(QUESTION, scoring_options(options))),
        )
    assert found["answer"]["text"] == reply.text
    signal = found["signal"]
    assert signal["setting"] == {"rule": "window", "threshold": 0.8, "window": 6, "ignore_repeated": False}
    assert signal["switch"]["index"] == reply.switch.index and signal["switch"]["reason"] == "confident"
    assert [token["id"] for token in signal["draft"]] == list(draft.ids)
    assert len(signal["draft"]) > reply.switch.index + 1  # also behind the switch
    for token in signal["draft"]:
        assert token["probability"] == pytest.approx(math.exp(token["logprob"]))
    told = {(o["threshold"], o["window"], o["ignore_repeated"]): o["switch"] for o in signal["others"]}
    assert len(told) == 60
    for setting, switch in told.items():
        expected = draft.switch(WindowSetting(*setting))
        assert (switch["index"], switch["reason"]) == (expected.index, expected.reason)


def test_a_picture_is_written_in_the_format_of_its_name(program, tmp_path):
    pytest.importorskip("matplotlib")
    for name, begins in (("t.svg", b"<?xml"), ("t.png", b"\x89PNG")):
        done = program("trace", QUESTION, *SHORT, "--plot", name, "-q")
        assert done.returncode == 0 and done.stderr == ""
        assert (tmp_path / name).read_bytes().startswith(begins)
    text = (tmp_path / "t.svg").read_text()
    said_in_it = ("threshold 0.8", "switch after 7 tokens (confident)", "confidence over 6 tokens", "delete", QUESTION)
    for said in (*said_in_it, "the setting of this answer"):
        assert said in text


def test_characters_that_a_font_lacks_and_formulas_are_drawn_without_a_word(recwarn):
    pytest.importorskip("matplotlib")
    from edge_wsd.calibration.plot import SIGNAL_SIZE, draw_signal
    from edge_wsd.pictures import picture

    signal = replace(signal_of([0.5, 0.9]), draft=replace(signal_of([0.5, 0.9]).draft, texts=("\u4f60", "$a_{$")))
    for kind in ("svg", "png"):
        assert picture(
            lambda figure: draw_signal(figure, signal, SettingGrid(), "\u4f60 \U0001f642 $\\x$"),
            size=SIGNAL_SIZE,
            kind=kind,
        )
    assert not [str(each.message) for each in recwarn]


def test_a_picture_that_cannot_be_is_refused_before_the_pair_is_loaded(played):
    pytest.importorskip("matplotlib")
    for name, why in (("t.gif", "ends with .svg or .png"), ("nowhere/t.svg", "there is no folder nowhere")):
        done = played("trace", "hello", "--plot", name)
        assert done.returncode == 1 and why in done.stderr and done.stdout == ""
    for more in (["--mode", "base"], ["--no-signal"]):
        done = played("trace", "hello", "--plot", "t.svg", *more)
        assert done.returncode == 2 and more[0] in done.stderr


def test_a_folder_that_cannot_be_written_in_is_told_beforehand(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    require_plot(tmp_path / "t.svg")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(PlotError, match="cannot be written in; name a file in another one"):
        require_plot(tmp_path / "t.svg")


def test_without_a_draft_no_picture_is_written_and_that_is_told(played, tmp_path):
    pytest.importorskip("matplotlib")
    done = played("trace", "empty", "--plot", "t.svg")
    assert done.returncode == 0 and "The drafter wrote nothing" in done.stdout
    assert "t.svg was not written: there is no draft to draw" in done.stderr and not (tmp_path / "t.svg").exists()


def test_drawn_tokens_are_drawn_again_for_the_signal(program):
    done = program("trace", QUESTION, *SHORT, "--json", "--temperature", "1", "-q")
    found = json.loads(done.stdout)
    n_kept = found["answer"]["switch"]["index"] + 1
    kept = [token["id"] for token in found["answer"]["tokens"]][:n_kept]
    assert kept == [token["id"] for token in found["signal"]["draft"]][:n_kept]


def signal_of(probabilities, *, threshold=0.8, window=2, index=None):
    n = len(probabilities)
    logprobs = tuple(map(math.log, probabilities))
    choices = tuple((1, logprob) for logprob in logprobs)
    draft = ScoredDraft(("x",) * n, (1,) * n, logprobs, (b"x",) * n, choices, (False,) * n, "draft_ended")
    return DraftSignal(
        draft, WindowSetting(threshold, window), None if index is None else Switched(index, "confident", 0.9)
    )


def plain(lines):
    return [re.sub("\x1b[^m]*m", "", line) for line in lines]


def test_the_chart_shows_both_curves_the_threshold_and_the_switch():
    rows = chart_lines(signal_of([0.1, 0.9, 0.9, 0.3], index=2), 9, ASCII, colours=False)
    assert rows[:13] == [
        "1.0 |  |",
        "    | x@",
        "0.8 |--|-",
        "    |  |",
        "0.6 |  |",
        "    |  |o",
        "0.4 |  |",
        "    | o|x",
        "0.2 |  |",
        "    |x |",
        "0.0 |  |",
        "    ++---",
        "     1",
    ]
    assert "switch after 3 tokens" in " ".join(rows[14:])


@pytest.mark.parametrize("n_columns", [40, 80, 200])
@pytest.mark.parametrize("n", [1, 34, 36, 80, 500])
def test_the_chart_fits_and_loses_no_low_token_and_no_high_confidence(n_columns, n):
    signal = signal_of([0.5] * (n - 1) + [0.05], index=n - 1)
    lines = chart_lines(signal, n_columns, UNICODE, colours=False)
    assert all(len(line) <= n_columns for line in lines)
    assert UNICODE.probability in lines[9] + lines[10]
    assert plain(chart_lines(signal, n_columns, UNICODE, colours=True)) == lines


def test_a_stream_without_utf8_gets_marks_that_it_can_show():
    assert marks_for("utf-8") is UNICODE
    assert marks_for("ascii") is ASCII and marks_for("latin-1") is ASCII and marks_for(None) is ASCII


def test_a_switch_before_the_first_token_is_named():
    assert "switch after 0 tokens" in " ".join(chart_lines(signal_of([0.5, 0.9], index=-1), 80, ASCII, colours=False))


def test_nothing_is_drawn_of_an_empty_draft():
    assert chart_lines(signal_of([]), 80, UNICODE, colours=False) == []
    assert next(signal_of([]).others(SettingGrid((0.5,), (3,))))[1] == Switched(-1, "draft_ended", None)
