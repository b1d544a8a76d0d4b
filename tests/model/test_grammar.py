"""A reply keeps to its grammar, whatever the models would say; what llama.cpp cannot do safely never reaches it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest

from edge_wsd import OptionError, Pair
from edge_wsd.errors import ClosedError, GrammarError
from edge_wsd.llama.grammar import Grammar
from edge_wsd.llama.sampler import Sampler
from edge_wsd.llama.settings import ModelSettings
from tests.llama_chain import Candidates

QUESTION = "How do I list files by size?"
OFF = {"temperature": 0.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 0}
DIGITS = 'root ::= [0-9]{4} "-" [0-9]{2}'
SCHEMA = {
    "type": "object",
    "properties": {"command": {"enum": ["ls -lS", 'a "quoted" \\ one']}, "n": {"type": "integer"}},
    "required": ["command", "n"],
}


@pytest.fixture(scope="module", params=[False, True], ids=["same", "other"])
def pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    exact = ModelSettings(threads=1, exact=True)
    with Pair.demo(other_vocabulary=request.param, drafter_settings=exact, base_settings=exact) as pair:
        yield pair


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_from_the_start_the_whole_text_keeps_to_the_grammar(pair: Pair, temperature: float) -> None:
    for speculation in (True, False):
        reply = pair.generate(
            QUESTION, grammar=DIGITS, grammar_from="start", temperature=temperature, seed=3, speculation=speculation
        )
        year, dash, month = reply.text.partition("-")
        assert dash and len(year) == 4 and len(month) == 2 and (year + month).isdecimal()
        assert reply.finish_reason == "stop"


def test_after_the_switch_only_what_the_base_writes_keeps_to_it(pair: Pair) -> None:
    plain = pair.generate(QUESTION, switch_at=5)
    ruled = pair.generate(QUESTION, switch_at=5, grammar=DIGITS)
    drafted = "".join(token.text for token in plain.tokens[:5])
    assert ruled.text.startswith(drafted)
    rest = ruled.text.removeprefix(drafted)
    assert rest[4] == "-" and rest.replace("-", "").isdecimal() and len(rest) == 7


def test_a_schema_gives_json_that_keeps_to_it(pair: Pair) -> None:
    for temperature, seed in ((0.0, None), (1.0, 1), (1.0, 2)):
        reply = pair.generate(
            QUESTION, json_schema=SCHEMA, grammar_from="start", temperature=temperature, seed=seed, max_tokens=200
        )
        if reply.finish_reason == "stop":
            found = json.loads(reply.text)
            assert found["command"] in SCHEMA["properties"]["command"]["enum"]  # type: ignore[index]
            assert isinstance(found["n"], int)


def test_the_choice_under_a_grammar_is_the_best_that_it_allows(pair: Pair) -> None:
    """Against the grammar's own sampler over all candidates; a choice that is allowed is not touched."""
    model = pair.base.model
    size = model.vocab.n_tokens
    rows = np.random.default_rng(0).normal(0, 3, (30, size)).astype(np.float32)
    sampler = Sampler(**OFF, grammar=(own := Grammar('root ::= ([a-z]+ " ")+', model)))
    for row in rows:
        wanted = Candidates(row).after(own._handle.pointer).logits
        token, _ = sampler.choose(row.ctypes.data, size)
        assert token == int(wanted.argmax())
        sampler.accept(token)
    sampler.close()
    with pytest.raises(ClosedError):
        sampler.choose(rows[0].ctypes.data, size)


def test_draws_under_a_grammar_follow_what_is_left_of_the_row(pair: Pair) -> None:
    """The second draw has a random number of its own: with the first one's luck it would come out of one corner."""
    model = pair.base.model
    size = model.vocab.n_tokens
    row = np.random.default_rng(1).normal(0, 1, size).astype(np.float32)
    grammar = Grammar("root ::= [a-m]", model)
    allowed = Candidates(row).after(grammar._handle.pointer).probabilities > 0
    row[allowed] += np.log(np.exp(row[~allowed]).sum() / np.exp(row[allowed]).sum())  # half of all draws
    kept = Candidates(row).after(grammar._handle.pointer).probabilities
    share = np.exp(row.astype(np.float64))
    share /= share.sum()
    wanted = np.where(allowed, share, 0) + (1 - share[allowed].sum()) * kept
    sampler = Sampler(**{**OFF, "temperature": 1.0}, grammar=grammar)
    n = 4000
    found = np.bincount([sampler.choose(row.ctypes.data, size)[0] for _ in range(n)], minlength=size)
    assert not found[~allowed].any()
    means = n * wanted[allowed]
    assert ((found[allowed] - means) ** 2 / means).sum() < allowed.sum() + 5 * np.sqrt(2 * allowed.sum())
    sampler.close()


def test_a_token_that_the_grammar_does_not_allow_is_an_error_and_not_the_end(pair: Pair) -> None:
    """llama.cpp ends the process on it."""
    model = pair.base.model
    sampler = Sampler(**OFF, grammar=Grammar(DIGITS, model))
    (letter,) = model.vocab.tokenize("a")[-1:]
    end = model.vocab.eos
    assert end is not None
    for token in (letter, end):
        with pytest.raises(GrammarError, match="does not allow token"):
            sampler.accept(token)
    sampler.accept(letter, drafted=True)
    sampler.close()


def test_where_no_token_is_allowed_there_is_one_clear_error(pair: Pair) -> None:
    model = pair.base.model
    row = np.zeros(model.vocab.n_tokens, np.float32)
    sampler = Sampler(**OFF, grammar=Grammar("root ::= <[999999]>", model))
    with pytest.raises(GrammarError, match="allows none"):
        sampler.choose(row.ctypes.data, row.size)
    sampler.close()


def test_a_token_that_the_model_lacks_is_named(pair: Pair) -> None:
    with pytest.raises(OptionError, match="is not one of them"):
        Grammar("root ::= <|no-such-token|>", pair.base.model)


def test_a_grammar_of_too_many_readings_ends_its_reply(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each token took several times as long as the one before it, and the engine with all its replies hung."""
    monkeypatch.setattr("edge_wsd.llama.sampler.LONGEST_S", 0.05)
    model = pair.base.model
    sampler = Sampler(**OFF, grammar=Grammar('root ::= "a" root "b" | "a" root "c" | ""', model))
    letter = model.vocab.tokenize("a")[-1]
    with pytest.raises(GrammarError, match="too ambiguous"):
        for _ in range(40):
            sampler.accept(letter)
    sampler.close()


def test_a_grammar_that_is_ambiguous_at_once_does_not_hang(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp tries 300 ways for each character of each token that is refused: one call took for ever."""
    monkeypatch.setattr("edge_wsd.llama.sampler.LONGEST_S", 0.05)
    model = pair.base.model
    sampler = Sampler(**OFF, grammar=Grammar("root ::= " + "[a-z ]* " * 300, model))
    row = np.zeros(model.vocab.n_tokens, np.float32)
    row[model.vocab.tokenize("A")[-1]] = 5
    with pytest.raises(GrammarError, match="too ambiguous"):
        sampler.choose(row.ctypes.data, row.size)
    sampler.close()
