"""`edge-wsd run --json-stream`: an event a line, at once, and a last line that says how it ended."""

from __future__ import annotations

import json
import signal

import click
import pytest

from edge_wsd.cli.event_lines import EventCommand, event_object, json_stream_option
from edge_wsd.decoding.events import Alternative, Dropped, Reading, Scored, Switched, Token


def events_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_the_lines_are_the_events_and_the_last_one_the_object_of_json(program):
    question = ("run", "how", "do", "I", "list", "files", "--max-tokens", "40", "--threads", "1", "-q")
    done = program(*question, "--json-stream")
    assert done.returncode == 0 and done.stderr == ""
    events = events_of(done.stdout)
    whole = json.loads(program(*question, "--json").stdout)
    tokens = [event for event in events if event["event"] == "token"]
    assert "".join(token["text"] for token in tokens) == whole["text"]
    scores = {
        event["first"] + i: x for event in events if event["event"] == "scored" for i, x in enumerate(event["logprobs"])
    }
    drafted = [token for token in whole["tokens"] if token["source"] == "drafter"]
    assert [scores[i] for i in range(len(drafted))] == pytest.approx([token["logprob"] for token in drafted], abs=1e-3)
    assert [event["index"] for event in events if event["event"] == "switched"] == [whole["switch"]["index"]]
    last = events[-1]
    assert last.pop("event") == "finished" and last["text"] == whole["text"] and last.keys() == whole.keys()


def test_every_event_has_a_form_that_json_can_write():
    best = (Alternative(3, "x", b"\xff", -float("inf")),)
    for event, expected in (
        (Token(0, 7, "a", "base", -1.0, None, b"a"), {
            "position": 0, "id": 7, "text": "a", "source": "base", "logprob": -1.0,
        }),
        (Token(0, 7, "a", "base", None, True, b"a", best), {
            "position": 0, "id": 7, "text": "a", "source": "base", "logprob": None, "repeated": True,
            "top": [{"id": 3, "text": "x", "logprob": None}],
        }),
        (Scored(2, (-float("inf"),), (None,)), {"first": 2, "logprobs": [None], "confidences": [None]}),
        (Switched(-1, "draft_ended", None), {"index": -1, "reason": "draft_ended", "confidence": None}),
        (Reading("base", 1, 2), {"model": "base", "n_read": 1, "n_tokens": 2}),
        (Dropped(3), {"n_messages": 3}),
    ):  # fmt: skip
        found = event_object(event)
        assert found == {"event": type(event).__name__.lower(), **expected}
        json.dumps(found, allow_nan=False)


def test_what_is_read_of_a_prompt_is_an_event_too(played):
    """It was told to people alone."""
    events = events_of(played("run", "pauses", "--json-stream", "-q").stdout)
    assert [event for event in events if event["event"] == "reading"] == [
        {"event": "reading", "model": "base", "n_read": 512, "n_tokens": 2476}
    ]


def test_a_line_comes_as_soon_as_its_event(start):
    process = start("run", "slow", "--json-stream", "-q")
    first = json.loads(process.stdout.readline())
    assert first["event"] == "token" and process.poll() is None
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    last = events_of(out.decode())[-1]
    assert process.returncode == 130 and (last["event"], last["finish_reason"]) == ("finished", "cancelled")


@pytest.mark.parametrize(
    ("arguments", "code", "kind", "said"),
    [
        (["full"], 1, "ContextFullError", "the prompt has 900 tokens"),
        (["broken"], 1, "ZeroDivisionError", "internal error"),
        (["hello", "--pair", "nobody"], 1, "PairsFileError", "no pair named 'nobody'"),
        (["hello", "--json"], 2, "UsageError", "give either --json or --json-stream"),
        (["hello", "--switch-at", "3", "--rule", "nudge"], 2, "UsageError", "--switch-at belongs"),
        (["hello", "--threshold", "much"], 2, "BadParameter", "'much' is not a valid float"),
        (["hello", "--frob"], 2, "NoSuchOption", "--frob"),
    ],
)
def test_an_error_is_the_last_line_and_told_on_stderr_too(played, arguments, code, kind, said):
    done = played("run", *arguments, "--json-stream", "-q")
    last = events_of(done.stdout)[-1]
    assert done.returncode == code and said in done.stderr
    assert (last["event"], last["type"]) == ("error", kind) and said in last["message"]


def test_a_question_about_the_flag_is_no_stream(played):
    assert played("run", "--threshold", "much", "--", "what", "is", "--json-stream").stdout == ""


def test_ctrl_c_before_the_answer_begins_is_a_last_line_too(capsys):
    @click.command(cls=EventCommand)
    @json_stream_option
    def interrupted(*, as_stream):
        assert as_stream
        raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, click.Abort)):
        interrupted.main(["--json-stream"], standalone_mode=False)
    assert events_of(capsys.readouterr().out) == [
        {"event": "error", "type": "KeyboardInterrupt", "message": "interrupted"}
    ]


def test_a_reader_that_leaves_ends_it_quietly(start):
    process = start("run", "long", "--json-stream", "-q")
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait(timeout=30) == 0
