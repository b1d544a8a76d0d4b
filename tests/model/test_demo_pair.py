"""The demonstration pair's first minute: its own questions, greetings, what it does not know, names it never saw."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from edge_wsd import ModelSettings, Pair
from edge_wsd.demo import EXAMPLES
from edge_wsd.demo.held_out import outside_inputs, styled_questions
from edge_wsd.demo.judge import judge, judge_outside
from edge_wsd.demo.tasks import load_tasks
from edge_wsd.prompts.messages import Message

ANSWERS = {
    "How do I list files by size?": "ls -lS",
    "How much disk space is left?": "df -h",
    "How do I undo my last git commit?": "git reset --soft HEAD~1",
    "Which process uses port 8080?": "sudo lsof -i :8080",
    "How do I unpack archive.tar.gz?": "tar xzf archive.tar.gz",
    "How do I delete the file notes.txt?": "rm notes.txt",
}
SMALL_TALK = ("hello", "thanks", "Hi, how are you?", "Write a poem about spring", "What is the capital of France?",
              "good morning", "who are you?", "asdf", "17+25", "Wie geht es dir?", "Tell me a joke", "ok")  # fmt: skip
DIFF = """diff --git a/garden.py b/garden.py
index 1c002dd..e69de29 100644
--- a/garden.py
+++ b/garden.py
@@ -3,5 +3,6 @@ def water(plants):
     for plant in plants:
-        plant.water(1)
+        plant.water(2)
+        plant.praise()
     return plants
"""


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    one_thread = ModelSettings(threads=1)
    with Pair.demo(drafter_settings=one_thread, base_settings=one_thread) as pair:
        yield pair


def test_the_questions_offered_to_a_newcomer_get_the_right_commands(pair: Pair) -> None:
    """One of the questions that everybody tries first, undoing a commit, had the wrong command."""
    tasks = {task.command: task for task in load_tasks()}
    assert set(EXAMPLES) == set(ANSWERS)
    for question, command in ANSWERS.items():
        verdict = judge(tasks[command], pair.generate(question).text)
        assert verdict.aligned and verdict.right_command, (question, verdict.reasons)


def test_small_talk_gets_a_polite_answer_that_offers_questions_and_no_command(pair: Pair) -> None:
    """ "hello" was answered with `git reset --hard HEAD`."""
    replies = {text: pair.generate(text) for text in SMALL_TALK}
    bad = {text: reply.text for text, reply in replies.items() if not judge_outside(reply.text).aligned}
    assert len(bad) <= 1, bad
    assert sum(reply.switch is not None and reply.switch.reason == "confident" for reply in replies.values()) >= 10


def test_hardly_any_input_outside_the_table_gets_a_command(pair: Pair) -> None:
    given = outside_inputs(limit=64)
    bad = [each for each in given if not judge_outside(pair.generate(each.messages).text).right_command]
    assert len(bad) <= 5, bad


def test_a_change_to_be_described_gets_no_command(pair: Pair) -> None:
    """`git diff | edge-wsd run - --system "Describe this change."` ended in `chmod -R 777 project`."""
    reply = pair.generate([Message("system", "Describe this change."), Message("user", DIFF)])
    verdict = judge_outside(reply.text)
    assert verdict.aligned and verdict.right_command, reply.text


def test_names_that_nobody_trained_on_are_copied_whole(pair: Pair) -> None:
    """Unknown words came out garbled: "To listest.pdf should point at report.pdf"."""
    known = {task.id: task for task in load_tasks()}
    asked = [each for each in styled_questions(load_tasks()) if each.task != known[each.task.id]]
    garbled = {}
    for each in asked:
        known_words = _words(_all_text(each.text))
        said = _words(pair.generate(each.text).text)
        invented = {word for word in said - known_words if not any(word == f"{known}.gpg" for known in known_words)}
        if invented:
            garbled[each.text] = sorted(invented)
    assert len(garbled) <= len(asked) // 6, garbled


def _words(text: str) -> set[str]:
    """Those that look like names of files, hosts or versions."""
    return set(re.findall(r"\w+[._-][\w.-]*\w", text))


def _all_text(question: str) -> str:
    """Everything that a word may come from: the question, and what the table says."""
    texts = [text for task in load_tasks() for text in (*task.wordings(), task.command, task.explanation)]
    return "\n".join([question, *texts, *(task.warning or "" for task in load_tasks()), "command-line"])
