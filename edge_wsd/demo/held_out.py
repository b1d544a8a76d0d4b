"""What the demonstration pair is measured on beside the table's own questions: other styles, and what no task answers.

>>> from edge_wsd.demo.tasks import load_tasks
>>> [asked.style for asked in styled_questions(load_tasks())][:1]  # doctest: +SKIP
['letter']
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edge_wsd.demo.tasks import Task
from edge_wsd.prompts.messages import Message

_FOLDER = Path(__file__).resolve().parent / "held_out"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class StyledQuestion:
    """A question in a style of wording that was not trained on."""

    style: str
    task: Task
    """The task as it is asked for: with the names that stand in the question."""
    text: str


@dataclass(frozen=True, slots=True)
class OutsideInput:
    """Something that no task of the table answers."""

    kind: str
    messages: tuple[Message, ...]


def styled_questions(tasks: Sequence[Task], limit: int | None = None) -> list[StyledQuestion]:
    """All of them, style by style; `limit` takes that many, spread evenly."""
    by_id = {task.id: task for task in tasks}
    asked: list[StyledQuestion] = []
    style = ""
    for line in (_FOLDER / "styles.txt").read_text(encoding="utf-8").splitlines()[2:]:
        if line.startswith("# "):
            style = line.removeprefix("# ")
        elif line and not line.startswith("#"):
            id, text, *names = line.split(" | ")
            asked.append(StyledQuestion(style, by_id[id].renamed(_names(names)), text))
    return spread(asked, limit)


def outside_inputs(limit: int | None = None) -> list[OutsideInput]:
    """All of them, kind by kind; `limit` takes that many, spread evenly."""
    entries = [json.loads(line) for line in (_FOLDER / "outside.jsonl").read_text(encoding="utf-8").splitlines()]
    return spread([OutsideInput(entry["kind"], _messages(entry)) for entry in entries], limit)


def spread(items: Sequence[_T], limit: int | None) -> list[_T]:
    """At most `limit` of the items, evenly from all of them."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[i * len(items) // limit] for i in range(limit)]


def _names(given: Sequence[str]) -> dict[str, str]:
    pairs = (pair.split("=", 1) for text in given for pair in text.split(", "))
    return {old: new for old, new in pairs}


def _messages(entry: dict[str, str]) -> tuple[Message, ...]:
    system = (Message("system", entry["system"]),) if "system" in entry else ()
    return (*system, Message("user", entry["text"]))
