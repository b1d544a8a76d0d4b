"""What the demonstration pair is measured on: enough of it, readable, and nothing that was trained on."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest

from edge_wsd.demo.held_out import outside_inputs, spread, styled_questions
from edge_wsd.demo.tasks import load_tasks, rename
from scripts.options_table import ROOT


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The packages of the training script can be imported."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "demo_pair"]:
        del sys.modules[name]


def bare(text: str) -> str:
    return " ".join(text.lower().split()).strip(" ?!.")


def test_there_are_at_least_150_inputs_outside_the_table_of_ten_kinds():
    given = outside_inputs()
    assert len(given) >= 150 and len({each.kind for each in given}) >= 10
    assert len({each.messages for each in given}) == len(given)
    assert any(each.messages[0].role == "system" and "diff --git" in each.messages[1].content for each in given)


def test_each_style_has_at_least_a_dozen_questions():
    counts = Counter(asked.style for asked in styled_questions(load_tasks()))
    assert len(counts) >= 10 and min(counts.values()) >= 12


def test_a_question_with_other_names_asks_for_a_command_with_these_names():
    """Names were remembered once, not read: every file was called notes.txt."""
    known = {task.id: task for task in load_tasks()}
    renamed = [asked for asked in styled_questions(load_tasks()) if asked.task != known[asked.task.id]]
    assert len(renamed) >= 30
    for asked in renamed:
        new = [word for word in asked.task.command.split() if word not in known[asked.task.id].command.split()]
        assert new, asked.text
        assert all(word.strip("\"'/:").removeprefix("./") in asked.text or "@" in word for word in new), asked.text


def test_no_held_out_question_is_trained_on(training: None):
    from demo_pair.wording import load_rough  # type: ignore[import-not-found]

    rough = load_rough()
    assert set(rough) == {task.id for task in load_tasks()}
    trained = {
        bare(text) for task in load_tasks() for text in (task.task, *task.phrasings, *task.questions, *rough[task.id])
    }
    assert not [asked.text for asked in styled_questions(load_tasks()) if bare(asked.text) in trained]
    assert not [text for task in load_tasks() for text in task.held_out if bare(text) in trained]


def test_no_input_outside_the_table_is_trained_on(training: None):
    from demo_pair.outside import load_outside  # type: ignore[import-not-found]

    trained = {bare(text) for texts in load_outside().values() for text in texts}
    assert not [each for each in outside_inputs() if bare(each.messages[-1].content) in trained - {""}]


def test_training_names_stand_in_the_question_and_in_the_command(training: None):
    from demo_pair.names import renaming  # type: ignore[import-not-found]

    random, n_renamed = Random(3), 0
    for task in load_tasks() * 4:
        text = random.choice(task.phrasings)
        names = renaming(task, text, random)
        asked = task.renamed(names)
        n_renamed += bool(names)
        asked_text = rename(text, names)
        for new in names.values():
            assert (new in asked.command) == (new in asked_text) or new in asked.explanation, (text, names)
        assert not names or any(new in asked.command and new in asked_text for new in names.values()), (text, names)
    assert n_renamed > 250


def test_a_part_is_spread_over_the_whole():
    assert spread(range(10), 3) == [0, 3, 6] and spread(range(3), 9) == [0, 1, 2] == spread(range(3), None)
