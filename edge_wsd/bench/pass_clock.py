"""Listens to the passes of a context: how long prompts take and how long what comes behind them, and how long llama.cpp
computes at all."""

from __future__ import annotations

from types import TracebackType

from edge_wsd.llama.context import Context


class PassClock:
    """Used as a context manager around what is measured. One at a time for a context."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._passes: list[tuple[list[tuple[int, int]], float]] = []

    def __enter__(self) -> PassClock:
        self._context.on_pass = self._heard
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._context.on_pass = None

    def _heard(self, pieces: list[tuple[int, int]], seconds: float) -> None:
        self._passes.append((pieces, seconds))

    @property
    def n_passes(self) -> int:
        return len(self._passes)

    @property
    def computing_s(self) -> float:
        """Seconds of all passes."""
        return sum(seconds for _, seconds in self._passes)

    def rates(self, n_prompt: int) -> tuple[float | None, float | None]:
        """Tokens per second over prompts of `n_prompt` tokens and behind them; None where nothing was read.

        A pass over both, or over several texts, counts for each by its tokens.
        """
        n_read, took = [0.0, 0.0], [0.0, 0.0]
        for pieces, seconds in self._passes:
            n_tokens = sum(n for _, n in pieces)
            in_prompts = sum(min(n, max(0, n_prompt - start)) for start, n in pieces)
            for at, part in enumerate((in_prompts, n_tokens - in_prompts)):
                n_read[at] += part
                took[at] += seconds * part / n_tokens
        prompt, behind = (n / seconds if seconds > 0 else None for n, seconds in zip(n_read, took, strict=True))
        return prompt, behind
