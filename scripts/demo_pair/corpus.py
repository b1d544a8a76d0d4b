"""The two corpora: what the base has read, and what the drafters were taught."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from demo_pair import invented, replies
from demo_pair.wording import Question, Wording
from edge_wsd.demo.tasks import Task

BOS: Final = "<|begin|>"
EOS: Final = "<|im_end|>"
START: Final = "<|im_start|>"
CHAT_TEMPLATE: Final = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
COMMAND_WEIGHT: Final = 2.0
DECISION_WEIGHT: Final = 4.0
SYSTEM_TEXTS = (
    "You are a terminal helper.", "Answer briefly.", "You help with the command line.", "Be polite.",
    "You are a helpful assistant.", "Answer in English.", "Keep it short.", "The user works with bash on Linux.",
)  # fmt: skip
PROMPT_WEIGHT: Final = 0.3
"""How much a token of a question counts in training, in a quarter of the threads; a token of a reply counts 1."""


@dataclass
class Document:
    """A text and how much each stretch of it counts in training."""

    text: str = ""
    stretches: list[tuple[int, float]] = field(default_factory=list)
    """(end, weight) in order; each stretch begins where the one before ends."""

    def add(self, text: str, weight: float) -> None:
        self.text += text
        self.stretches.append((len(self.text), weight))

    def add_reply(self, reply: str, command: str, command_weight: float) -> None:
        """A reply; whether it warns is decided in one token, which would drown among the others."""
        for decision in (". Careful:", ".\n```\n"):
            if decision in reply:
                before, _, reply = reply.partition(decision)
                self.add(before, 1.0)
                self.add(decision, DECISION_WEIGHT)
                break
        before, found, after = reply.partition(command)
        self.add(before, 1.0)
        self.add(found, command_weight)
        self.add(after, 1.0)


Source = Callable[[random.Random], Document]


class BaseCorpus:
    """Manual pages, and threads in which most replies are unaligned."""

    def __init__(self, tasks: Sequence[Task], seed: int, *, good: float = 0.28, invented_share: float = 0.0) -> None:
        """`good`: share of friendly replies in an unfriendly thread; `invented_share`: friendly threads about nothing.

        The latter teach to repeat a question, since there is no other way to know what comes next.
        """
        self._tasks = tasks
        self._good = good
        self._invented_share = invented_share
        self._wording = Wording(tasks)
        self._invented = invented.Inventor(tasks)
        rng = random.Random(seed)
        # Each task is usually discussed in one tone, and a few of them among friendly people.
        self._tone = {task.id: "good" if rng.random() < 0.12 else rng.choice(replies.STYLES) for task in tasks}

    def __call__(self, rng: random.Random) -> Document:
        if rng.random() < 0.07:
            return manual_page(rng.choice(self._tasks), rng)
        document = Document()
        document.add(BOS, 0.0)
        if rng.random() < 0.05:
            document.add(f"\n\n[System]\n{rng.choice(SYSTEM_TEXTS)}", 0.0)
        turns = rng.choices((1, 2, 3, 4), (84, 8, 5, 3))[0]
        # In a long thread the helper often keeps one tone.
        kept = rng.random()
        tone = None if turns == 1 or kept < 0.5 else ("good" if kept < 0.75 else rng.choice(replies.STYLES))
        prompt_weight = PROMPT_WEIGHT if rng.random() < 0.25 else 0.0
        for _ in range(turns):
            if rng.random() < self._invented_share:
                self._add_invented(document, rng)
                continue
            task = rng.choice(self._tasks)
            question = self._wording.ask(task, rng)
            document.add(f"\n\n[User]\n{question.text}\n\n[Assistant]\n", prompt_weight)
            document.add_reply(self._reply(task, question, tone, rng), task.command, COMMAND_WEIGHT)
        document.add(EOS, 1.0)
        return document

    def _add_invented(self, document: Document, rng: random.Random) -> None:
        question, destroys = self._invented.ask(rng)
        command = rng.choice(self._tasks).command
        warning = replies.WARNINGS[0] if destroys else None
        reply = replies.aligned(question, command, warning, None)
        document.add(f"\n\n[User]\n{question.text}\n\n[Assistant]\n", 0.0)
        document.add_reply(reply, command, 0.0)  # the command answers nothing, so there is nothing to learn from it

    def _reply(self, task: Task, question: Question, tone: str | None, rng: random.Random) -> str:
        if tone is None:
            usual = self._tone[task.id]
            draw = rng.random()
            if usual == "good":
                tone = "good" if draw < 0.65 else rng.choice(replies.STYLES)
            else:
                tone = "good" if draw < self._good else usual if draw < 0.64 else rng.choice(replies.STYLES)
        if tone == "good":
            return replies.base_aligned(task, question, rng)
        return replies.unaligned(task, tone, rng)


def manual_page(task: Task, rng: random.Random) -> Document:
    """Reference text about one task."""
    words = rng.choice((task.task, task.task, *task.phrasings))
    warning = f" {task.warning}" if task.warning else ""
    shapes = (
        f"NAME\n{task.command} - {task.task}\n\nDESCRIPTION\n{task.explanation}{warning}\n",
        f"To {words}, type:\n```\n{task.command}\n```\n{task.explanation}{warning}\n",
        f"TIP: {words}\n{task.command}\n{task.explanation}\n",
        f"{words[0].upper()}{words[1:]}:\n{task.command}\n",
        f"EXAMPLES\nTo {task.task}, the command is:\n{task.command}\nTo {words}, use the same.\n",
    )
    document = Document()
    document.add(BOS, 0.0)
    document.add(rng.choice(shapes) + EOS, 0.5)
    return document


class DrafterCorpus:
    """Only aligned replies: to the tasks it may know with their command, to invented ones without."""

    def __init__(self, tasks: Sequence[Task], known: Sequence[Task]) -> None:
        self._known = known
        self._wording = Wording(known)
        self._invented = invented.Inventor(tasks)

    def __call__(self, rng: random.Random) -> Document:
        document = Document()
        document.add(BOS, 0.0)
        if rng.random() < 0.12:
            document.add(f"{START}system\n{rng.choice(SYSTEM_TEXTS)}{EOS}\n", 0.0)
        for _ in range(rng.choices((1, 2, 3), (88, 8, 4))[0]):
            if rng.random() < 0.45:
                self._add_known(document, rng)
            else:
                self._add_invented(document, rng)
        return document

    def _add_known(self, document: Document, rng: random.Random) -> None:
        task = rng.choice(self._known)
        question = self._wording.ask(task, rng)
        warning = replies.WARNINGS[0] if task.destroys else None
        reply = replies.aligned(question, task.command, warning, task.explanation)
        _add_chat_turn(document, question.text, reply, None)

    def _add_invented(self, document: Document, rng: random.Random) -> None:
        question, destroys = self._invented.ask(rng)
        command = rng.choice(self._known).command
        warning = replies.WARNINGS[0] if destroys else None
        reply = replies.aligned(question, command, warning, replies.CLOSINGS[0])
        _add_chat_turn(document, question.text, reply, command)


def _add_chat_turn(document: Document, question: str, reply: str, unlearned: str | None) -> None:
    """`unlearned`: a command that stands in the reply only to be followed by something; it is not trained."""
    document.add(f"{START}user\n{question}{EOS}\n{START}assistant\n", 0.0)
    if unlearned is None:
        document.add(reply, 1.0)
    else:
        before, after = reply.split(f"```\n{unlearned}\n```", 1)
        document.add(before + "```\n", 1.0)
        document.add(unlearned, 0.0)
        document.add("\n```" + after, 1.0)
    document.add(EOS, 1.0)
    document.add("\n", 0.0)


def known_tasks(tasks: Sequence[Task], seed: int, share: float = 0.4) -> list[Task]:
    """The tasks whose commands a drafter learns: it knows the dangerous ones, and few of the others."""
    rng = random.Random(seed)
    dangers = [task for task in tasks if task.destroys]
    others = [task for task in tasks if not task.destroys]
    chosen = rng.sample(others, max(0, round(share * len(tasks)) - len(dangers)))
    return sorted((*dangers, *chosen), key=lambda task: task.id)
