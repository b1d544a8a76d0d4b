"""A worker that fails in the middle of a pass, wherever that is noticed: an error before tokens are made of what came.

The relay then gives zeros, of which tokens could be made. No RPC backend is needed here: the relay is real, its worker
is not there, and the layers are on this machine.
"""

from __future__ import annotations

import pytest

from edge_wsd import ModelSettings, WorkerError
from edge_wsd._native import CancelFlag
from edge_wsd.errors import LogitsError
from edge_wsd.llama import context as context_module
from edge_wsd.llama import rpc_protocol as rpc
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.relay import Relay
from edge_wsd.llama.scores import Scores
from edge_wsd.llama.sequence import Going, Piece
from tests.tiny_models import TinyModel

SETTINGS = ModelSettings(context_length=64, batch=64, threads=1)
PROMPT = [260, *range(5, 25)]
N_STEPS = 6


@pytest.fixture
def relay():
    return Relay(rpc.Address("127.0.0.1", 1), 1.0)


@pytest.fixture
def context(tmp_path, relay):
    with Model.load(TinyModel().write(tmp_path / "tiny.gguf"), SETTINGS) as model:
        model.relays = [relay]
        with Context(model, SETTINGS, n_sequences=2) as context:
            yield context


def fails_behind(function, relay):
    """The same function; the worker has failed when it comes back."""

    def call(*arguments):
        result = function(*arguments)
        relay.fail(WorkerError("worker 127.0.0.1:1 has said nothing for 1 s"))
        return result

    return call


def begun(context, n_texts=1):
    """The prompt read, with a row behind it."""
    going = [Going(context.sequence(), Scores(context), N_STEPS, (), 0.0) for _ in range(n_texts)]
    context.run([Piece(one.sequence, list(PROMPT), [-1]) for one in going], [one.scores for one in going])
    return going


@pytest.mark.parametrize("n_texts", [1, 2])
def test_a_worker_that_fails_while_the_rows_come_back_is_an_error(context, relay, monkeypatch, n_texts):
    """A decode only sends off what is to be computed: the rows are waited for when they are asked for."""
    monkeypatch.setattr(context_module, "_logits_of", fails_behind(context_module._logits_of, relay))
    pieces = [Piece(context.sequence(), list(PROMPT), [-1]) for _ in range(n_texts)]
    scores = [Scores(context) for _ in pieces]
    with pytest.raises(WorkerError, match=r"said nothing .* load it again"):
        context.run(pieces, scores)
    assert [one.n_rows for one in scores] == [0] * n_texts
    assert all(piece.sequence.tokens == PROMPT for piece in pieces)


def test_a_worker_that_fails_in_a_decode_without_rows_is_an_error(context, relay, monkeypatch):
    monkeypatch.setattr(context, "_llama_decode", fails_behind(context._llama_decode, relay))
    with pytest.raises(WorkerError):
        context.run([Piece(context.sequence(), list(PROMPT), [])], [Scores(context)])


def test_a_worker_that_fails_in_native_steps_is_an_error_and_the_ledger_says_what_was_read(context, relay, monkeypatch):
    (one,) = begun(context)
    monkeypatch.setattr(context._steps, "take", fails_behind(context._steps.take, relay))
    with pytest.raises(WorkerError):
        context.go_on([one], CancelFlag())
    assert len(one.sequence.tokens) == len(PROMPT) + N_STEPS and one.scores.n_rows == 1


def test_of_rows_that_are_no_probabilities_the_worker_is_the_reason_and_not_the_file(context, relay, monkeypatch):
    (one,) = begun(context)

    def damaged(*_):
        relay.fail(WorkerError("worker 127.0.0.1:1 has said nothing for 1 s"))
        raise LogitsError("a NaN")

    monkeypatch.setattr(context._steps, "take", damaged)
    with pytest.raises(WorkerError, match="said nothing"):
        context.go_on([one], CancelFlag())
    assert one.sequence.tokens == []


@pytest.mark.parametrize("is_made", [True, False])
def test_a_context_over_a_worker_that_has_failed_is_not_made(context, relay, monkeypatch, is_made):
    """Whether or not llama.cpp notices: a buffer that cannot be had is not for lack of memory then."""
    relay.fail(WorkerError("worker 127.0.0.1:1 has said nothing for 1 s"))
    if not is_made:
        monkeypatch.setattr(context_module.llama_cpp, "llama_init_from_model", lambda *_: None)
    with pytest.raises(WorkerError):
        Context(context.model, SETTINGS)
