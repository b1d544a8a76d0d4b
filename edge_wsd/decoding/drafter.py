"""The drafter: writes the beginning, and goes on proposing once the base has taken over."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from edge_wsd.decoding.bridge import Bridge, Draft
from edge_wsd.decoding.events import SwitchReason
from edge_wsd.decoding.sequence import Sampler, Sequence, Vocabulary, rewind_to


class Drafter:
    """A sequence of the small model behind its own prompt. `draft` is what it wrote, in the base's tokens."""

    def __init__(
        self,
        sequence: Sequence,
        prompt: list[int],
        vocabulary: Vocabulary,
        bridge: Bridge,
        draft: Draft,
        *,
        anchor: str,
        stop_tokens: Mapping[int, str] = MappingProxyType({}),
        sampler: Sampler = None,
        max_draft: int,
        n_ctx: int,
    ) -> None:
        """`prompt` ends in `anchor`; `draft` is still empty. `stop_tokens` are tokens by the stop strings they are."""
        self.draft = draft
        self.ended: SwitchReason | None = None
        self.stop: str | None = None
        """The stop string at whose token the draft ended."""
        self.n_drafted = 0
        self._sequence = sequence
        self._prompt = prompt
        self._vocabulary = vocabulary
        self._bridge = bridge
        self._echo = bridge.echo(anchor)
        self._stop_tokens = stop_tokens
        self._sampler = sampler
        self._max_draft = min(max_draft, n_ctx - len(prompt))
        self._n_ctx = n_ctx
        self._unread = rewind_to(sequence, prompt)

    def step(self) -> int:
        """Write one token into the draft; returns the index of the first entry of `draft.tokens` that changed."""
        token = self._next(self._sampler) if self._max_draft > 0 else None
        if token is None:
            self.ended = "draft_ended" if self._max_draft > 0 else "draft_limit"
            return self.draft.flush()
        changed = self.draft.push(token)
        if self.n_drafted >= self._max_draft:
            self.ended = "draft_limit"
            return min(changed, self.draft.flush())
        return changed

    def propose(self, reply: list[int], n: int) -> list[int]:
        """About `n` tokens that may follow `reply`; all in the base's vocabulary. Reads what it has missed first."""
        text = self._prompt + self._echo.tokens(reply)
        n = min(n, self._n_ctx - len(text))
        if n <= 0:
            return []
        self._unread = rewind_to(self._sequence, text)
        proposed: list[int] = []
        while len(proposed) < n and (token := self._next(None)) is not None:
            if not proposed:
                self._sequence.checkpoint()
            proposed.append(token)
        return self._bridge.to_base(proposed)

    def _next(self, sampler: Sampler) -> int | None:
        """The drafter's next token; None if it ends its text."""
        token, _ = self._sequence.score(self._unread, []).choose(0, sampler)
        if self._vocabulary.is_end(token):
            return None
        if token in self._stop_tokens:
            self.stop = self._stop_tokens[token]
            return None
        if sampler is not None:
            sampler.accept(token)
        self._unread = [token]
        self.n_drafted += 1
        return token
