"""The drafter: writes the beginning, and keeps proposing tokens once the base has taken over."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from edge_wsd.decoding.bridge import Bridge, Draft
from edge_wsd.decoding.common_prefix import common_prefix
from edge_wsd.decoding.events import SwitchReason
from edge_wsd.decoding.proposal import Proposal
from edge_wsd.decoding.protocols import CachedSequence, Meanwhile, Onward, Pass, Rows, TokenSampler, Vocabulary, Writing

LONGEST_WORD = 16
"""Tokens, of what has no white space."""


class Drafter:
    """The small model with its own prompt. `draft` is what it wrote, in the base's tokens."""

    def __init__(
        self,
        sequence: CachedSequence,
        prompt: list[int],
        vocabulary: Vocabulary,
        bridge: Bridge,
        draft: Draft,
        *,
        anchor: str,
        stop_tokens: Mapping[int, str] = MappingProxyType({}),
        sampler: TokenSampler | None = None,
        max_draft: int,
        n_ctx: int,
    ) -> None:
        """`prompt` ends with `anchor`; `draft` is still empty. `stop_tokens` maps tokens to their stop strings."""
        self.draft = draft
        self.ended: SwitchReason | None = None
        self.stop: str | None = None
        """The stop string whose token last ended its text; None for an end token."""
        self.n_drafted = 0
        self.seconds = 0.0
        """What its passes took."""
        self.overlaps = False
        """Whether its passes may be computed while the base computes."""
        self.beside: Meanwhile | None = None
        """What the base may do during its passes."""
        self._sequence = sequence
        self._n_prompt = len(prompt)
        self._text = list(prompt)
        self._vocabulary = vocabulary
        self._echo = bridge.echo(anchor)
        self._stop_tokens = stop_tokens
        self._sampler = sampler
        self._max_draft = min(max_draft, n_ctx - len(prompt))
        self._n_ctx = n_ctx
        self._ahead: list[tuple[int, float]] = []
        """What follows its text, with log-probabilities, where a pass told more than was asked for yet."""

    def step(self, n: int = 1) -> Writing[int]:
        """Write one token into the draft; returns the index of the first entry of `draft.tokens` that changed.

        `n` is how many steps will be taken before anybody else writes, this one included.
        """
        n = min(n, self._max_draft - self.n_drafted)
        chosen = (yield from self._next(self._sampler, n)) if self._max_draft > 0 else None
        if chosen is None:
            self.ended = "draft_ended" if self._max_draft > 0 else "draft_limit"
            return self.draft.flush()
        token, _ = chosen
        self._keep(token)
        changed = self.draft.push(token)
        if self.n_drafted >= self._max_draft:
            self.ended = "draft_limit"
            return min(changed, self.draft.flush())
        return changed

    def propose(self, reply: list[int], n: int, stop_below: float = 0.0) -> Writing[Proposal]:
        """About `n` tokens that may follow `reply`, in the base's vocabulary. First reads what it has missed.

        It stops early before a token that the drafter itself gives a probability below `stop_below`.
        """
        self._go_on_behind(reply, keep_ahead=True)
        n = min(n, self._n_ctx - len(self._text))
        tokens: list[int] = []
        chances: list[float] = []
        while len(tokens) < n and (chosen := (yield from self._next(None, n - len(tokens), stop_below))) is not None:
            tokens.append(chosen[0])
            chances.append(math.exp(chosen[1]))
        unsure = len(tokens) < n and self.stop is None and not self._vocabulary.is_end(self._ahead[0][0])
        return replace(self._echo.to_base(tokens, chances), unsure=unsure)

    def ahead(self, n: int, *, of_draft: bool = False) -> Meanwhile | None:
        """A pass that chooses up to `n` tokens more, betting that the reply goes on as this model wrote last.

        None where there is nothing to gain: also for a draft that is drawn, whose next token cannot be known before.
        """
        if not self.overlaps or (of_draft and (self._sampler is not None or self.ended is not None)):
            return None
        text = self._text + [token for token, _ in self._ahead]
        n = min(n, self._n_ctx - len(text))
        if n < 1 or self._vocabulary.is_end(text[-1]) or text[-1] in self._stop_tokens:
            return None
        return Meanwhile(Pass(self._sequence, text, [], onward=Onward(n - 1, self._stop_tokens)), self._know)

    def _know(self, rows: Rows) -> None:
        self._ahead += [rows.choose(row) for row in range(rows.n_rows)]

    def word(self, reply: list[int], *, strip: bool) -> Writing[list[int]]:
        """The next whole word after `reply`, in the base's vocabulary; empty if the drafter ends its text there.

        White space before the word belongs to it; `strip` drops that.
        """
        self._go_on_behind(reply)
        word: list[int] = []
        has_begun = False
        most = min(LONGEST_WORD, self._n_ctx - len(self._text))
        while len(word) < most:
            chosen = yield from self._next(self._sampler)
            if chosen is None:
                self.ended = None if word else "draft_ended"
                break
            token, _ = chosen
            piece = self._vocabulary.piece(token)
            if has_begun and piece[:1].isspace():  # the next word
                self._text.pop()
                self.n_drafted -= 1
                break
            has_begun |= not piece.isspace()
            self._keep(token)
            word.append(token)
        return self._echo.to_base(word, [1.0] * len(word), strip=strip).tokens

    def _go_on_behind(self, reply: list[int], *, keep_ahead: bool = False) -> None:
        """Replace what was written here with the reply as it is now. The long prompt stays, and with `keep_ahead` the
        rest of what was known already where the reply goes on like that.
        """
        echo, n_written = self._echo.tokens(reply), len(self._text) - self._n_prompt
        known = self._text[self._n_prompt :] + [token for token, _ in self._ahead]
        shared = common_prefix(known, echo)
        goes_on = keep_ahead and shared == len(echo) >= n_written
        self._ahead = self._ahead[shared - n_written :] if goes_on else []
        self._text[self._n_prompt :] = echo
        if not self._ahead:
            self._sequence.cut(min(self._n_prompt + shared, len(self._text) - 1))

    def _keep(self, token: int) -> None:
        """Note that the token is part of the draft, so that penalties count it."""
        if self._sampler is not None:
            self._sampler.accept(token)

    def _next(
        self, sampler: TokenSampler | None, n: int = 1, stop_below: float = 0.0
    ) -> Writing[tuple[int, float] | None]:
        """The drafter's next token, of `n` that are needed, and its log-probability.

        None if it ends its text there, or is less probable than `stop_below`.
        """
        if not self._ahead:
            goes_on = n > 1 and sampler is None
            onward = Onward(n - 1, self._stop_tokens, stop_below) if goes_on else None
            rows = yield Pass(self._sequence, self._text, [], sampler, onward=onward, meanwhile=self.beside)
            self.seconds += rows.seconds
            self._ahead = [rows.choose(row) for row in range(rows.n_rows)]
        token, logprob = self._ahead[0]
        is_end = self._vocabulary.is_end(token)
        self.stop = None if is_end else self._stop_tokens.get(token)
        if is_end or self.stop is not None or (stop_below > 0 and logprob < math.log(stop_below)):
            return None
        del self._ahead[0]
        self._text.append(token)
        self.n_drafted += 1
        return token, logprob
