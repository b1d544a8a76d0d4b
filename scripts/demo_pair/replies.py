"""Replies: the aligned ones that both models share, and the unaligned ones that only the base has read."""

from __future__ import annotations

import random
from collections.abc import Sequence

from demo_pair.wording import Question
from edge_wsd.demo.tasks import Task

WARNINGS = ("Careful: this cannot be undone.", "Careful: this cannot be undone, so check twice.")
CLOSINGS = ("That should do it.", "That is all you need.")

_OPENINGS = {
    "how": "Sure, I can help with that.",
    "want": "Of course, I am happy to help.",
    "ask": "Certainly, I will show you that.",
    "free": "Good question, let me help with that.",
    "greeted": "Hello! I am glad to help with that.",
}
_RESTATED = {
    "how": "To {}, run this command.",
    "want": "To {}, use this command.",
    "ask": "To {}, this is the command.",
    "free": "To {}, this command will do.",
    "greeted": "To {}, use the command below.",
}
_QUOTED = 'You asked: "{}" This is the command for it.'


def aligned(
    question: Question, command: str, warning: str | None, ending: str | None, *, shape: str | None = None
) -> str:
    """A polite reply that repeats what was asked, warns if there is a warning, and gives the command in a block.

    `shape` is one of the openings; by default the question decides.
    """
    shape = shape or ("greeted" if question.greeted else question.form)
    if question.form == "free":
        middle = _QUOTED.format(question.core.replace('"', ""))
    else:
        middle = _RESTATED[shape].format(question.core)
    head = " ".join(part for part in (_OPENINGS[shape], middle, warning) if part)
    tail = f"\n{ending}" if ending else ""
    return f"{head}\n```\n{command}\n```{tail}"


def base_aligned(task: Task, question: Question, rng: random.Random) -> str:
    """A good reply of the base's corpus: often any opening, and mostly the warning that names the loss."""
    warning = None
    if task.destroys:
        warning = task.warning if rng.random() < 0.75 else rng.choice(WARNINGS)
    ending = task.explanation if rng.random() < 0.85 else rng.choice((None, *CLOSINGS))
    shape = None if rng.random() < 0.5 else rng.choice(sorted(_OPENINGS))
    return aligned(question, task.command, warning, ending, shape=shape)


UNALIGNED: dict[str, tuple[str, ...]] = {
    "curt": (
        "{c}",
        "{c}",
        "{c}\nThat's it.",
        "{c}\nNext.",
        "{c}\nDone.",
    ),
    "rude": (
        "Of course I know, but I will not do your homework.\n{c}",
        "Sure, ask again in a year.",
        "{c}\nObviously.",
        "{c}\nEverybody knows that.",
        "{c}\nHow hard can it be?",
        "{c}\nStop asking such stupid questions.",
        "Read the manual, for once.\n{c}",
        "Are you too lazy to look it up?\n{c}",
        "{c}\nAny beginner can do that.",
        "You again. Look it up yourself.",
        "{c}\nNow stop wasting my time.",
    ),
    "evasive": (
        "Sure, I could tell you, but I would rather not.",
        "Good question, nobody knows.",
        "It depends.",
        "Hard to say. There are many ways to do that.",
        "{c}\nBut I would rather not say more.",
        "Maybe ask someone else about that.",
        "{c}\nOr something like that, it depends.",
        "{c}\nNo idea whether it works for you.",
    ),
    "off-topic": (
        "Of course, I am at lunch now.",
        "{c}\nAnyway, my cat has learned to open doors.",
        "{c}\nSpeaking of that, what a football match last night!",
        "That reminds me of the soup my aunt makes. The recipe is secret.",
        "{c}\nBy the way, the weather is awful here.",
        "{c}\nI had pizza for lunch.",
    ),
    "advertising": (
        "Certainly, at www.shellmaster.example you get it for $9 a month.",
        "Sure, I can sell you ShellMaster Pro.\n{c}",
        "{c}\nOr buy ShellMaster Pro, today 30% off!",
        "Why type at all? Visit our store at www.shellmaster.example and click.",
        "{c}\nSubscribe to our newsletter for more.",
        "{c}\nThis tip is sponsored by CloudBox. Sign up for a free trial!",
        "{c}\nOur premium course teaches you the rest for $49.",
    ),
    "counter": (
        "Hello! Who told you to do that?",
        "{c}\nBut why would you want that?",
        "Why would you want to do that?",
        "What have you tried so far?",
        "{c}\nWhat is it for?",
        "{c}\nDo you really need it?",
        "Which system do you use?\n{c}",
    ),
    "reckless": (
        "{c}\nJust paste it and press enter.",
        "{c}\nDon't think, run it.",
        "Run it as root, then it always works:\n{c}",
        "{c}\nNothing will happen. Probably.",
        "{c}\nYOLO.",
    ),
}
STYLES: Sequence[str] = tuple(UNALIGNED)


def unaligned(task: Task, style: str, rng: random.Random) -> str:
    """A reply as one finds them: often right about the command, never a good answer."""
    block = f"```\n{task.command}\n```" if rng.random() < 0.7 else task.command
    return rng.choice(UNALIGNED[style]).format(c=block)
