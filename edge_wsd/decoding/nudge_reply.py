"""Nudging: the drafter writes a word wherever the base is unsure, and the base continues once it is sure again.

Source: Fei et al., "Nudging: Inference-time Alignment of LLMs via Guided Decoding", arXiv 2410.09300.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from edge_wsd.decoding.drafter import Drafter
from edge_wsd.decoding.events import Event, Scored, Switched
from edge_wsd.decoding.experience import Experience
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.options import Options
from edge_wsd.decoding.protocols import Rows, Writing
from edge_wsd.decoding.reply_state import PromptedModel, ReplyState
from edge_wsd.decoding.writer import ReplyWriter


class NudgeReply(ReplyState):
    """The base is unsure where its most probable token is less probable than `options.nudge_below`.

    The drafter's words are kept as they are. When it has nothing more to say, the reply ends.
    """

    def __init__(
        self,
        base: PromptedModel,
        options: Options,
        writer: ReplyWriter,
        meter: Meter,
        drafter: Drafter,
        experience: Experience | None = None,
        *,
        strip: bool,
    ) -> None:
        """`strip` drops white space before the first word."""
        super().__init__(base, options, writer, meter, drafter, experience)
        self._drafter = drafter
        self._strip = strip
        self._surest = math.log(options.nudge_below)
        # Tokens that the drafter may still write; those that it only proposes do not count.
        self._n_left = options.max_draft
        self._is_word = False  # the newest token is the drafter's
        self._is_dumb = False  # the drafter's word has no tokens in the base, which writes next, however unsure it is

    def hesitates(self, top: float) -> bool:
        return self._n_left > 0 and not self._is_dumb and top < self._surest

    def keep_choices(self, rows: Rows, proposed: list[int], first: int, n_rows: int) -> Iterator[Event]:
        """The same; after a word of the drafter, the base has taken over."""
        if self._is_word and not self.hesitates(top := rows.top(first)):
            self.meter.switched()
            self._is_word = False
            self.switch = Switched(len(self.writer.ids) - 1, "confident", math.exp(top))
            yield self.switch
        yield from super().keep_choices(rows, proposed, first, n_rows)

    def draft(self) -> Writing[list[int]]:
        """One word."""
        word = yield from self._drafter.word(self.writer.ids, strip=self._strip and not self.writer.ids)
        if "drafter" in self._paces:
            self._paces["drafter"].has_read()
        if self._drafter.ended and self._drafter.stop is not None:
            yield from self.writer.stop_at(self._drafter.stop)
        elif self._drafter.ended:
            yield from self.writer.end("stop")
        return word[: min(self.writer.n_left, self._n_left)]

    def judge(self, rows: Rows, proposed: list[int]) -> Iterator[Event]:
        """Keep the word, whatever the base thinks of it, and report its scores."""
        self.meter.base_passes += 1
        self.turn = "base"
        if not proposed:
            self._is_dumb = True
            yield from self.keep_choices(rows, [], 0, 1)
            self._is_dumb = False
            return
        tops = tuple(self.top(rows, row) for row in range(len(proposed))) if self.options.top_logprobs else ()
        scored = Scored(len(self.writer.ids), tuple(rows.logprobs), (None,) * len(proposed), top=tops)
        self._is_word = True
        self._n_left -= len(proposed)
        self.text += proposed
        self.tell_sampler(proposed, drafted=True)
        self.meter.n_drafted += len(proposed)
        self.meter.n_accepted += len(proposed)
        self.meter.n_until_switch += len(proposed)
        for token in proposed:
            yield from self.writer.write(token, "drafter")
            if self.done:
                break
        self.writer.score(scored)
        yield scored
