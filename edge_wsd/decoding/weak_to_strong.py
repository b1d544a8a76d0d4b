"""The loop: the drafter proposes, the base scores the proposal in one pass, a rule decides what is kept.

The rule changes once. While drafting, every token is kept until the base is confident; from then on a token is kept if
it is the base's own choice, so the text is what the base alone would have written from there.

Source: Song et al., arXiv 2506.07434 (the switch); Leviathan et al., arXiv 2211.17192 (the exact continuation).
"""

from __future__ import annotations

from edge_wsd.decoding.reply_state import ReplyState
from edge_wsd.decoding.sequence import Writing


def weak_to_strong(reply: ReplyState) -> Writing[None]:
    """A reply that the drafter begins and the base finishes. One without a drafter is the base's from the start."""
    while reply.drafting:
        proposed = yield from reply.draft()
        if reply.drafting:
            rows = yield reply.scoring_pass(proposed)
            yield from reply.judge(rows, proposed)
    while not reply.done:
        proposed = yield from reply.propose()
        rows = yield reply.choosing_pass(proposed)
        yield from reply.accept(rows, proposed)
