"""How many tokens a request has cost, in OpenAI's form."""

from __future__ import annotations

from collections.abc import Sequence

from edge_wsd.decoding.events import Reply
from edge_wsd.serve.openai.chat_types import PromptTokensDetails, Usage


def usage_of(prompts: Sequence[Reply], whole: Sequence[Reply]) -> Usage:
    """Tokens of the model that finishes the answers. `prompts` has one reply to each prompt, which counts once; `whole`
    has all.

    Where an answer ended before the base had read anything, they are the drafter's.
    """
    counts = [_prompt_tokens(reply) for reply in prompts]
    n_prompt, n_cached = sum(n for n, _ in counts), sum(n for _, n in counts)
    n_written = sum(reply.stats.n_tokens for reply in whole)
    return Usage(
        prompt_tokens=n_prompt,
        completion_tokens=n_written,
        total_tokens=n_prompt + n_written,
        prompt_tokens_details=PromptTokensDetails(cached_tokens=n_cached),
    )


def _prompt_tokens(reply: Reply) -> tuple[int, int]:
    """All, and those that were in memory."""
    stats = reply.stats
    if stats.base_prompt_tokens:
        return stats.base_prompt_tokens, stats.base_reused_tokens
    return stats.drafter_prompt_tokens, stats.drafter_reused_tokens
