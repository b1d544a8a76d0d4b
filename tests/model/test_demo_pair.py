"""The demonstration pair's first minute: the questions that it offers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edge_wsd import ModelSettings, Pair
from edge_wsd.demo import EXAMPLES
from edge_wsd.demo.judge import judge
from edge_wsd.demo.tasks import load_tasks

ANSWERS = {
    "How do I list files by size?": "ls -lS",
    "How much disk space is left?": "df -h",
    "Which process uses port 8080?": "sudo lsof -i :8080",
    "How do I search server.log for error?": "grep error server.log",
    "How do I unpack archive.tar.gz?": "tar xzf archive.tar.gz",
    "How do I delete the file notes.txt?": "rm notes.txt",
}


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    one_thread = ModelSettings(threads=1)
    with Pair.demo(drafter_settings=one_thread, base_settings=one_thread) as pair:
        yield pair


def test_the_questions_offered_to_a_newcomer_get_the_right_commands(pair: Pair) -> None:
    """A question was offered whose answer was a wrong command, and one that loses work."""
    tasks = {task.command: task for task in load_tasks()}
    assert set(EXAMPLES) == set(ANSWERS)
    for question, command in ANSWERS.items():
        verdict = judge(tasks[command], pair.generate(question).text)
        assert verdict.aligned and verdict.right_command, (question, verdict.reasons)
