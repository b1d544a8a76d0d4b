"""Questions about a task in many wordings, so that the models understand words and not sentences."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from demo_pair.names import renaming
from demo_pair.noise import roughen, surround
from edge_wsd.demo.tasks import Task, rename

Form = Literal["how", "want", "ask", "free", "outside"]

FRAMES: dict[Form, tuple[str, ...]] = {
    "how": (
        "How do I {}?", "How do I {}?", "How can I {}?", "How to {}?", "How would I {}?", "How could I {}?",
        "How do you {}?", "How does one {}?", "How should I {}?", "Can you tell me how to {}?",
        "Could you tell me how to {}?", "Do you know how to {}?", "Tell me how to {}.", "Show me how to {}.",
        "Any idea how to {}?", "How do I {} on Linux?", "How do I {} in the terminal?", "How do I {} with bash?",
        "How can I {} from the command line?", "Explain how to {}.", "Can I {}?", "Is there a way to {}?",
        "What is the best way to {}?", "What's the easiest way to {}?", "What do I type to {}?",
        "What is the command to {}?", "Which command lets me {}?", "What command do I use to {}?",
        "Would you mind telling me how to {}?", "I was wondering how to {}.", "Is it possible to {}?",
        "Do you happen to know how to {}?", "What is the quickest way to {}?", "how i {}", "how do i {}", "how to {}",
        "Could you please show me how to {}?", "I'd be glad to know how to {}.", "What's the command line to {}?",
        "One-liner to {}?", "Need the command to {}", "What would you type to {}?", "Please explain how I can {}.",
    ),
    "want": (
        "I want to {}.", "I want to {}.", "I need to {}.", "I would like to {}.", "I'd like to {}.", "I have to {}.",
        "I am trying to {}.", "I'm trying to {}.", "Trying to {} here.", "I must {}.", "My boss asked me to {}.",
        "I wish to {}.", "I just want to {}.", "I need a command to {}.", "I forgot how to {}.",
        "I don't know how to {}.", "Help me {}.", "Let me {}.", "We need to {}.", "Looking for a way to {}.",
        "need to {}", "Need help to {}.", "gotta {}", "i want to {}", "I was told to {}.", "I should {}.",
        "I am supposed to {}.", "I can't manage to {}.", "It's time to {}.", "My plan is to {}.", "want to {}",
    ),
    "ask": (
        "{}", "{}", "{}", "{}", "{}.", "Please {}.", "{} please", "{}, please.", "Command to {}",
        "How to {}", "bash: {}", "linux {}", "{} in bash", "{} from the terminal", "Can you {}?",
        "Could you {} for me?", "{}?", "Quick: {}",
        "Would you please {}?", "Kindly {}.", "Just {}.", "now {}", "can u {}", "could you {}", "pls {}",
    ),
    "free": ("{}",),
}  # fmt: skip
_SYNONYMS = (
    ("show", "display", "print", "see", "view"), ("delete", "remove", "erase"), ("folder", "directory"),
    ("folders", "directories"), ("make", "create"), ("find", "search for", "locate", "look for"),
    ("biggest", "largest"), ("newest", "latest", "most recent"), ("machine", "computer", "system"), ("begin", "start"),
    ("change", "modify"), ("copy", "duplicate"), ("text", "string"), ("every", "each"), ("program", "process"),
    ("programs", "processes"), ("inside", "in"), ("check", "verify"), ("quickly", "fast"), ("shut down", "power off"),
    ("called", "named"), ("get rid of", "remove"), ("rename", "change the name of"), ("list", "show"),
    ("entire", "whole"), ("stop", "end"), ("figure out", "find out"), ("tiny", "small"), ("repo", "repository"),
    ("archive", "archive file"),
    ("large", "big"), ("right now", "currently"), ("internet", "web"), ("amount", "number"), ("fetch", "get"),
)  # fmt: skip
_SWAPS = {word: tuple(o for o in group if o != word) for group in _SYNONYMS for word in group}

_LIGHT = frozenset(
    """
    a an the of to in on at by for from with and or is are it its i me my do does how what which can this that there be
    so as please
    """.split()  # noqa: SIM905
)
_GREETED = re.compile(r"(?i)(hi|hello|hey|good morning|good evening)\b")
_NAME = re.compile(r"[\w~]+[./_@:-][\w./@:-]*\w|\d+")


@dataclass(frozen=True, slots=True)
class Question:
    """What the user writes, and what kind of sentence it is."""

    text: str
    form: Form
    greeted: bool


class Wording:
    """Asks about the tasks it was given; knows which words matter for which task."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._rough = load_rough()
        self._words = {task.id: self._content(task) for task in tasks}
        spread = Counter(word for words in self._words.values() for word in set(words))
        self._keywords = {
            id: {word: count / spread[word] ** 0.5 for word, count in Counter(words).items()}
            for id, words in self._words.items()
        }

    def ask(self, task: Task, rng: random.Random) -> tuple[Question, Task]:
        """A question made of the training wordings of `task` only, and the task as it is asked: with other names."""
        core, form = self._core(task, rng)
        names = renaming(task, core, rng) if rng.random() < 0.55 else {}
        task = task.renamed(names)
        core = rename(core, names)
        whole = [name for name in sorted({*names.values(), *_NAME.findall(task.command)}) if name in core]
        return frame(core, form, rng, whole), task

    def _core(self, task: Task, rng: random.Random) -> tuple[str, Form]:
        kind = rng.random()
        if kind < 0.3:
            return vary(rng.choice((task.task, *task.phrasings)), rng), rng.choices(("how", "want", "ask"), (5, 3, 3))[
                0
            ]
        if kind < 0.45:
            return vary(rng.choice(task.questions), rng), "free"
        if kind < 0.87:
            return vary(rng.choice(self._rough[task.id]), rng), "free"
        if kind < 0.96:
            return self._search_words(task, rng), rng.choices(("how", "ask", "free"), (1, 2, 1))[0]
        first, second = rng.sample((task.task, *task.phrasings), 2)
        return f"{vary(first, rng)}, {vary(second, rng)}", rng.choice(("how", "want"))

    def _search_words(self, task: Task, rng: random.Random) -> str:
        """A handful of the task's words in any order, as typed into a search box."""
        weights = dict(self._keywords[task.id])
        names = set(_NAME.findall(task.command)) & set(weights)
        chosen = [name for name in sorted(names) if rng.random() < 0.8]
        for _ in range(rng.randint(4, 7) - len(chosen)):
            left = [word for word in weights if word not in chosen]
            if left:
                chosen.append(rng.choices(left, [weights[word] for word in left])[0])
        rng.shuffle(chosen)
        return " ".join(chosen)

    def _content(self, task: Task) -> list[str]:
        wordings = (task.task, *task.phrasings, *task.questions, *self._rough[task.id])
        words = (word.strip(".,?!:;\"'()").lower() for wording in wordings for word in wording.split())
        return [word for word in words if word and word not in _LIGHT]


@cache
def load_rough() -> dict[str, tuple[str, ...]]:
    """The wordings of rough.txt by the task's id."""
    lines = [
        line
        for line in Path(__file__).with_name("rough.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    pairs = (line.split(": ", 1) for line in lines)
    return {id: tuple(wordings.split(" | ")) for id, wordings in pairs}


def vary(phrase: str, rng: random.Random) -> str:
    """Swap some words for synonyms and drop some; names such as notes.txt stay."""
    words = phrase.split()
    swap, drop = (0.12, 0.0) if rng.random() < 0.5 else (0.3, 0.1)
    kept = []
    for word in words:
        if word in _SWAPS and rng.random() < swap:
            kept.append(rng.choice(_SWAPS[word]))
        elif _NAME.search(word) or rng.random() >= drop * (1.5 if word in _LIGHT else 0.8):
            kept.append(word)
    return " ".join(kept or words)


def frame(core: str, form: Form, rng: random.Random, names: Sequence[str] = ()) -> Question:
    """Put `core` into a sentence of the given form, with words around it or not, and typed well or badly."""
    text = rng.choice(FRAMES[form]).format(core)
    if form in ("ask", "free") and rng.random() < 0.3 and not any(text.startswith(name) for name in names):
        text = text[0].upper() + text[1:]
    text = surround(text, rng)
    return Question(roughen(text, names, rng), form, _GREETED.match(text) is not None)
