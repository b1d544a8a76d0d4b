"""Whole replies with the signal computed where the logits are: those of the host, alone, at once and after each other;
and a context whose device computes it badly does without."""

from __future__ import annotations

import ctypes
import logging

import pytest

from edge_wsd import ModelSettings, Options, Pair
from edge_wsd.errors import ClosedError
from edge_wsd.llama import device_signal, library
from edge_wsd.llama import rpc_protocol as rpc
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.relay import Relay
from edge_wsd.llama.scores import Scores
from edge_wsd.llama.sequence import Piece
from tests.other_architectures import mamba
from tests.tiny_models import TinyModel

SETTINGS = {"gpu_layers": 0, "threads": 1, "kv_type": "f32", "context_length": 512, "batch": 64}
QUESTIONS = ("How do I list files by size?", "How much disk space is left?", "hello", "How do I unpack archive.tar.gz?")
HOW = (
    Options(max_tokens=60),
    Options(max_tokens=60, speculation=False),
    Options(max_tokens=60, mode="base"),
    Options(max_tokens=60, mode="drafter"),
    Options(max_tokens=60, rule="nudge"),
    Options(max_tokens=40, switch_at=9, chunk=3),
)


def demo(how: str, **more) -> Pair:
    settings = ModelSettings(gpu_layers=0, threads=1, device_signal=how)
    return Pair.demo(drafter_settings=settings, base_settings=settings, **more)


def used(pair: Pair) -> list[int]:
    return [one.context.signal.n_passes if one.context.signal else 0 for one in (pair.drafter, pair.base)]


def facts(reply):
    numbers = [token.logprob for token in reply.tokens]
    return reply.text, reply.finish_reason, [token.id for token in reply.tokens], numbers


def require_equal(expected, found):
    """In numbers up to the rounding of passes of different lengths, of which there are others from run to run."""
    for one, other in zip(expected, found, strict=True):
        assert other[:3] == one[:3]
        assert other[3] == pytest.approx(one[3], abs=0.1)


def test_the_likeliest_tokens_are_looked_for_in_logits():
    """The numbers that a device computes do not tell them."""
    tops = []
    for how in ("off", "on"):
        with demo(how) as pair:
            reply = pair.generate(QUESTIONS[0], max_tokens=20, top_logprobs=3)
            tops.append([[one.id for one in token.top] for token in reply.tokens])
    assert tops[0] == tops[1] and all(len(top) == 3 for top in tops[0])


def test_replies_of_the_demo_pair_are_equal():
    replies = []
    for how in ("off", "on"):
        with demo(how) as pair:
            replies.append([facts(pair.generate(question, one)) for question in QUESTIONS for one in HOW])
            assert all(used(pair)) if how == "on" else used(pair) == [0, 0]
    require_equal(*replies)


def test_replies_written_at_once_are_equal():
    replies = []
    for how in ("off", "on"):
        with demo(how, parallel=4) as pair:
            streams = [pair.session(options=one).stream(question) for one in HOW[:3] for question in QUESTIONS]
            replies.append([facts(stream.result()) for stream in streams])
            assert all(used(pair)) if how == "on" else True
    require_equal(*replies)


def test_the_turns_of_a_conversation_and_of_its_fork_are_equal():
    texts = []
    for how in ("off", "on"):
        with demo(how) as pair:
            session = pair.session(options=HOW[0])
            session.ask(QUESTIONS[0])
            fork = session.fork()
            texts.append([session.ask(QUESTIONS[1]).text, fork.ask(QUESTIONS[2]).text, session.ask(QUESTIONS[3]).text])
            assert all(used(pair)) if how == "on" else True
    assert texts[0] == texts[1]


def test_a_reply_that_is_cancelled_leaves_the_next_one_right():
    with demo("off") as pair:
        expected = pair.generate(QUESTIONS[0], HOW[0]).text
    with demo("on") as pair:
        for _ in range(3):
            stream = pair.session(options=HOW[0]).stream(QUESTIONS[1])
            next(stream)
            stream.cancel()
            stream.result()
            assert pair.generate(QUESTIONS[0], HOW[0]).text == expected


def test_after_close_each_use_is_an_error_and_a_pair_can_be_loaded_again():
    texts = []
    for _ in range(3):
        pair = demo("on")
        sequence = pair.base.context.sequence()
        sequence.score([1], [2, 3])
        texts.append(pair.generate(QUESTIONS[0], HOW[0]).text)
        pair.close()
        pair.close()
        with pytest.raises(ClosedError):
            sequence.score([4], [5])
        with pytest.raises(ClosedError):
            pair.generate(QUESTIONS[0])
    assert len(set(texts)) == 1


def test_texts_of_a_recurrent_model_are_equal_in_one_pass_and_in_turns(tmp_path):
    path = mamba().write(tmp_path / "mamba.gguf")
    with Model.load(path, ModelSettings(**SETTINGS)) as model:
        rows = []
        for how in ("off", "on"):
            context = Context(model, ModelSettings(device_signal=how, **SETTINGS), n_sequences=3)
            assert (context.signal is not None) == (how == "on")
            texts = [context.sequence() for _ in range(3)]
            found = []
            for step in range(4):
                for chosen in (texts, texts[:1], texts[1:]):
                    scores = [Scores(context) for _ in chosen]
                    pieces = [Piece(text, [7 + step, 11 + text.index], [11 + text.index, -1]) for text in chosen]
                    context.run(pieces, scores)
                    found += [(one.logprobs, [one.choose(row) for row in range(2)]) for one in scores]
            rows.append(found)
            assert not context.signal or context.signal.n_passes == 12
    for (logprobs, choices), (others, other_choices) in zip(*rows, strict=True):
        assert others == pytest.approx(logprobs, abs=1e-3)
        assert [token for token, _ in other_choices] == [token for token, _ in choices]


# A device that computes it badly


def _least(context: int, logits: int) -> int:
    """The least probable token for the most probable one."""
    negated = library.ggml_function("ggml_neg", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    return _ARGMAX(context, negated(context, logits))


_ARGMAX = device_signal._argmax
_NUMBERS = device_signal._numbers


def _another(context: int, logits: int, target: int) -> tuple[int, int]:
    """The least probable token, with the numbers of the most probable one."""
    return _least(context, logits), _NUMBERS(context, logits, target)[1]


BROKEN = {
    "choice": ("_numbers", _another),
    "argmax": ("_argmax", _least),
    "softmax": ("_soft_max", lambda _context, logits: logits),
    "get_rows": ("_view_1d", lambda context, inputs, n, _offset: _FIRST(context, inputs, n, 0)),
}
_FIRST = device_signal._view_1d


@pytest.fixture
def path(tmp_path):
    return TinyModel(seed=5, scale=0.5).write(tmp_path / "tiny.gguf")


def told(caplog) -> list[str]:
    """Our warnings; llama.cpp has others of such models."""
    records = [one for one in caplog.records if one.name.endswith("signal_check")]
    return [one.getMessage() for one in records if one.levelno == logging.WARNING]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_device_with_a_wrong_operation_is_found_and_not_used(path, monkeypatch, caplog, kind):
    name, wrong = BROKEN[kind]
    monkeypatch.setattr(device_signal, name, wrong)
    settings = ModelSettings(device_signal="on", **SETTINGS)
    with Model.load(path, settings) as model:
        context, host = Context(model, settings), Context(model, ModelSettings(**SETTINGS))
        assert context.signal is None and context.can_go_on
        (warning,) = told(caplog)
        assert warning.startswith(f"{path}: device_signal is not used, because it ")
        text = [1, 2, 3]
        assert context.sequence().score(text, [4]).logprobs == host.sequence().score(text, [4]).logprobs


@pytest.mark.parametrize("lacks", ["an operation", "samplers", "a device that is here"])
def test_a_device_that_lacks_something_is_told_once(path, monkeypatch, caplog, lacks):
    settings = ModelSettings(device_signal="on", **SETTINGS)
    with Model.load(path, settings) as model:
        if lacks == "an operation":
            monkeypatch.setattr(device_signal, "_supports", lambda _: False)
        elif lacks == "samplers":
            monkeypatch.setattr(device_signal.llama_cpp, "llama_set_sampler", lambda *_: False)
        else:
            model.relays = [Relay(rpc.Address("127.0.0.1", 1), 1.0)]
        assert Context(model, settings).signal is None
    (warning,) = told(caplog)
    assert str(path) in warning and "device_signal is not used" in warning


def test_a_sound_device_is_used_without_a_word_and_nothing_of_the_trial_stays(path, caplog):
    settings = ModelSettings(device_signal="on", **SETTINGS)
    with Model.load(path, settings) as model, Context(model, settings, n_sequences=2) as context:
        assert context.signal is not None and context.signal.n_passes == 0
        first, second = context.sequence(), context.sequence()
        assert first.tokens == second.tokens == []
        first.score([1], [2])
        assert context.signal.n_passes == 1, "the first pass does not rest behind the trial"
    assert not told(caplog)


@pytest.mark.parametrize("shape", [{"batch": 8}, {"context_length": 16}])
def test_the_smallest_context_is_tried_too(path, shape):
    settings = ModelSettings(device_signal="on", **{**SETTINGS, **shape})
    with Model.load(path, settings) as model, Context(model, settings) as context:
        assert context.signal is not None
