"""Penalties and biases: what is chosen is what llama.cpp's own samplers make most probable; what is told stays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from edge_wsd import _native
from edge_wsd.decoding.options import Options, parse_bias
from edge_wsd.errors import LogitsError, OptionError
from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.sampler import Penalties, Sampler
from tests.llama_chain import Candidates, chain

SIZE = 40
OFF: dict[str, Any] = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 0}
SETTINGS: list[dict[str, Any]] = [
    {"penalties": Penalties(64, repeat=1.3)},
    {"penalties": Penalties(5, repeat=2.0)},
    {"penalties": Penalties(8, repeat=0.7)},
    {"penalties": Penalties(16, presence=1.5)},
    {"penalties": Penalties(16, frequency=0.6)},
    {"penalties": Penalties(1, repeat=3.0, presence=-0.5, frequency=1.0)},
    {"penalties": Penalties(0, repeat=3.0)},
    {"biases": [(3, 2.0), (7, -4.0), (3, 1.0), (20, -math.inf)]},
    {"biases": [(3, 2.0), (9, 6.0)], "penalties": Penalties(12, repeat=1.8, frequency=0.3)},
]


def theirs(settings: dict[str, Any]) -> list[Any]:
    """llama.cpp's samplers for the same, in the order of its own programs."""
    biases = settings.get("biases", ())
    array = (llama_cpp.llama_logit_bias * max(len(biases), 1))(*biases)
    given = settings.get("penalties", Penalties(0))
    penalties = llama_cpp.llama_sampler_init_penalties(
        SIZE, given.last_n, given.repeat, given.frequency, given.presence
    )
    return [llama_cpp.llama_sampler_init_logit_bias(SIZE, len(biases), array), penalties]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_each_choice_is_the_best_after_llama_cpps_samplers(settings: dict[str, Any]) -> None:
    """Few tokens and rows near each other, so that nearly every choice hangs on what came before."""
    rows = np.random.default_rng(0).normal(0, 1, (400, SIZE)).astype(np.float32)
    ours = Sampler(**OFF, **settings)
    moved = 0
    with chain(*theirs(settings)) as handle:
        for row in rows:
            wanted = Candidates(row).after(handle).logits
            token, logprob = ours.choose(row.ctypes.data, SIZE)
            assert token == int(wanted.argmax())
            assert logprob == _native.score_row(row.ctypes.data, SIZE, token)[0]
            moved += token != int(row.argmax())
            ours.accept(token)
            llama_cpp.llama_sampler_accept(handle, token)
    assert (moved > 5) == (settings != {"penalties": Penalties(0, repeat=3.0)})


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_draws_follow_the_changed_row(settings: dict[str, Any]) -> None:
    row = np.random.default_rng(1).normal(0, 1, SIZE).astype(np.float32)
    history = [1, 3, 3, 5, 3, 1, 30]
    drawn = np.zeros(SIZE)
    sampler = Sampler(**{**OFF, "temperature": 1.0}, **settings, prompt=history)
    for _ in range(8000):
        drawn[sampler.choose(row.ctypes.data, SIZE)[0]] += 1
    with chain(*theirs(settings)) as handle:
        for token in history:
            llama_cpp.llama_sampler_accept(handle, token)
        wanted = Candidates(row).after(handle).probabilities
    assert not drawn[wanted == 0].any()
    means = 8000 * wanted[wanted > 0]
    assert ((drawn[wanted > 0] - means) ** 2 / means).sum() < SIZE + 5 * math.sqrt(2 * SIZE)


def test_the_row_itself_stays_as_it_is() -> None:
    row = np.random.default_rng(2).normal(0, 1, SIZE).astype(np.float32)
    before = row.copy()
    sampler = Sampler(**OFF, biases=[(4, 9.0)], penalties=Penalties(4, repeat=2.0), prompt=[1, 2, 3])
    sampler.choose(row.ctypes.data, SIZE)
    assert np.array_equal(row, before)


@pytest.mark.parametrize("last_n", [-1, 0, 2, 3, 50])
def test_only_the_last_tokens_of_the_prompt_count(last_n: int) -> None:
    row = np.zeros(SIZE, np.float32)
    prompt = [0, 1, 2, 3, 4]
    sampler = Sampler(**OFF, penalties=Penalties(last_n, presence=1.0), prompt=prompt)
    penalised = prompt if last_n < 0 else prompt[-last_n:] if last_n else []
    chosen = sampler.choose(row.ctypes.data, SIZE)[0]
    assert chosen == min(set(range(SIZE)) - set(penalised))


def test_where_every_token_is_forbidden_there_is_one_clear_error() -> None:
    row = np.array([1.0, np.inf, 2.0], np.float32)
    forbidden = Sampler(**OFF, biases=[(0, -math.inf), (1, -math.inf), (2, -math.inf)])
    with pytest.raises(LogitsError, match="biases leave no token"):
        forbidden.choose(row.ctypes.data, 3)
    two = Sampler(**OFF, biases=[(1, -math.inf), (2, -math.inf)])
    assert two.choose(row.ctypes.data, 3)[0] == 0


def test_infinite_logits_are_not_moved_by_penalties() -> None:
    row = np.array([1.0, np.inf, 2.0, -np.inf], np.float32)
    sampler = Sampler(**OFF, penalties=Penalties(4, repeat=2.0, frequency=3.0), prompt=[1, 1, 3])
    assert sampler.choose(row.ctypes.data, 4) == (1, 0.0)


def test_a_bias_is_read_as_people_write_it() -> None:
    assert parse_bias("15043=-5") == (15043, -5.0)
    assert parse_bias(" Paris=1.5") == (" Paris", 1.5)
    assert parse_bias("a=b=2") == ("a=b", 2.0)
    assert parse_bias('"42"=-inf') == ("42", -math.inf)
    given = Options(logit_bias={15043: -5, "Sure": -math.inf})
    assert given.logit_bias == ((15043, -5.0), ("Sure", -math.inf))
    assert Options(logit_bias="15043=-5").logit_bias == Options(logit_bias=[[15043, -5]]).logit_bias
    for wrong in ("15043", "=5", "x=", "x=much", "x=nan", "5=1e9", "5=inf"):
        with pytest.raises(OptionError, match=r"^logit_bias must be"):
            Options(logit_bias=(wrong,))


def test_what_changes_a_choice_is_not_greedy() -> None:
    assert Options().is_greedy
    assert Options(repeat_penalty=1.5, repeat_last_n=0).is_greedy
    changed = ({"temperature": 1.0}, {"repeat_penalty": 1.1}, {"presence_penalty": 1.0}, {"frequency_penalty": -1.0})
    assert not any(Options(**each).is_greedy for each in (*changed, {"logit_bias": "1=2"}))
