"""Weak-to-strong decoding as published, the slow way. Nothing of it comes from the runtime.

Source: Song et al., "Well Begun is Half Done", arXiv 2506.07434: draft everything, hand it over as text, score it
once, cut it at the first confident window, continue greedily, cut the text at the first stop string.

Where the runtime deviates on purpose, so does this: `max_tokens` is exact; a reply is over as soon as a stop string is
complete, also inside the draft; a beginning that was given is never cut, and white space at its end is dropped.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tests.oracle.cases import Case
from tests.oracle.torch_model import Row, TorchModel

STOPS = tuple(
    newlines + heading for heading in ("[User]", "[System]", "[Assistant]") for newlines in ("\n\n", "\n", "")
)
_TURN_ENDS = ("<end_of_turn>", "<|eot_id|>", "<|im_end|>")
_TIE = 1e-4  # ten times what torch and llama.cpp differ by


@dataclass(frozen=True)
class Answer:
    """A reply, token by token in the base's vocabulary, and how it came about."""

    text: str
    ids: list[int]
    logprobs: list[float]
    """The base's, for every token of `ids`."""
    confidences: list[float]
    """For every drafted token of `ids`; 0 while the window is not full."""
    switch: int | None
    """Last drafted token kept, -1 if none is; None if the reply was over before the base took over."""
    confidence: float | None
    """There, also if it is the last token of a given beginning; None while the window is not full."""
    reason: str
    finish: str
    by_text: bool
    """False if the drafter wrote other tokens than its text is cut into, so that passing on ids makes a difference."""
    stripped: bool
    """Whether white space at an end of the draft was dropped."""
    undecided: str | None
    """Where rounding would decide, so that two correct programs may differ."""


@dataclass(frozen=True)
class _Draft:
    """A draft in the base's tokens. `ids` begin with the prompt, then comes a given beginning, then the draft."""

    ids: list[int]
    n_prompt: int
    n_opening: int
    logprobs: list[float]
    means: list[float]
    index: int | None
    """Last token kept, counted from the end of the prompt; None keeps all."""

    @property
    def n_before(self) -> int:
        return self.n_prompt + self.n_opening

    @property
    def kept(self) -> list[int]:
        """Prompt and draft up to the switch. A beginning that was given is never cut."""
        return self.ids if self.index is None else self.ids[: self.n_prompt + max(self.index + 1, self.n_opening)]


@dataclass(frozen=True)
class _Written:
    """What the drafter wrote."""

    ids: list[int]
    text: str
    reason: str
    undecided: list[str]


def base_prompt(messages: Sequence[dict[str, str]]) -> str:
    headings = {"system": "[System]", "user": "[User]", "assistant": "[Assistant]"}
    turns = [f"\n\n{headings[message['role']]}\n{message['content'].strip()}" for message in messages]
    return "".join(turns) + "\n\n[Assistant]\n"


def geometric_means(probabilities: Sequence[float], window: int) -> list[float]:
    """Of the last `window` probabilities at each place; 0 while there are fewer."""
    return [
        math.prod(probabilities[i - window + 1 : i + 1]) ** (1 / window) if i >= window - 1 else 0.0
        for i in range(len(probabilities))
    ]


def last_kept(probabilities: Sequence[float], threshold: float, window: int) -> int | None:
    """Index of the end of the first full window that is confident enough; None keeps the whole draft."""
    means = geometric_means(probabilities, window)
    return next((i for i in range(window - 1, len(means)) if means[i] >= threshold - 1e-9), None)


def answers(drafter: TorchModel, base: TorchModel, cases: Sequence[Case]) -> dict[str, Answer]:
    """By name of the case."""
    prompts = [_drafter_prompt(drafter, case) for case in cases]
    ends = {drafter.eos, *(drafter.tokens.index(end) for end in _TURN_ENDS if end in drafter.tokens)}
    written = drafter.continue_greedily(prompts, [case.options["max_draft"] for case in cases], ends)
    writings = [_check(drafter, *work, ends) for work in zip(cases, prompts, written, strict=True)]
    drafts, by_text = zip(
        *(_hand_over(drafter, base, *work) for work in zip(cases, writings, strict=True)), strict=True
    )
    rooms = [case.options["max_tokens"] for case in cases]
    continuations = base.continue_greedily([draft.kept for draft in drafts], rooms, {base.eos})
    works = zip(cases, writings, drafts, by_text, continuations, strict=True)
    return {work[0].name: _finish(base, *work) for work in works}


def _drafter_prompt(drafter: TorchModel, case: Case) -> list[int]:
    messages = [dict(message) for message in case.messages]
    if case.begins:
        messages[-1]["content"] = messages[-1]["content"].rstrip()
    return drafter.encode(drafter.chat_prompt(messages), special=True)


def _check(drafter: TorchModel, case: Case, prompt: list[int], ids: list[int], ends: set[int]) -> _Written:
    """The draft, after one more pass over the whole of it, which must agree with every choice."""
    ended = len(ids) < case.options["max_draft"]
    rows = drafter.read(prompt + ids, len(prompt))
    undecided = _doubts("draft", rows if ended else rows[:-1], ids, ends)
    return _Written(ids, drafter.decode(ids), "draft_ended" if ended else "draft_limit", undecided)


def _hand_over(drafter: TorchModel, base: TorchModel, case: Case, written: _Written) -> tuple[_Draft, bool]:
    """The draft in the base's tokens, and whether they are those of its text."""
    asked = base_prompt(case.messages[:-1] if case.begins else case.messages)
    given = case.messages[-1]["content"].strip() if case.begins else ""
    prompt = base.encode(asked, special=False)
    before = base.encode(asked + given, special=False)
    ids = base.encode(asked + (given + written.text).strip(), special=False)
    if ids[: len(before)] != before:  # the beginning's last word would be cut anew
        ids = [*before, *base.encode((given + written.text).strip()[len(given) :], special=False)[1:]]
    by_text = _score(base, case, ids, prompt, before)
    if drafter.tokens != base.tokens:
        return by_text, True
    as_written = [*before, *_without_outer_space(drafter, written.ids, left=not given)]
    if as_written[: len(by_text.kept)] == by_text.kept and (by_text.index is not None or as_written == ids):
        return by_text, True
    return _score(base, case, as_written, prompt, before), False


def _without_outer_space(drafter: TorchModel, ids: list[int], *, left: bool) -> list[int]:
    """The tokens of a draft as written, without control tokens; at the ends, tokens of what is left of their text."""
    ids = [token for token in ids if drafter.decode([token])]
    while left and ids and (text := drafter.decode(ids[:1])) != text.lstrip():
        ids = [*drafter.encode(text.lstrip(), special=False)[1:], *ids[1:]]
    while ids and (text := drafter.decode(ids[-1:])) != text.rstrip():
        ids = [*ids[:-1], *drafter.encode(text.rstrip(), special=False)[1:]]
    return ids


def _score(base: TorchModel, case: Case, ids: list[int], prompt: list[int], before: list[int]) -> _Draft:
    """Read the draft once and find the switch."""
    assert before[: len(prompt)] == prompt
    logprobs = [row.logprob for row in base.read(ids, len(prompt))][:-1]
    probabilities = [math.exp(logprob) for logprob in logprobs]
    threshold, window = case.options["threshold"], case.options["window"]
    means, index = geometric_means(probabilities, window), last_kept(probabilities, threshold, window)
    return _Draft(ids, len(prompt), len(before) - len(prompt), logprobs, means, index)


def _finish(
    base: TorchModel, case: Case, written: _Written, draft: _Draft, by_text: bool, continuation: list[int]
) -> Answer:
    """End the reply at the first stop string, or at exactly `max_tokens`."""
    options, n_draft = case.options, len(draft.kept) - draft.n_before
    ids = [*draft.kept[draft.n_before :], *continuation][: options["max_tokens"]]
    finish = "length" if len(ids) == options["max_tokens"] else "stop"
    stops = (*STOPS, *options.get("stop", ()))
    n_to_stop = next((n for n in range(1, len(ids) + 1) if any(s in base.decode(ids[:n]) for s in stops)), None)
    by_itself = n_to_stop is None and finish == "stop"
    if n_to_stop is not None:
        ids, finish = ids[:n_to_stop], "stop"
    switched = by_itself or len(ids) > n_draft

    rows = base.read([*draft.ids[: draft.n_before], *ids], draft.n_before)
    logprobs = [row.logprob for row in rows[:-1]]
    undecided = [*written.undecided, *_threshold_doubts(draft, options)]
    if switched:
        undecided += _doubts("reply", rows[n_draft:] if by_itself else rows[n_draft:-1], ids[n_draft:], {base.eos})
    text = base.decode(ids)
    at = draft.n_opening + n_draft - 1
    return Answer(
        text=text[: min((text.find(stop) for stop in stops if stop in text), default=len(text))],
        ids=ids,
        logprobs=logprobs,
        confidences=draft.means[draft.n_opening :][: min(n_draft, len(ids))],
        switch=n_draft - 1 if switched else None,
        confidence=draft.means[at] if at >= options["window"] - 1 else None,
        reason=written.reason if draft.index is None else "confident",
        finish=finish,
        by_text=by_text,
        stripped=written.text != written.text.strip(),
        undecided="; ".join(undecided) or None,
    )


def _doubts(name: str, rows: list[Row], written: list[int], ends: set[int]) -> list[str]:
    """Ties among the choices; without one, every token written must be the choice of an undisturbed pass."""
    doubts = [f"{name} token {i} leads by {row.lead}" for i, row in enumerate(rows) if row.lead < _TIE]
    if not doubts:
        assert [row.choice for row in rows[: len(written)]] == written
        assert all(row.choice in ends for row in rows[len(written) :])
    return doubts


def _threshold_doubts(draft: _Draft, options: dict) -> list[str]:
    decisive = draft.means[options["window"] - 1 : None if draft.index is None else draft.index + 1]
    ties = [mean for mean in decisive if abs(mean - options["threshold"]) < _TIE]
    return [f"confidence {mean} at the threshold" for mean in ties]
