"""Passes over blocks: texts do not depend on what is computed together. Held by a model whose numbers do."""

import random
from itertools import product

import pytest

from edge_wsd.llama.passes import BLOCK, most_rows, passes
from tests.fakes import FakeRows, FakeSampler
from tests.unit.test_weak_to_strong import Bench

SEEDS = range(30)
ROUNDING = 0.3


class Rounding:
    """A memory in which what is kept of a token, and its logits, depend on what they were computed together with."""

    block = BLOCK
    longest = 16

    def __init__(self, model):
        self.model = model
        self.tokens = []
        self._kept = []  # per token: how it, and all before it, were computed
        self._heads = {}  # by length: the row behind so many tokens, as the last pass left it

    def read(self, asked):
        n_rows = len(asked.proposed) + asked.beyond
        whole = (asked.text + asked.proposed)[: len(asked.text) - 1 + n_rows]
        return FakeRows(self._read(whole[len(self.tokens) :], n_rows), asked)

    def _read(self, new, n_rows):
        plan = passes(len(self.tokens), len(new), n_rows, block=self.block, most=self.longest)
        begin, length = plan[0].start, len(self.tokens) + len(new)
        text = self.tokens + new + [1] * (plan[-1].end - length)
        self.cut(begin)
        self._heads = {}
        for one in plan:
            size = self.block if self.block > 1 else one.end - one.start
            for first in range(one.start, one.end, size):
                self._compute(text[first : first + size], min(size, max(0, one.n_rows - (one.end - first - size))))
        self.cut(length)
        return [self._heads[n] for n in range(length - n_rows + 1, length + 1)]

    def _compute(self, tokens, n_rows):
        for place, token in enumerate(tokens):
            self.tokens.append(token)
            self._kept.append(hash((tuple(self._kept[-1:]), place, len(tokens))))
            if place >= len(tokens) - n_rows:
                noise = random.Random(f"{self._kept[-1]} {n_rows} {place}")
                logprobs = self.model.logprobs(tuple(self.tokens))
                self._heads[len(self.tokens)] = [x + ROUNDING * noise.gauss(0, 1) for x in logprobs]

    def spare(self, n):
        return max(0, min(-(len(self.tokens) + n) % self.block, most_rows(block=self.block, most=self.longest) - n))

    def cut(self, n):
        del self.tokens[n:], self._kept[n:]

    def checkpoint(self):
        pass


class Careless(Rounding):
    block = 1


@pytest.mark.parametrize("drawn", [False, True], ids=["greedy", "sampled"])
def test_the_text_is_the_same_with_speculation_and_without_whatever_rounding_does(drawn):
    """Passes of other sizes after the switch once changed a third of the texts of a model in 4 bits."""

    def texts(memory, seed, **options):
        samplers = (FakeSampler(1), FakeSampler(2)) if drawn else (None, None)
        bench = Bench(seed, memory=memory, samplers=samplers, temperature=float(drawn), **options).run()
        return bench.writer.ids, bench.switch

    differing = 0
    for seed in SEEDS:
        assert texts(Rounding, seed) == texts(Rounding, seed, speculation=False)
        assert texts(Rounding, seed, chunk=3) == texts(Rounding, seed, chunk=7, speculation=False)
        differing += texts(Careless, seed) != texts(Careless, seed, speculation=False)
    assert differing > 0  # or this model would prove nothing


@pytest.mark.parametrize("block, most", [(1, 1), (1, 5), (4, 4), (4, 8), (4, 12)])
def test_passes_cover_the_new_tokens_and_lend_the_rows_that_are_asked_for(block, most):
    for n_held, n_new in product(range(10), range(1, 26)):
        for n_rows in range(1, min(n_new, most_rows(block=block, most=most)) + 1):
            plan = passes(n_held, n_new, n_rows, block=block, most=most)
            ends = [one.end for one in plan]
            assert [one.start for one in plan] == [n_held // block * block, *ends[:-1]]
            assert 0 <= ends[-1] - (n_held + n_new) < block
            assert all(0 < one.end - one.start <= most for one in plan)
            assert all(place % block == 0 for one in plan for place in (one.start, one.end, one.n_rows))
            assert [one.n_rows for one in plan[:-1]] == [0] * (len(plan) - 1)
            last = plan[-1]
            assert last.start <= last.end - last.n_rows <= n_held + n_new - n_rows


def test_without_blocks_a_pass_is_what_is_new_and_the_rows_are_those_asked_for():
    assert [(one.start, one.end, one.n_rows) for one in passes(7, 9, 3, block=1, most=4)] == [
        (7, 8, 0),
        (8, 12, 0),
        (12, 16, 3),
    ]
