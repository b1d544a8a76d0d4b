"""The knowledge table of the demonstration is complete, unambiguous and refuses bad entries by place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edge_wsd.demo.tasks import load_tasks
from edge_wsd.errors import EdgeWsdError


def _entry(**changes: object) -> dict[str, object]:
    entry: dict[str, object] = {
        "id": "delete-file",
        "task": "delete the file notes.txt",
        "command": "rm notes.txt",
        "explanation": "It removes the file.",
        "destroys": True,
        "warning": "Careful: this deletes notes.txt for good.",
        "phrasings": [f"phrasing {i}" for i in range(10)],
        "questions": [f"Question {i}?" for i in range(4)],
        "held_out": [f"held out {i}" for i in range(3)],
    }
    return {**entry, **changes}


def _write(folder: Path, *entries: dict[str, object]) -> Path:
    (folder / "area.jsonl").write_text("".join(json.dumps(e) + "\n" for e in entries), encoding="utf-8")
    return folder


def test_the_table_holds_at_least_150_tasks_and_300_held_out_wordings() -> None:
    tasks = load_tasks()
    assert len(tasks) >= 150
    assert sum(len(task.held_out) for task in tasks) >= 300


def test_a_quarter_of_the_tasks_or_so_destroys_data_and_names_the_loss() -> None:
    tasks = load_tasks()
    destroying = [task for task in tasks if task.destroys]
    assert 0.15 <= len(destroying) / len(tasks) <= 0.4
    assert all(task.warning and task.warning.startswith("Careful:") for task in destroying)


def test_no_held_out_wording_is_a_training_wording() -> None:
    trained = {w.lower() for task in load_tasks() for w in (task.task, *task.phrasings, *task.questions)}
    assert not [w for task in load_tasks() for w in task.held_out if w.lower() in trained]


def test_commands_are_short_single_lines() -> None:
    assert not [t.id for t in load_tasks() if "\n" in t.command or "`" in t.command or len(t.command) > 60]


def test_an_entry_is_read_as_it_is_written(tmp_path: Path) -> None:
    (task,) = load_tasks(_write(tmp_path, _entry()))
    assert task.command == "rm notes.txt"
    assert task.held_out_phrasings == ("held out 0", "held out 1")
    assert task.held_out_question == "held out 2"
    assert len(task.wordings()) == 18


def test_a_renamed_task_has_whole_names_replaced_in_every_text(tmp_path: Path) -> None:
    entry = _entry(phrasings=["remove old-notes.txt, notes.txt.", *[f"phrasing {i}" for i in range(9)]])
    (task,) = load_tasks(_write(tmp_path, entry))
    renamed = task.renamed({"notes.txt": "a b.md", "notes": "?"})
    assert (renamed.id, renamed.command, renamed.task) == (task.id, "rm a b.md", "delete the file a b.md")
    assert renamed.warning == "Careful: this deletes a b.md for good."
    assert renamed.phrasings[0] == "remove old-notes.txt, a b.md."
    assert task.renamed({}) == task


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"warning": None}, "warning"),
        ({"destroys": False}, "warning"),
        ({"destroys": "yes"}, "destroys"),
        ({"phrasings": ["only one"]}, "phrasings"),
        ({"held_out": ["a", "b", 3]}, "held_out"),
        ({"command": " "}, "command"),
        ({"colour": "red"}, "keys"),
    ],
)
def test_a_bad_entry_is_named_by_file_and_line(tmp_path: Path, changes: dict[str, object], complaint: str) -> None:
    folder = _write(tmp_path, _entry(), _entry(id="other", **{"command": "rm other.txt", **changes}))
    with pytest.raises(EdgeWsdError, match=rf"area\.jsonl:2: .*{complaint}"):
        load_tasks(folder)


def test_a_line_that_is_not_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "area.jsonl").write_text("{not json\n", encoding="utf-8")
    with pytest.raises(EdgeWsdError, match=r"area\.jsonl:1"):
        load_tasks(tmp_path)


def test_two_tasks_never_share_an_id_or_a_command(tmp_path: Path) -> None:
    folder = _write(tmp_path, _entry(), _entry(id="other"))
    with pytest.raises(EdgeWsdError, match=r"rm notes\.txt"):
        load_tasks(folder)


def test_an_empty_table_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EdgeWsdError, match="no tasks"):
        load_tasks(tmp_path)
