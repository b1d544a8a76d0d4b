"""What a reply is made of while it is being written: `Token`, `Scored`, `Switched`, and one `Finished` at the end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from edge_wsd.decoding.proposal import PROPOSERS, ProposerName

Source = Literal["drafter", "base"]
SOURCES: tuple[Source, ...] = get_args(Source)
SwitchReason = Literal["confident", "draft_limit", "draft_ended", "forced"]
FinishReason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Alternative:
    """One of the likeliest tokens at a position, whether or not it came to stand there."""

    id: int
    text: str
    """What it stands for, read by itself: half a character is U+FFFD, a control token its name."""
    piece: bytes
    """The same as bytes; empty for a control token."""
    logprob: float
    """Natural, at temperature 1."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of the reply, in order.

    `text` is the text that can be shown now: empty while a character is incomplete or a stop string may be beginning;
    what was held back comes with a later token. Together the texts are the reply's text.

    A position can come twice: with the text held back until the end of the reply, or with another id, if a draft in
    another vocabulary turns out to be cut into other tokens than at first. Text that was shown remains valid.
    """

    position: int
    """0 for the reply's first token."""
    id: int
    """In the base's vocabulary (the drafter's in mode `drafter`)."""
    text: str
    source: Source
    """Who wrote it. A proposal of the drafter that the base would have written itself is the base's."""
    logprob: float | None = None
    """Under the model that finishes the reply (natural, temperature 1). In the event of a drafted token it is None,
    since the base has yet to read it: `Scored` follows. In `Reply.tokens` it is there."""
    repeated: bool | None = None
    """With `Options.ignore_repeated`: whether this drafted token was left out of the confidence window, since it only
    repeats the question or the draft. None otherwise, and where `logprob` is not known yet."""
    piece: bytes = b""
    """The bytes that it stands for, which need not be whole characters; empty for a control token."""
    top: tuple[Alternative, ...] = ()
    """With `Options.top_logprobs`: the likeliest tokens here under the model of `logprob`, the best first, before
    penalties, biases and grammars. Known when `logprob` is."""


@dataclass(frozen=True, slots=True)
class Scored:
    """How probable drafted tokens, which have been shown already, are to the base. Positions count as in `Token`."""

    first: int
    logprobs: tuple[float, ...]
    """Natural log-probability of each token under the base, at temperature 1."""
    confidences: tuple[float | None, ...]
    """Geometric mean over the window that ends at each token; None until the window is full."""
    repeated: tuple[bool, ...] = ()
    """With `Options.ignore_repeated`: which of the tokens the window leaves out. Empty without it."""
    top: tuple[tuple[Alternative, ...], ...] = ()
    """With `Options.top_logprobs`: of each token what `Token.top` says. Empty without it."""


@dataclass(frozen=True, slots=True)
class Switched:
    """The base takes over. `index` is the position of the last drafted token kept; -1 if there is none."""

    index: int
    reason: SwitchReason
    confidence: float | None
    """Confidence at `index`; None if the window was not full."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Times in seconds (`_s`) and per second (`_tps`); counts in tokens unless named otherwise."""

    ttft_s: float = 0.0
    """From the call to the first text, including the time to read the prompt."""
    total_s: float = 0.0
    draft_tps: float | None = None
    """Drafted tokens kept, per second of all work up to the switch: both prompts, drafting, the base's passes."""
    base_tps: float | None = None
    """Tokens per second in the passes after the one in which the switch happened. Tokens that were settled in that pass
    do not count; None if no other pass was needed. For the base alone: the passes after the one over the prompt."""
    n_tokens: int = 0
    n_draft: int = 0
    """Tokens of the reply that the drafter wrote (position of the switch + 1)."""
    n_hand_overs: int = 0
    """How often the drafter was given the turn. With the rule `window` only once, at the beginning."""
    n_drafted: int = 0
    """Tokens the drafter proposed, before and after the switch, in the base's vocabulary."""
    n_accepted: int = 0
    """How many of these were kept."""
    n_proposed: dict[ProposerName, int] = field(default_factory=lambda: dict.fromkeys(PROPOSERS, 0))
    """Tokens proposed to the base in its own turn, by who proposed them; those of the drafter are in `n_drafted`."""
    n_proposed_accepted: dict[ProposerName, int] = field(default_factory=lambda: dict.fromkeys(PROPOSERS, 0))
    """How many of these were the base's own choices."""
    base_passes: int = 0
    drafter_prompt_tokens: int = 0
    drafter_reused_tokens: int = 0
    base_prompt_tokens: int = 0
    base_reused_tokens: int = 0
    queued_s: float = 0.0
    """The part of `ttft_s` and `total_s` spent waiting for other replies of the pair."""

    @property
    def draft_share(self) -> float:
        """Share of the reply's tokens that the drafter wrote."""
        return self.n_draft / self.n_tokens if self.n_tokens else 0.0


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """A token beside the text of a reply: of its prompt, or the one that ended it. The fields as in `Alternative`."""

    id: int
    text: str
    piece: bytes
    logprob: float | None
    """Given all tokens before it, natural, at temperature 1; None for the first of a prompt."""
    top: tuple[Alternative, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply. If the conversation ended with an assistant message, `text` is what was added to it."""

    text: str
    tokens: tuple[Token, ...]
    confidences: tuple[float | None, ...]
    """One per token; None where there is none (before the window is full, after the switch)."""
    finish_reason: FinishReason
    switch: Switched | None
    """None in the modes `base` and `drafter`, and if the reply ended while the drafter was writing."""
    stats: Statistics = field(default_factory=Statistics)
    stop: str | None = None
    """The stop string that ended the reply; None for an end-of-text token, and for a loop."""
    seed: int | None = None
    """The seed of the sampling; the same `Options.seed` gives the same reply again. None if nothing was sampled."""
    note: str | None = None
    """A remark on how it ended: that it was stopped in a loop (`Options.stop_loops`). None otherwise."""
    prompt: tuple[ScoredToken, ...] = ()
    """What the model that finishes the reply thinks of its prompt, where that was asked for (`Pair.score`)."""
    end: ScoredToken | None = None
    """The token by which that model ended the reply, which is no part of the text. None if it ended otherwise."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The last event: the reply is complete."""

    reply: Reply


@dataclass(frozen=True, slots=True)
class Dropped:
    """The oldest messages no longer fit into a context and are left out of this turn and later ones."""

    n_messages: int


@dataclass(frozen=True, slots=True)
class Reading:
    """A model is about to read more of a long prompt; so far it has read `n_read` of its `n_tokens` new tokens."""

    model: Source
    n_read: int
    n_tokens: int


Event = Token | Scored | Switched | Finished | Dropped | Reading
