"""Penalties and biases in whole replies of the demonstration pair: they steer the text, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest

from edge_wsd import OptionError, Pair
from edge_wsd.llama.settings import ModelSettings
from edge_wsd.prompts.messages import Message

QUESTION = "How do I list files by size?"


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    exact = ModelSettings(threads=1, exact=True)
    with Pair.demo(drafter_settings=exact, base_settings=exact) as pair:
        yield pair


STEERED = [
    {"repeat_penalty": 1.6, "frequency_penalty": 0.5},
    {"presence_penalty": 8.0, "temperature": 0.9, "seed": 4, "top_p": 0.9},
    {"logit_bias": {"size": 3.0, "list": -4.0}, "repeat_penalty": 1.2},
]


@pytest.mark.parametrize("changes", STEERED, ids=str)
def test_a_steered_text_does_not_hang_on_how_much_is_proposed(pair: Pair, changes: dict[str, object]) -> None:
    """Each token that is kept is counted once, in order, by the model that goes on from there."""
    given = {"max_tokens": 48, "switch_at": 7, **changes}
    ids = [
        [token.id for token in pair.generate(QUESTION, speculation=speculation, chunk=chunk, **given).tokens]  # type: ignore[arg-type]
        for speculation, chunk in ((True, 8), (False, 8), (True, 3))
    ]
    assert ids[0] == ids[1] == ids[2]
    plain = {
        key: value for key, value in given.items() if key not in changes or key in ("temperature", "seed", "top_p")
    }
    assert ids[0] != [token.id for token in pair.generate(QUESTION, **plain).tokens]  # type: ignore[arg-type]


def test_a_token_that_is_forbidden_comes_nowhere_and_the_logprobs_stay_the_models_own(pair: Pair) -> None:
    plain = pair.generate(QUESTION, mode="base", max_tokens=12)
    first = plain.tokens[0]
    other = pair.generate(QUESTION, mode="base", max_tokens=12, logit_bias={first.id: -math.inf})
    assert first.id not in [token.id for token in other.tokens]
    kept = pair.generate(QUESTION, mode="base", max_tokens=12, logit_bias={first.id: 1.5}, repeat_penalty=1.0)
    assert kept.tokens[0].id == first.id
    assert kept.tokens[0].logprob == pytest.approx(first.logprob, abs=1e-4)


def test_penalties_count_the_draft_and_the_prompt(pair: Pair) -> None:
    """The base's first own choice behind a draft is steered by the drafted tokens."""
    reply = pair.generate(QUESTION, max_tokens=30, switch_at=12, presence_penalty=100.0, repeat_last_n=-1)
    drafted = [token.id for token in reply.tokens if token.source == "drafter"]
    by_base = [token.id for token in reply.tokens if token.source == "base"]
    assert len(by_base) == len(set(by_base)) > 0
    assert not set(drafted) & set(by_base)
    assert len(drafted) == len(set(drafted))
    prompt = pair.base.encode([Message("user", QUESTION)]).tokens
    assert not set(prompt) & set(by_base)


def test_an_id_that_the_vocabulary_lacks_is_named(pair: Pair) -> None:
    with pytest.raises(OptionError, match="logit_bias has token 999999; expected an id below"):
        pair.generate(QUESTION, logit_bias={999999: 1.0})
