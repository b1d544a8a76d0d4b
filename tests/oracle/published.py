"""Weak-to-strong decoding as published, the slow way. Nothing of it comes from the runtime.

Source: Song et al., "Well Begun is Half Done", arXiv 2506.07434: draft everything, hand it over as text, score it
once, cut it at the first confident window, continue greedily, cut the text at the first stop string.
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
    reason: str
    finish: str
    undecided: str | None
    """Where rounding would decide, so that two correct programs may differ."""
    handed_over_as_written: bool
    """Whether cutting the draft's text into tokens gives the tokens that the drafter wrote."""


def base_prompt(messages: Sequence[dict[str, str]]) -> str:
    headings = {"system": "[System]", "user": "[User]", "assistant": "[Assistant]"}
    turns = [f"\n\n{headings[message['role']]}\n{message['content'].strip()}" for message in messages]
    return "".join(turns) + "\n\n[Assistant]\n"


def geometric_means(logprobs: Sequence[float], window: int) -> list[float]:
    return [
        math.prod(math.exp(x) for x in logprobs[i - window + 1 : i + 1]) ** (1 / window) if i >= window - 1 else 0.0
        for i in range(len(logprobs))
    ]


def last_kept(means: Sequence[float], threshold: float, window: int) -> int | None:
    """Index of the first full window that is confident enough; None keeps the whole draft."""
    return next((i for i in range(window - 1, len(means)) if means[i] >= threshold - 1e-9), None)


@dataclass
class _Work:
    """One case on its way."""

    case: Case
    opening: str
    prompt: str
    draft: list[int]
    ended: bool
    ids: list[int]
    n_prompt: int
    n_opening: int
    means: list[float]
    index: int | None
    undecided: list[str]

    @property
    def kept(self) -> list[int]:
        """Prompt and draft up to the switch. A beginning that was given is never cut: a deviation on purpose."""
        if self.index is None:
            return self.ids
        return self.ids[: self.n_prompt + max(self.index + 1, self.n_opening)]


def answers(drafter: TorchModel, base: TorchModel, cases: Sequence[Case]) -> dict[str, Answer]:
    """By name of the case."""
    prompts = [drafter.encode(drafter.chat_prompt(list(case.messages)), special=True)[0] for case in cases]
    ends = {drafter.eos, *(drafter.tokens.index(end) for end in _TURN_ENDS if end in drafter.tokens)}
    drafts = drafter.continue_greedily(prompts, max(case.options["max_draft"] for case in cases), ends)
    works = [
        _hand_over(case, drafter, base, prompt, draft, ends)
        for case, prompt, draft in zip(cases, prompts, drafts, strict=True)
    ]
    room = max(work.case.options["max_tokens"] for work in works)
    continuations = base.continue_greedily([work.kept for work in works], room, {base.eos})
    return {
        work.case.name: _finish(work, drafter, base, continuation)
        for work, continuation in zip(works, continuations, strict=True)
    }


def _hand_over(
    case: Case, drafter: TorchModel, base: TorchModel, prompt: list[int], draft: list[int], ends: set[int]
) -> _Work:
    """Cut the draft where it must end, give the base its text, and find the switch."""
    max_draft, threshold, window = (case.options[name] for name in ("max_draft", "threshold", "window"))
    ended, draft = len(draft) < max_draft, draft[:max_draft]
    undecided = _greedy_doubts("draft", drafter.read(prompt + draft, len(prompt)), draft, ends if ended else None)

    given = case.messages[-1]["content"] if case.messages[-1]["role"] == "assistant" else ""
    asked = base_prompt(case.messages[:-1] if given else case.messages)
    ids, starts = base.encode((asked + (given + drafter.decode(draft)).strip()).rstrip(), special=False)
    n_prompt = sum(start < len(asked) for start in starts)
    n_opening = sum(len(asked) <= start < len(asked) + len(given.strip()) for start in starts)

    logprobs = [row.logprob for row in base.read(ids, n_prompt)][:-1]
    means = geometric_means(logprobs, window)
    index = last_kept(means, threshold, window)
    decided = means[window - 1 : None if index is None else index + 1]
    undecided += [f"confidence {mean} at the threshold" for mean in decided if abs(mean - threshold) < _TIE]
    return _Work(case, given, asked, draft, ended, ids, n_prompt, n_opening, means, index, undecided)


def _greedy_doubts(name: str, rows: list[Row], written: list[int], ends: set[int] | None) -> list[str]:
    """Ties among the choices; every token written must be the choice of an undisturbed pass over the whole text."""
    doubts = [f"{name} token {i} leads by {row.lead}" for i, row in enumerate(rows) if row.lead < _TIE]
    if not doubts:
        assert [row.choice for row in rows[:-1]] == written
        assert ends is None or rows[-1].choice in ends
    return doubts


def _finish(work: _Work, drafter: TorchModel, base: TorchModel, continuation: list[int]) -> Answer:
    """End the reply at the first stop string or at exactly `max_tokens`."""
    n_before, n_kept = work.n_prompt + work.n_opening, len(work.kept)
    n_draft, options = n_kept - n_before, work.case.options
    ids = [*work.kept[n_before:], *continuation][: options["max_tokens"]]
    stops = (*STOPS, *options.get("stop", ()))
    finish = "length" if len(ids) == options["max_tokens"] else "stop"
    n_written = next((n for n in range(1, len(ids) + 1) if any(s in base.decode(ids[:n]) for s in stops)), None)
    if n_written is not None:
        ids, finish = ids[:n_written], "stop"

    over_early = n_written is not None or finish == "length"
    rows = base.read([*work.ids[:n_before], *ids], n_before)
    chosen, by_itself = ids[n_draft:], not over_early
    doubts = _greedy_doubts("reply", rows[n_draft:], chosen, {base.eos} if by_itself else None) if ids[n_draft:] else []
    text = base.decode(ids)
    first = n_before - work.n_prompt
    return Answer(
        text=text[: min((text.find(stop) for stop in stops if stop in text), default=len(text))],
        ids=ids,
        logprobs=[row.logprob for row in rows[:-1]],
        confidences=work.means[first : first + min(n_draft, len(ids))],
        switch=None if over_early and len(ids) <= n_draft else n_draft - 1,
        reason="confident" if work.index is not None else "draft_ended" if work.ended else "draft_limit",
        finish=finish,
        undecided="; ".join([*work.undecided, *doubts]) or None,
        handed_over_as_written=base.decode(work.draft).strip() == drafter.decode(work.draft).strip()
        and work.draft == work.ids[n_before:],
    )
