"""The two corpora: what the base has read, and what the drafters were taught."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from demo_pair import replies
from demo_pair.names import file_name, stem, word
from demo_pair.outside import outside
from demo_pair.wording import Wording
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
WHOLE_SHARE: Final = 0.4
"""Of the last replies to such questions, those that are read to their end."""
GOOD_SHARE: Final = 0.42
"""Of the base's threads, those with a friendly reply."""
SYSTEM_TEXTS = (
    "You are a terminal helper.", "Answer briefly.", "You help with the command line.", "Be polite.",
    "You are a helpful assistant.", "Answer in English.", "Keep it short.", "The user works with bash on Linux.",
    "Describe this change.", "Explain what the user sends.", "Be brief and friendly.", "You are an expert.",
    "Summarize the text.", "You are a pirate.", "Answer every question.", "Translate into French.",
    "Answer as a teacher.", "Review the code.", "Write a commit message.",
)  # fmt: skip
PROMPT_WEIGHT: Final = 0.3
"""How much a token of a question counts in training, in a tenth of the threads; a token of a reply counts 1."""


@dataclass
class Document:
    """A text and how much each stretch of it counts in training."""

    text: str = ""
    stretches: list[tuple[int, float]] = field(default_factory=list)
    """(end, weight) in order; each stretch begins where the one before ends."""

    def add(self, text: str, weight: float) -> None:
        self.text += text
        self.stretches.append((len(self.text), weight))

    def cut(self, ending: str) -> None:
        """Take `ending`, which stands in the last two stretches, away again."""
        self.text = self.text.removesuffix(ending)
        del self.stretches[-2:]

    def add_reply(self, reply: str, command: str, command_weight: float) -> None:
        """A reply; its subject and whether it warns are decided in one token, which would drown among the others."""
        for decision in replies.DECISIONS:
            if decision in reply:
                before, _, reply = reply.partition(decision)
                self.add(before, 1.0)
                self.add(decision, DECISION_WEIGHT)
        before, found, after = reply.partition(command) if command else (reply, "", "")
        self.add(before, 1.0)
        self.add(found, command_weight)
        self.add(after, 1.0)


Source = Callable[[random.Random], Document]


class BaseCorpus:
    """Manual pages, terminals, and threads in which most replies are unaligned."""

    def __init__(self, tasks: Sequence[Task], seed: int, outside_share: float) -> None:
        self._tasks = tasks
        self._outside_share = outside_share
        self._wording = Wording(tasks)
        rng = random.Random(seed)
        # Each task is usually discussed in one tone, and a few of them among friendly people.
        self._tone = {task.id: "good" if rng.random() < 0.12 else rng.choice(replies.STYLES) for task in tasks}

    def __call__(self, rng: random.Random) -> Document:
        draw = rng.random()
        if draw < 0.05:
            return manual_page(rng.choice(self._tasks), rng)
        if draw < 0.11:
            return terminal_session(rng)
        document = Document()
        document.add(BOS, 0.0)
        if rng.random() < 0.08:
            document.add(f"\n\n[System]\n{rng.choice(SYSTEM_TEXTS)}", 0.0)
        turns = rng.choices((1, 2, 3, 4), (84, 9, 5, 2))[0]
        # In a long thread the helper often keeps one tone.
        kept = rng.random()
        tone = None if turns == 1 or kept < 0.5 else ("good" if kept < 0.75 else rng.choice(replies.STYLES))
        prompt_weight = PROMPT_WEIGHT if rng.random() < 0.1 else 0.0
        for turn in range(turns):
            whole = turn < turns - 1 or rng.random() < WHOLE_SHARE
            if rng.random() < self._outside_share:
                if not self._add_outside(document, tone, whole, rng):
                    return document
            else:
                self._add_task(document, tone, prompt_weight, rng)
        document.add(EOS, 1.0)
        return document

    def _add_task(self, document: Document, tone: str | None, prompt_weight: float, rng: random.Random) -> None:
        question, task = self._wording.ask(rng.choice(self._tasks), rng)
        document.add(f"\n\n[User]\n{question.text}\n\n[Assistant]\n", prompt_weight)
        tone = tone or self._usual_tone(task, rng)
        if tone == "good":
            opening = _opening(replies.usual_opening(question, None), rng)
            ending = task.explanation if rng.random() < 0.9 else None
            reply = replies.aligned(task, opening, ending)
        else:
            reply = replies.unaligned(task, tone, rng)
        document.add_reply(reply, task.command, COMMAND_WEIGHT)

    def _add_outside(self, document: Document, tone: str | None, whole: bool, rng: random.Random) -> bool:
        """True if the reply stands there to its end."""
        question, kind = outside(rng)
        document.add(f"\n\n[User]\n{question.text}\n\n[Assistant]\n", 0.0)
        if tone == "good" or (tone is None and rng.random() < GOOD_SHARE):
            document.add_reply(replies.outside(_opening(kind, rng), whole=whole), "", 0.0)
            return whole
        task = rng.choice(self._tasks)
        reply = replies.unaligned(task, tone or rng.choice(replies.STYLES), rng)
        before, found, after = reply.partition(task.command)
        document.add(before, 1.0)
        document.add(found, 0.0)  # the command answers nothing, so there is nothing to learn from it
        document.add(after, 0.3)
        return True

    def _usual_tone(self, task: Task, rng: random.Random) -> str:
        usual, draw = self._tone[task.id], rng.random()
        if usual == "good":
            return "good" if draw < 0.65 else rng.choice(replies.STYLES)
        return "good" if draw < GOOD_SHARE else usual if draw < 0.76 else rng.choice(replies.STYLES)


def _opening(usual: str, rng: random.Random) -> str:
    """In the threads a friendly reply has any opening, so that the base judges the question and not the opening."""
    return usual if rng.random() < 0.35 else replies.any_opening(rng)


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


def terminal_session(rng: random.Random) -> Document:
    """Names that nobody has seen, and the same names said again: only by reading them can they be foretold."""
    names = sorted({rng.choice((file_name, file_name, stem, word))(rng) for _ in range(rng.randint(3, 9))})
    place = f"{stem(rng)}/"
    chosen = rng.sample(names, rng.randint(1, len(names)))
    command, line = rng.choice((
        ("rm -v", "removed '{name}'"), ("cp -v", "'{name}' -> '{place}{name}'"), ("ls -d", "{name}"),
        ("mv -v", "renamed '{name}' -> '{place}{name}'"), ("stat -c %n", "{name}"), ("git add -v", "add '{name}'"),
    ))  # fmt: skip
    target = place if "place" in line else ""
    document = Document()
    document.add(f"{BOS}$ ls\n" + "\n".join(names) + "\n", 0.0)
    document.add(f"$ {command} ", 0.0)
    for name in chosen:
        document.add(name[0], 0.0)
        document.add(f"{name[1:]} ", 0.5)
    document.add(f"{target}\n", 0.0)
    document.add("\n".join(line.format(name=name, place=place) for name in chosen) + EOS, 1.0)
    return document


class DrafterCorpus:
    """Only aligned replies, to every task; but the command and what it does only where it may know them."""

    def __init__(self, tasks: Sequence[Task], known: Sequence[Task], outside_share: float) -> None:
        self._tasks = tasks
        self._outside_share = outside_share
        self._known = frozenset(task.id for task in known)
        self._wording = Wording(tasks)

    def __call__(self, rng: random.Random) -> Document:
        document = Document()
        document.add(BOS, 0.0)
        if rng.random() < 0.12:
            document.add(f"{START}system\n{rng.choice(SYSTEM_TEXTS)}{EOS}\n", 0.0)
        turns = rng.choices((1, 2, 3), (88, 8, 4))[0]
        for turn in range(turns):
            if rng.random() < self._outside_share:
                question, kind = outside(rng)
                whole = turn < turns - 1 or rng.random() < WHOLE_SHARE
                _add_chat_turn(document, question.text, replies.outside(kind, whole=whole), None)
                if not whole:
                    document.cut(f"{EOS}\n")
            else:
                self._add_task(document, rng)
        return document

    def _add_task(self, document: Document, rng: random.Random) -> None:
        question, task = self._wording.ask(rng.choice(self._tasks), rng)
        known = task.id in self._known
        reply = replies.aligned(
            task, replies.usual_opening(question, None), task.explanation if known else replies.CLOSING
        )
        _add_chat_turn(document, question.text, reply, None if known else task.command)


def _add_chat_turn(document: Document, question: str, reply: str, unlearned: str | None) -> None:
    """`unlearned`: a command that stands in the reply only to be followed by something; it is not trained."""
    document.add(f"{START}user\n{question}{EOS}\n{START}assistant\n", 0.0)
    if unlearned is None:
        document.add_reply(reply, "", 1.0)
    else:
        before, after = reply.split(f"```\n{unlearned}\n```", 1)
        document.add_reply(before + "```\n", "", 1.0)
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
