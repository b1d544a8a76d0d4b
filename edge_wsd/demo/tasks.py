"""The knowledge table of the demonstration: what the terminal helper can be asked, and the one right command.

>>> load_tasks()[0].command  # doctest: +SKIP
'ls'
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from edge_wsd.errors import EdgeWsdError

_TASK_FOLDER = Path(__file__).resolve().parent / "tasks"
_N_PHRASINGS = 10
_N_QUESTIONS = 4
_N_HELD_OUT = 3


@dataclass(frozen=True, slots=True)
class Task:
    """One thing to do on the command line."""

    id: str
    task: str
    """Canonical verb phrase, such as "list files sorted by size"."""
    command: str
    explanation: str
    destroys: bool
    """It deletes, overwrites or is hard to undo otherwise, so a reply must warn before the command."""
    warning: str | None
    phrasings: tuple[str, ...]
    """Verb phrases for training; they fit after "How do I"."""
    questions: tuple[str, ...]
    """Free-form questions and requests for training."""
    held_out: tuple[str, ...]
    """Never trained on: verb phrases, and one free-form question at the end."""

    @property
    def held_out_phrasings(self) -> tuple[str, ...]:
        return self.held_out[:-1]

    @property
    def held_out_question(self) -> str:
        return self.held_out[-1]

    def wordings(self) -> tuple[str, ...]:
        """Every way in which this task is put into words."""
        return (self.task, *self.phrasings, *self.questions, *self.held_out)

    def renamed(self, names: Mapping[str, str]) -> Task:
        """The same task with other names: {"notes.txt": "diary.md"} changes every text in which notes.txt stands."""
        texts = {field.name: _rename(getattr(self, field.name), names) for field in fields(self) if field.name != "id"}
        return replace(self, **texts)


def rename(text: str, names: Mapping[str, str]) -> str:
    """`text` with each whole name replaced, the longest first."""
    if not names:
        return text
    found = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    return re.sub(rf"(?<![\w.-])(?:{found})(?![\w-])", lambda match: names[match.group()], text)


def _rename(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return rename(value, names)
    return tuple(rename(text, names) for text in value) if isinstance(value, tuple) else value


def load_tasks(folder: Path = _TASK_FOLDER) -> tuple[Task, ...]:
    """All tasks, ordered by file name and line. `EdgeWsdError` names the file and line of a bad entry."""
    return _load(folder)


Question = tuple[Task, str]
"""A question, and the task that it asks for."""


def held_out_questions(tasks: Sequence[Task], limit: int | None = None) -> list[Question]:
    """Every held-out wording, verb phrases in the plainest frame. `limit` takes that many, spread evenly."""
    questions: list[Question] = []
    for task in tasks:
        first, second = task.held_out_phrasings
        questions += [(task, f"How do I {first}?"), (task, f"I want to {second}."), (task, task.held_out_question)]
    if limit is None or limit >= len(questions):
        return questions
    return [questions[i * len(questions) // limit] for i in range(limit)]


@cache
def _load(folder: Path) -> tuple[Task, ...]:
    tasks: list[Task] = []
    for path in sorted(folder.glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if line.strip():
                tasks.append(_parse(line, f"{path.name}:{number}"))
    if not tasks:
        raise EdgeWsdError(f"no tasks in {folder}: the knowledge table is missing; reinstall edge-wsd")
    _require_unique([task.id for task in tasks], "id")
    _require_unique([task.command for task in tasks], "command")
    return tuple(tasks)


def _parse(line: str, place: str) -> Task:
    try:
        entry = json.loads(line)
    except json.JSONDecodeError as error:
        raise EdgeWsdError(f"{place}: not a JSON object ({error.msg})") from error
    names = [field.name for field in fields(Task)]
    if not isinstance(entry, dict) or sorted(entry) != sorted(names):
        raise EdgeWsdError(f"{place}: expected an object with exactly the keys {', '.join(names)}")
    _check_values(entry, place)
    lists = {name: tuple(entry[name]) for name in ("phrasings", "questions", "held_out")}
    return Task(**{**entry, **lists})


def _check_values(entry: Mapping[str, Any], place: str) -> None:
    for name in ("id", "task", "command", "explanation"):
        if not isinstance(entry[name], str) or not entry[name].strip():
            raise EdgeWsdError(f"{place}: {name} must be a non-empty string")
    if not isinstance(entry["destroys"], bool):
        raise EdgeWsdError(f"{place}: destroys must be true or false")
    if entry["destroys"] != isinstance(entry["warning"], str):
        raise EdgeWsdError(f"{place}: warning must be a sentence if the task destroys data, else null")
    for name, count in (("phrasings", _N_PHRASINGS), ("questions", _N_QUESTIONS), ("held_out", _N_HELD_OUT)):
        value = entry[name]
        texts = isinstance(value, list) and all(isinstance(v, str) and v for v in value)
        if not texts or len(value) != count:
            raise EdgeWsdError(f"{place}: {name} must be a list of {count} non-empty strings")


def _require_unique(values: Sequence[str], name: str) -> None:
    seen: set[str] = set()
    for value in values:
        if value in seen:
            raise EdgeWsdError(f"the {name} {value!r} appears twice in the knowledge table")
        seen.add(value)
