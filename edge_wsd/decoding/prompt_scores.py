"""What a model thinks of a prompt: the probability of each of its tokens, in passes that others take part in."""

from __future__ import annotations

from collections.abc import Collection

from edge_wsd.decoding.alternatives import alternatives, shown_text
from edge_wsd.decoding.events import Reading, ScoredToken
from edge_wsd.decoding.protocols import Pass, Vocabulary, Writing
from edge_wsd.decoding.reply_state import PromptedModel

MOST_AT_ONCE = 128
"""Tokens scored in one pass: each needs a row of logits, and other replies wait meanwhile."""


def score_prompt(model: PromptedModel, vocabulary: Vocabulary, n_top: int) -> Writing[tuple[ScoredToken, ...]]:
    """The tokens of the model's prompt, each with its log-probability and `n_top` alternatives; the first has none.

    What was in memory of it is read again, since rows are not kept there. It holds all but the last token then.
    """
    tokens, most = model.prompt + model.opening, min(MOST_AT_ONCE, model.most_proposed)
    model.sequence.cut(0)
    model.sequence.n_reused = 0
    scored = [_scored(vocabulary, tokens[0], None, ())]
    for start in range(0, len(tokens) - 1, most):
        if len(tokens) > most:
            yield Reading(model.source, start, len(tokens))
        text, proposed = tokens[: start + 1], tokens[start + 1 : start + 1 + most]
        rows = yield Pass(model.sequence, text, proposed, beyond=False, likeliest=n_top)
        for row, (token, logprob) in enumerate(zip(proposed, rows.logprobs, strict=True)):
            scored.append(_scored(vocabulary, token, logprob, rows.likeliest(row) if n_top else ()))
    return tuple(scored)


def _scored(
    vocabulary: Vocabulary, token: int, logprob: float | None, likeliest: Collection[tuple[int, float]]
) -> ScoredToken:
    top = alternatives(vocabulary, likeliest)
    return ScoredToken(token, shown_text(vocabulary, token), vocabulary.piece(token), logprob, top)
