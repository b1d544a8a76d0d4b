"""The loop: the drafter proposes, the base scores the proposal in one pass, a rule decides what is kept.

In the drafter's turn the switch rule decides. In the base's turn a token is kept if it is the base's own choice, so the
text is what the base alone would have written from there.

Source: Song et al., arXiv 2506.07434 (the switch); Leviathan et al., arXiv 2211.17192 (the exact continuation).
"""

from __future__ import annotations

from edge_wsd.decoding.protocols import Writing
from edge_wsd.decoding.reply_state import ReplyState


def weak_to_strong(reply: ReplyState) -> Writing[None]:
    """Writes a reply of two models, or of one model alone."""
    while not reply.done:
        if reply.drafting:
            proposed = yield from reply.draft()
            if reply.drafting:
                rows = yield reply.scoring_pass(proposed)
                yield from reply.judge(rows, proposed)
        else:
            proposed = yield from reply.propose()
            rows = yield reply.choosing_pass(proposed)
            yield from reply.accept(rows, proposed)
