"""Uses everything that holds llama.cpp's memory after it was freed, and tells what came of each: run by the tests.

In a process of its own, since each of these once ended the process or could: `python uses_after_close.py MODEL`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from edge_wsd._native import CancelFlag
from edge_wsd.llama.context import Context
from edge_wsd.llama.grammar import Grammar
from edge_wsd.llama.model import Model
from edge_wsd.llama.sampler import Sampler
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.llama.tools.tap import Tap

SETTINGS = ModelSettings(context_length=256, batch=32, threads=1)


class Things:
    """One of each, with something in memory."""

    def __init__(self, path: str) -> None:
        self.model = Model.load(path)
        self.tap = Tap({"blk.0.attn_q.weight"})
        self.context = Context(self.model, SETTINGS, n_sequences=3, tap=self.tap)
        self.sequence, self.other = self.context.sequence(), self.context.sequence()
        self.state = self.sequence.save()
        self.rows = self.other.logits([1, 2, 3])
        self.scores = self.sequence.score([1, 2, 3], [4, 5])
        self.drawn = self.sequence.score([6], [7, 8])
        grammar = Grammar("root ::= .*", self.model, from_start=True)
        self.drawn.sampler = self.sampler = Sampler(
            temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=1, grammar=grammar
        )
        self.vocab = self.model.vocab


Use = Callable[[Things], Any]
OF_A_SEQUENCE: dict[str, Use] = {
    "extend": lambda it: it.sequence.extend([1]),
    "score": lambda it: it.sequence.score([1], [2]),
    "logits": lambda it: it.sequence.logits([1]),
    "cut": lambda it: it.sequence.cut(1),
    "cut to nothing": lambda it: it.sequence.cut(0),
    "cut nothing": lambda it: it.sequence.cut(1000),
    "clear": lambda it: it.sequence.clear(),
    "save": lambda it: it.sequence.save(),
    "restore": lambda it: it.sequence.restore(it.state),
    "copy to": lambda it: it.sequence.copy_to(it.other),
    "copy from": lambda it: it.other.copy_to(it.sequence),
}
OF_A_CONTEXT: dict[str, Use] = {
    "draw": lambda it: it.drawn.choose(0),
    "draw from the last row": lambda it: it.drawn.choose(2),
    "another sequence": lambda it: it.context.sequence(),
    "watch": lambda it: it.context.watch(CancelFlag()),
    "raise_if_cancelled": lambda it: it.context.raise_if_cancelled(),
    "memory": lambda it: it.context.memory,
    "handle": lambda it: it.context.handle,
}
OF_A_MODEL: dict[str, Use] = {
    "another context": lambda it: Context(it.model, SETTINGS),
    "chat template": lambda it: it.model.chat_template,
    "description": lambda it: it.model.description,
    "parameters": lambda it: it.model.n_params,
    "size": lambda it: it.model.size_bytes,
    "trained length": lambda it: it.model.n_ctx_train,
    "can cut": lambda it: it.model.can_cut,
    "sliding window": lambda it: it.model.sliding_window,
    "context length": lambda it: it.model.context_length(SETTINGS),
    "tokenize": lambda it: it.vocab.tokenize("hello"),
    "piece": lambda it: it.vocab.piece(5),
    "text": lambda it: it.vocab.text(5),
    "attributes": lambda it: it.vocab.attributes(5),
    "is end": lambda it: it.vocab.is_end(5),
}
OF_A_SAMPLER: dict[str, Use] = {
    "draw under its grammar": lambda it: it.drawn.choose(0),
}
CLOSED: dict[str, tuple[Use, dict[str, Use]]] = {
    "sequence": (lambda it: it.sequence.close(), OF_A_SEQUENCE),
    "context": (lambda it: it.context.close(), OF_A_SEQUENCE | OF_A_CONTEXT),
    "model": (lambda it: it.model.close(), OF_A_SEQUENCE | OF_A_CONTEXT | OF_A_MODEL),
    "sampler": (lambda it: it.sampler.close(), OF_A_SAMPLER),
}
HARMLESS: dict[str, Use] = {
    "closing once more": lambda it: [x.close() for x in (it.sequence, it.other, it.context, it.model, it.sampler)],
    "closing in the other order": lambda it: [x.close() for x in (it.model, it.context, it.other, it.sequence)],
    "rows that were read": lambda it: float(it.rows.sum()),
    "what was scored": lambda it: [*it.scores.logprobs, it.scores.choose(0)],
    "what a tap has seen": lambda it: len(it.tap.sums),
}


def outcomes(path: str) -> dict[str, str]:
    """Of each use the name of the error that it raised, or "done"."""
    found = {}
    for owner, (close, uses) in CLOSED.items():
        for name, use in (uses | HARMLESS).items():
            print(f"{name} of a closed {owner}", file=sys.stderr, flush=True)  # the last one is where it died
            things = Things(path)
            close(things)
            try:
                use(things)
                found[f"{owner}: {name}"] = "done"
            except Exception as error:
                found[f"{owner}: {name}"] = type(error).__name__
            things.model.close()
    return found


if __name__ == "__main__":
    print(json.dumps(outcomes(sys.argv[1])))
