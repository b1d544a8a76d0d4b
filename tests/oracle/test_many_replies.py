"""Many replies at once against the published algorithm, with arrivals and cancels at random."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge_wsd import Options, Pair
from edge_wsd.engine.stream import Stream
from edge_wsd.session import Session
from tests.oracle.cases import CASES, Case
from tests.oracle.conftest import EXACT, VOCABULARIES
from tests.oracle.test_oracle import assert_same

pytestmark = pytest.mark.oracle
PARALLEL = (1, 4, 16)
N_CASES = 12
"""For each kind of run, chosen by a seed of its own."""


@pytest.fixture(scope="module", params=PARALLEL, ids=lambda n: f"{n} at once")
def many(request: pytest.FixtureRequest, float_model: Callable[[str], Path]) -> Iterator[dict[str, Pair]]:
    """The runtime under test, with room for several replies, by kind of vocabulary."""
    loaded = {
        vocabulary: Pair.load(
            float_model(drafter),
            float_model("base"),
            drafter_settings=EXACT,
            base_settings=EXACT,
            parallel=request.param,
        )
        for vocabulary, drafter in VOCABULARIES.items()
    }
    yield loaded
    for pair in loaded.values():
        pair.close()


def begin(pair: Pair, case: Case, options: Options) -> tuple[Session, Stream]:
    session = pair.session(options=options, messages=list(case.messages))
    return session, session.stream()


@pytest.mark.parametrize("vocabulary", VOCABULARIES)
@pytest.mark.parametrize("speculation", [True, False], ids=["speculation", "plain"])
@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_each_of_many_replies_is_that_of_the_published_algorithm(chunk, speculation, vocabulary, many, oracle):
    pair = many[vocabulary]
    rng = random.Random(f"{chunk} {speculation} {vocabulary} {pair.loaded.engine._parallel}")
    cases = [case for case in CASES if not oracle[vocabulary][case.name].undecided]
    running = []
    for case in rng.sample(cases, N_CASES):
        options = Options(**case.options, chunk=chunk, speculation=speculation)
        running.append((case, *begin(pair, case, options)))
        if rng.random() < 0.5:  # others come and go
            _, stream = begin(pair, rng.choice(cases), options)
            for _ in range(rng.randint(0, 3)):
                next(stream, None)
            if rng.random() < 0.5:
                stream.cancel()
                assert stream.result().finish_reason in ("cancelled", "stop", "length")
            else:
                stream.close()
        if rng.random() < 0.3:  # the next one arrives while this one is being written
            next(running[-1][2], None)
    for case, _, stream in running:
        assert_same(stream.result(), oracle[vocabulary][case.name])
