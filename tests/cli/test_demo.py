"""The command line over the embedded demonstration pair."""

from __future__ import annotations

import json
import math

import pytest

QUESTION = "How do I list files by size?"


def answer_of(program, *arguments):
    done = program("run", QUESTION, "--json", "--threads", "1", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_drafter_begins_and_the_base_finishes(program):
    answer = answer_of(program)
    n_drafted = answer["switch"]["index"] + 1
    sources = [token["source"] for token in answer["tokens"]]
    assert answer["switch"]["reason"] == "confident" and answer["switch"]["confidence"] >= 0.8
    assert sources == ["drafter"] * n_drafted + ["base"] * (len(sources) - n_drafted)
    assert answer["finish_reason"] == "stop" and answer["stats"]["n_draft"] == n_drafted


def test_the_confidence_is_the_geometric_mean_of_the_probabilities_shown(program):
    tokens = answer_of(program, "--window", "4", "--threshold", "1")["tokens"]
    drafted = [token for token in tokens if token["source"] == "drafter"]
    for last in range(3, len(drafted)):
        logprobs = [token["logprob"] for token in drafted[last - 3 : last + 1]]
        assert drafted[last]["confidence"] == pytest.approx(math.exp(sum(logprobs) / 4), abs=1e-4)
    assert [token["confidence"] for token in drafted[:3]] == [None] * 3


def test_json_is_the_reply_also_where_a_long_draft_was_discarded(program):
    from edge_wsd.llama.settings import ModelSettings
    from edge_wsd.pair import Pair

    one_thread = ModelSettings(threads=1)
    with Pair.demo(drafter_settings=one_thread, base_settings=one_thread) as pair:
        reply = pair.generate(QUESTION, chunk=16)
    tokens = answer_of(program, "--chunk", "16")["tokens"]
    assert [token["id"] for token in tokens] == [token.id for token in reply.tokens]
    assert [token["confidence"] for token in tokens] == list(reply.confidences)
    assert [token["logprob"] for token in tokens] == pytest.approx([token.logprob for token in reply.tokens], abs=1e-6)
    assert all(token["confidence"] is None for token in tokens if token["source"] == "base")


@pytest.mark.parametrize("mode", ["base", "drafter"])
def test_one_model_alone_writes_everything_and_never_switches(program, mode):
    answer = answer_of(program, "--mode", mode)
    assert answer["switch"] is None and {token["source"] for token in answer["tokens"]} == {mode}


def test_speculation_and_chunk_change_no_text(program):
    text = answer_of(program)["text"]
    assert answer_of(program, "--no-speculation")["text"] == text
    assert answer_of(program, "--chunk", "1")["text"] == text


def test_a_drafter_of_another_vocabulary_works_as_well(program):
    answer = answer_of(program, "--pair", "demo-other")
    assert answer["switch"] is not None and answer["tokens"][0]["source"] == "drafter"


def test_an_assistant_message_at_the_end_is_continued(program, tmp_path):
    messages = [{"role": "user", "content": QUESTION}, {"role": "assistant", "content": "Sure, I can help with that."}]
    (tmp_path / "talk.json").write_text(json.dumps(messages))
    done = program("run", "--messages", "talk.json", "-q", "--threads", "1")
    assert done.returncode == 0 and done.stdout.strip() and not done.stdout.startswith("Sure, I can help with that.")


def test_the_second_turn_reads_only_what_is_new(program):
    """The base has written or read all of the first turn; the drafter may still lack words that the base wrote."""
    done = program("chat", "-q", "--threads", "1", stdin=f"{QUESTION}\n/stats\nhow do I delete notes.txt\n/stats\n")
    assert done.returncode == 0 and len(done.stdout.splitlines()) > 2
    counts = {"drafter's": [], "base's": []}
    for line in done.stderr.splitlines():
        if "of them reused" in line:
            counts[line.split()[0]].append([int(word) for word in line.split() if word.isdigit()])
    for (first, _), (second, reused) in counts.values():
        assert first <= reused < second
    second, reused = counts["base's"][1]
    assert second - reused < reused


def test_doctor_finds_a_working_installation(program):
    done = program("doctor", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, report["problems"]
    assert report["problems"] == [] and report["self_test"]["n_tokens"] == 16
    assert report["native"] and report["devices"] and report["versions"]["llama.cpp"]
    assert bool(report["install"]) is not report["offload"]
    assert "self-test" in program("doctor").stdout


def test_eval_counts_every_mode(program):
    from edge_wsd.evaluation import EVAL_MODES

    done = program("eval", "demo", "--limit", "2", "--json", "--answers", "--threads", "1")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["modes"]
    assert [row["mode"] for row in rows] == list(EVAL_MODES)
    assert all(row["aligned"]["n"] == 2 and len(row["answers"]) == 6 for row in rows)


def test_eval_counts_the_same_with_several_replies_at_once(program):
    arguments = ("eval", "demo", "--limit", "3", "--modes", "wsd,few-shot", "--json", "--answers", "--exact")
    one, four = (json.loads(program(*arguments, "--parallel", n).stdout)["modes"] for n in ("1", "4"))
    for row in (*one, *four):
        assert row.pop("mean_seconds") >= 0 and row.pop("median_seconds") >= 0
        assert all(answer.pop("seconds") >= 0 for answer in row["answers"])
        for counts in (row, *row["answers"]):  # how much is guessed ahead follows what it costs
            right, guessed = counts.pop("n_proposed_accepted"), counts.pop("n_proposed")
            assert all(0 <= right[name] <= n for name, n in guessed.items())
    assert four == one


def test_eval_prints_a_table_of_the_modes_asked_for(program):
    done = program("eval", "demo", "--limit", "1", "--modes", "wsd,base", "--threads", "1")
    assert done.returncode == 0 and "\x1b" not in done.stdout
    assert done.stdout.index("base alone") < done.stdout.index("weak-to-strong")
    assert "styles" in done.stdout and "outside" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 120
