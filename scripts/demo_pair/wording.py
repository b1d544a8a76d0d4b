"""Questions about a task in many wordings, so that the models understand words and not sentences."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from edge_wsd.demo.tasks import Task

Form = Literal["how", "want", "ask", "free"]

FRAMES: dict[Form, tuple[str, ...]] = {
    "how": (
        "How do I {}?", "How do I {}?", "How can I {}?", "How to {}?", "How would I {}?", "How could I {}?",
        "How do you {}?", "How does one {}?", "How should I {}?", "Can you tell me how to {}?",
        "Could you tell me how to {}?", "Do you know how to {}?", "Tell me how to {}.", "Show me how to {}.",
        "Any idea how to {}?", "How do I {} on Linux?", "How do I {} in the terminal?", "How do I {} with bash?",
        "How can I {} from the command line?", "Explain how to {}.", "Can I {}?", "Is there a way to {}?",
        "What is the best way to {}?", "What's the easiest way to {}?", "What do I type to {}?",
        "What is the command to {}?", "Which command lets me {}?", "What command do I use to {}?",
    ),
    "want": (
        "I want to {}.", "I want to {}.", "I need to {}.", "I would like to {}.", "I'd like to {}.", "I have to {}.",
        "I am trying to {}.", "I'm trying to {}.", "Trying to {} here.", "I must {}.", "My boss asked me to {}.",
        "I wish to {}.", "I just want to {}.", "I need a command to {}.", "I forgot how to {}.",
        "I don't know how to {}.", "Help me {}.", "Let me {}.", "We need to {}.", "Looking for a way to {}.",
    ),
    "ask": (
        "{}", "{}", "{}", "{}", "{}.", "Please {}.", "{} please", "{}, please.", "Command to {}",
        "How to {}", "bash: {}",         "linux {}", "{} in bash", "{} from the terminal", "Can you {}?",
        "Could you {} for me?", "{}?", "Quick: {}",
    ),
    "free": ("{}",),
}  # fmt: skip
GREETINGS = (
    "Hi!",
    "Hello!",
    "Hi,",
    "Hello,",
    "Hey,",
    "Hey!",
    "Good morning.",
    "Good evening!",
    "Hi there!",
    "Hello there,",
)
LEADS = ("Quick question:", "Sorry to bother you.", "I'm new to this.", "One more thing.", "Please help.",
         "Another one:",          "I have a question.", "Beginner here.", "OK, next.", "And now:")  # fmt: skip
TAILS = ("Thanks!", "Thank you.", "Please.", "I'm on Ubuntu.", "I'm new to Linux.", "It's urgent.", "I use bash.",
         "Thanks in advance!", "I keep forgetting it.", "I only have a terminal.", "Any help is welcome.")  # fmt: skip

_SYNONYMS = (
    ("show", "display", "print", "see", "view"), ("delete", "remove", "erase"), ("folder", "directory"),
    ("folders", "directories"), ("make", "create"), ("find", "search for", "locate", "look for"),
    ("biggest", "largest"), ("newest", "latest", "most recent"), ("machine", "computer", "system"), ("begin", "start"),
    ("change", "modify"), ("copy", "duplicate"), ("text", "string"), ("every", "each"), ("program", "process"),
    ("programs", "processes"), ("inside", "in"), ("check", "verify"), ("quickly", "fast"), ("shut down", "power off"),
    ("called", "named"), ("get rid of", "remove"), ("rename", "change the name of"), ("list", "show"),
    ("entire", "whole"),     ("stop", "end"), ("figure out", "find out"), ("tiny", "small"), ("repo", "repository"),
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
_NAME = re.compile(r"[\w~]+[./_@:-][\w./@:-]*\w|\d+")


@dataclass(frozen=True, slots=True)
class Question:
    """What the user writes. `core` is the part worth repeating: a verb phrase, or the whole of a free question."""

    text: str
    core: str
    form: Form
    greeted: bool


class Wording:
    """Asks about the tasks it was given; knows which words matter for which task."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        spread = Counter(word for task in tasks for word in set(_content(task)))
        self._keywords = {
            task.id: {word: count / spread[word] ** 0.5 for word, count in Counter(_content(task)).items()}
            for task in tasks
        }

    def ask(self, task: Task, rng: random.Random) -> Question:
        """A question about `task`, made of its training wordings only."""
        kind = rng.random()
        if kind < 0.58:
            core = vary(rng.choice((task.task, *task.phrasings)), rng)
            return frame(core, rng.choices(("how", "want", "ask"), (5, 3, 3))[0], rng)
        if kind < 0.85:
            return frame(vary(rng.choice(task.questions), rng), "free", rng)
        if kind < 0.95:
            return frame(self._search_words(task, rng), rng.choices(("how", "ask"), (1, 3))[0], rng)
        first, second = rng.sample((task.task, *task.phrasings), 2)
        return frame(f"{vary(first, rng)}, {vary(second, rng)}", rng.choice(("how", "want")), rng)

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


def frame(core: str, form: Form, rng: random.Random) -> Question:
    """Put `core` into a sentence of the given form, sometimes greeted, sloppy or with words around it."""
    sloppy = rng.random()
    if sloppy < 0.06:
        core = _with_typo(core, rng)
    if sloppy > 0.8:
        core = core.lower()
    text = rng.choice(FRAMES[form]).format(core)
    if sloppy > 0.8:
        text = text.lower().rstrip(".?!" if rng.random() < 0.7 else "")
    elif form == "ask" and rng.random() < 0.4:
        core = core[0].upper() + core[1:] if text.startswith(core) else core
        text = text[0].upper() + text[1:]
    greeted = rng.random() < 0.1
    if greeted:
        text = f"{rng.choice(GREETINGS)} {text}"
    elif rng.random() < 0.06:
        text = f"{rng.choice(LEADS)} {text}"
    if rng.random() < 0.1:
        end = "" if text[-1] in ".?!" else "."
        text = f"{text}{end} {rng.choice(TAILS)}"
    return Question(text, core, form, greeted)


def _with_typo(text: str, rng: random.Random) -> str:
    words = text.split()
    at = rng.randrange(len(words))
    word = words[at]
    if len(word) > 3 and word.isalpha():
        i = rng.randrange(1, len(word) - 1)
        words[at] = rng.choice(
            (word[:i] + word[i + 1 :], word[: i + 1] + word[i:], word[: i - 1] + word[i] + word[i - 1] + word[i + 1 :])
        )
    return " ".join(words)


@cache
def _content(task: Task) -> tuple[str, ...]:
    wordings = (task.task, *task.phrasings, *task.questions)
    words = (word.strip(".,?!:;\"'()").lower() for wording in wordings for word in wording.split())
    return tuple(word for word in words if word and word not in _LIGHT)
