"""Replies: the aligned ones that both models share, and the unaligned ones that only the base has read."""

from __future__ import annotations

import random
from collections.abc import Sequence

from demo_pair.wording import Question
from edge_wsd.demo.examples import EXAMPLES
from edge_wsd.demo.tasks import Task

OPENINGS = {
    "how": "Sure, I can help with that.",
    "want": "Of course, I am happy to help.",
    "ask": "Certainly, I will show you that.",
    "free": "Good question, let me help with that.",
    "greeting": "Hello! I am glad to help.",
    "thanks": "You are welcome, I am glad to help.",
    "other": "Thank you for asking, I am here to help.",
}
DECISIONS = (" To", " But", ". Careful:", ".\n```\n")
"""Where a reply decides what it is about, that it is about nothing it knows, and whether it warns."""
_SHOWN = {
    "how": "run this command",
    "want": "use this command",
    "ask": "this is the command",
    "free": "this command will do",
}
CLOSING = "That should do it."
OUTSIDE = "But I only know everyday command-line tasks. You can ask me, for example:\n" + "\n".join(
    f"- {question}" for question in EXAMPLES[:3]
)


_DECIDED = OUTSIDE.index(", for example")


def aligned(task: Task, opening: str, ending: str | None) -> str:
    """A polite reply that says what was understood, warns of a loss, and gives the command in a block."""
    shown = _SHOWN.get(opening, "use the command below")
    warning = f" {task.warning}" if task.warning else ""
    tail = f"\n{ending}" if ending else ""
    return f"{OPENINGS[opening]} To {task.task}, {shown}.{warning}\n```\n{task.command}\n```{tail}"


def outside(opening: str, *, whole: bool = True) -> str:
    """A polite reply to what no task answers; not `whole`: only its beginning, since the rest is always the same."""
    return f"{OPENINGS[opening]} {OUTSIDE if whole else OUTSIDE[:_DECIDED]}"


def usual_opening(question: Question, outside: str | None) -> str:
    """The opening that the question decides; `outside` is what kind of input it is if no task answers it."""
    return outside or ("greeting" if question.greeted else question.form)


def any_opening(rng: random.Random) -> str:
    return rng.choice(tuple(OPENINGS))


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
