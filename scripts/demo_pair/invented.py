"""Questions about tasks that do not exist: they teach a drafter to restate any wording, and to warn by wording."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from demo_pair.wording import Question, frame
from edge_wsd.demo.tasks import Task

_DESTRUCTIVE = (
    "delete", "remove", "erase", "wipe", "destroy", "overwrite", "kill", "discard", "throw away", "get rid of", "purge",
    "reset", "empty", "clear out", "format", "force", "drop", "uninstall", "undo", "shred", "trash", "revert", "cancel",
    "terminate", "blank out", "nuke", "clean up", "clean out", "replace", "flush", "forget", "abort", "truncate",
    "wipe out", "permanently delete", "forcibly stop", "force kill", "hard reset", "zero out", "roll back",
    "write over", "make empty", "throw out", "drop all", "remove every", "delete all", "reformat", "cut down",
)  # fmt: skip
_DESTRUCTIVE_ENDS = (
    "for good", "permanently", "by force", "without asking", "beyond recovery", "and lose the changes",
    "so nobody can recover it", "and everything in it", "with all its files", "so that it is gone", "forever",
)  # fmt: skip
_HARMLESS = (
    "list", "show", "display", "see", "view", "count", "find", "search for", "print", "read", "open", "check", "sort",
    "compare", "copy", "download", "connect to", "look at", "measure", "watch", "follow", "name", "create", "make",
    "start", "install", "compress", "pack", "add", "set", "get", "test", "join", "split", "convert", "tell", "know",
    "find out", "look up", "calculate", "repeat", "restart", "mount", "inspect", "explain", "save", "send", "log in to",
    "change", "edit", "run", "schedule", "build", "number", "extract", "unpack", "move", "rename", "log", "query",
)  # fmt: skip
_QUESTION_STARTS = (
    "Which", "What", "Where is", "Where are", "How many", "How much", "How long", "Who", "Is", "Are there any",
    "When did",     "Why is", "What is", "Which of the", "Can I see", "Does", "Please show", "Did", "My", "The",
    "Something", "Give me",
    "What are", "I keep losing", "I don't see", "How big is", "How old is", "There are too many",
)  # fmt: skip
_JOINTS = ("of", "in", "with", "from", "to", "for", "on", "the", "all", "my", "and", "every", "by", "this", "a", "that")


class Inventor:
    """Makes up requests out of the words of the table, without its facts."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        wordings = (w for task in tasks for w in (task.task, *task.phrasings, *task.questions))
        words = {word.strip(".,?!:;\"'()") for wording in wordings for word in wording.split()}
        danger = {word for verb in _DESTRUCTIVE for word in verb.split()}
        stems = re.compile(r"(?i)(delet|remov|eras|wip|destroy|kill|discard|trash|overwr|purg|reset|shred)")
        self._words = sorted(w for w in words if w and w not in danger and not stems.search(w))

    def ask(self, rng: random.Random) -> tuple[Question, bool]:
        """A question, and whether it sounds as if data were lost."""
        destroys = rng.random() < 0.4
        if rng.random() < 0.7:
            verb = rng.choice(_DESTRUCTIVE if destroys else _HARMLESS)
            core = f"{verb} {self._things(rng)}"
            if destroys and rng.random() < 0.15:
                core = f"{rng.choice(_HARMLESS)} {self._things(rng)} {rng.choice(_DESTRUCTIVE_ENDS)}"
            return frame(core, rng.choices(("how", "want", "ask"), (5, 4, 3))[0], rng), destroys
        core = f"{rng.choice(_QUESTION_STARTS)} {self._things(rng)}"
        if destroys:
            core += (
                f" {rng.choice(('to', 'and', 'please', 'I want to', 'how do I', 'can you'))} {rng.choice(_DESTRUCTIVE)}"
            )
            core += rng.choice((" it", " them", " that", f" {self._things(rng)}"))
        core += rng.choice("??.!")
        return frame(core, "free", rng), destroys

    def _things(self, rng: random.Random) -> str:
        words = []
        for _ in range(rng.randint(1, 7)):
            words.append(rng.choice(_JOINTS) if rng.random() < 0.3 else rng.choice(self._words))
        if rng.random() < 0.08:
            first = rng.randrange(len(words))
            last = min(len(words) - 1, first + rng.randint(0, 2))
            words[first] = '"' + words[first]
            words[last] += '"'
        return " ".join(words)
