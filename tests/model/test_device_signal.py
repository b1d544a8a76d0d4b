"""Rows computed in llama.cpp's graph are those that are read from its logits."""

import logging
import math
import random
import re
from dataclasses import replace

import numpy as np
import pytest

from edge_wsd import ModelSettings, Options, Pair
from edge_wsd._native import CancelFlag
from edge_wsd.errors import Cancelled, DecodeError, LogitsError, VocabularyError
from edge_wsd.llama.context import Context
from edge_wsd.llama.device_signal import MOST_ROWS, PASSES_OF_REST
from edge_wsd.llama.model import Model
from edge_wsd.llama.sampler import Sampler
from edge_wsd.llama.scores import Scores
from edge_wsd.llama.sequence import Piece
from edge_wsd.models.plan.memory import model_memory
from tests.devices import GPU_LAYERS
from tests.tiny_models import TinyModel

SETTINGS = {"gpu_layers": GPU_LAYERS, "threads": 1, "kv_type": "f32", "context_length": 512, "batch": 64}
NEAR = 4e-7
OPTIONS = Options(max_tokens=24, threshold=0.0, window=3, chunk=4)
HOW = ({}, {"switch_at": 7}, {"mode": "base"}, {"mode": "drafter"}, {"temperature": 1.2, "seed": 3})


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return TinyModel(seed=5, scale=0.5).write(tmp_path_factory.mktemp("signal") / "tiny.gguf")


@pytest.fixture
def contexts(path):
    """The host's way, and the device's."""
    with Model.load(path, ModelSettings(**SETTINGS)) as model:
        yield tuple(
            Context(model, ModelSettings(device_signal=how, **SETTINGS), n_sequences=4) for how in ("off", "on")
        )


def require_equal(expected, found):
    assert found.n_rows == expected.n_rows
    assert [found.choose(row)[0] for row in range(found.n_rows)] == [
        expected.choose(row)[0] for row in range(expected.n_rows)
    ]
    for a, b in [
        *zip(expected.logprobs, found.logprobs, strict=True),
        *((expected.top(row), found.top(row)) for row in range(expected.n_rows)),
    ]:
        assert math.exp(a) == pytest.approx(math.exp(b), abs=4e-7)
        assert a == pytest.approx(b, abs=NEAR, rel=NEAR)


def test_rows_of_texts_and_proposals_of_any_length_are_equal(contexts):
    host, device = contexts
    rng = random.Random(1)
    for _ in range(40):
        text, proposed = (rng.choices(range(host.n_vocab), k=rng.randint(*ends)) for ends in ((1, 150), (0, 40)))
        one, other = host.sequence(), device.sequence()
        require_equal(one.score(text, proposed), other.score(text, proposed))
        one.close()
        other.close()
    assert device.signal.n_passes == 40


def test_rows_of_several_texts_in_one_pass_are_equal_and_stay_with_their_text(contexts):
    rng = random.Random(2)
    n_vocab = contexts[0].n_vocab
    texts = [[context.sequence() for _ in range(4)] for context in contexts]
    for _ in range(40):
        chosen = rng.sample(range(4), rng.randint(1, 4))
        read = [(at, rng.choices(range(n_vocab), k=rng.randint(1, 6))) for at in chosen]
        read = [
            (at, tokens, [rng.randrange(-1, n_vocab) for _ in range(rng.randint(0, len(tokens)))])
            for at, tokens in read
        ]
        both = []
        for context, sequences in zip(contexts, texts, strict=True):
            scores = [Scores(context) for _ in read]
            context.run([Piece(sequences[at], tokens, targets) for at, tokens, targets in read], scores)
            both.append(scores)
        for expected, found in zip(*both, strict=True):
            require_equal(expected, found)
    assert contexts[1].signal.n_passes > 30


def test_texts_that_take_turns_in_passes_of_one_row_are_equal(contexts):
    """The memory of the chosen token was another's in the first pass after that of another text: llama.cpp had planned
    it for a graph in which nobody read the token. A reply then ended with a token that does not exist."""
    rows = []
    for context in contexts:
        texts = [context.sequence() for _ in range(4)]
        order = [0, 1, 2, 3, *random.Random(3).choices(range(4), k=40)]
        rows.append([texts[at].score([5 + at], []).choose(0) for at in order])
    for (token, logprob), (other, other_logprob) in zip(*rows, strict=True):
        assert other == token and other_logprob == pytest.approx(logprob, abs=NEAR, rel=NEAR)
    assert contexts[1].signal.n_passes == 44


def test_improbable_tokens_keep_their_log_probability(tmp_path):
    """A probability in float32 is 0 below 1e-45: its logarithm would be lost."""
    path = TinyModel(seed=5, scale=8.0).write(tmp_path / "sharp.gguf")
    with Model.load(path, ModelSettings(**SETTINGS)) as model:
        host, device = (Context(model, ModelSettings(device_signal=how, **SETTINGS)) for how in ("off", "on"))
        proposed = list(range(30))
        expected, found = (context.sequence().score([1], proposed) for context in (host, device))
        require_equal(expected, found)


def test_passes_that_draw_and_logits_read_the_host_s_buffer(contexts):
    host, device = contexts
    one, other = host.sequence(), device.sequence()
    assert (one.logits([1, 2, 3]) == other.logits([1, 2, 3])).all()
    for _ in range(2):  # attached, and again after a pass without
        require_equal(one.score([4], [5]), other.score([4], [5]))
        drawn = []
        for context, sequence in ((host, one), (device, other)):
            scores = Scores(context)
            scores.sampler = Sampler(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=3)
            context.run([Piece(sequence, [7, 8], [8, -1])], [scores])
            drawn.append([scores.choose(row) for row in range(2)])
        assert drawn[0] == drawn[1]
        n_before = device.signal.n_passes
        for _ in range(PASSES_OF_REST):
            require_equal(one.score([4], []), other.score([4], []))
        assert device.signal.n_passes == n_before
        one.cut(10)
        other.cut(10)
    require_equal(one.score([4], [5]), other.score([4], [5]))
    assert device.signal.n_passes == n_before + 1


def test_more_rows_than_the_graph_has_room_for_are_read_from_logits(path):
    settings = {**SETTINGS, "batch": 256}
    with Model.load(path, ModelSettings(**settings)) as model:
        host, device = (Context(model, ModelSettings(device_signal=how, **settings)) for how in ("off", "on"))
        one, other = host.sequence(), device.sequence()
        for n, n_passes in ((MOST_ROWS - 1, 1), (MOST_ROWS, 1)):
            require_equal(one.score([1], [2] * n), other.score([1], [2] * n))
            assert device.signal.n_passes == n_passes


def test_a_draw_from_rows_without_logits_is_an_error(contexts):
    """Reading at address 0 would end the process."""
    scores = contexts[1].sequence().score([1], [2])
    scores.sampler = Sampler(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=3)
    with pytest.raises(DecodeError, match="device_signal off"):
        scores.choose(0)


def test_damaged_logits_are_found_and_the_context_is_usable_after_it(tmp_path):
    path = TinyModel(seed=5, scale=math.nan).write(tmp_path / "nan.gguf")
    with Model.load(path, ModelSettings(**SETTINGS)) as model:
        context = Context(model, ModelSettings(device_signal="on", **SETTINGS))
        sequence = context.sequence()
        for _ in range(2):
            with pytest.raises(LogitsError, match=r"nan\.gguf: .*NaN"):
                sequence.score([1, 2], [3])
            assert sequence.tokens == []


def test_a_cancelled_pass_leaves_the_next_one_right(contexts):
    host, device = contexts
    one, other = host.sequence(), device.sequence()
    flag = CancelFlag()
    device.watch(flag)
    flag.set()
    with pytest.raises(Cancelled):
        other.score([1, 2], [3])
    device.watch(CancelFlag())
    require_equal(one.score([1, 2], [4]), other.score([1, 2], [4]))


@pytest.mark.parametrize("settings", [{"exact": True}, {"device_signal": "off"}, {"device_signal": "auto"}])
def test_only_asked_for_and_not_exact_is_it_used(path, settings):
    settings = ModelSettings(**{"device_signal": "on", **SETTINGS, **settings})
    with Model.load(path, settings) as model, Context(model, settings) as context:
        assert context.signal is None


def test_an_error_inside_a_callback_is_raised_behind_the_pass_and_spoils_nothing(contexts, monkeypatch):
    """An exception cannot pass through C: ctypes would print it, and the rows would be of other tokens."""
    host, device = contexts
    one, other = host.sequence(), device.sequence()
    require_equal(one.score([1], [2]), other.score([1], [2]))
    with monkeypatch.context() as patch:
        patch.setattr(type(device.signal), "_fill", lambda *_: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            other.score([1], [2])
    other.cut(2)
    require_equal(one.score([1], [2]), other.score([1], [2]))


def test_a_device_that_lacks_an_operation_reads_logits(path, monkeypatch):
    monkeypatch.setattr("edge_wsd.llama.device_signal._supports", lambda _: False)
    settings = ModelSettings(device_signal="on", **SETTINGS)
    with Model.load(path, settings) as model, Context(model, settings) as context:
        assert context.signal is None
        assert context.sequence().logits([1, 2]).any()


def test_replies_of_a_pair_are_the_same(tmp_path):
    drafter = TinyModel(seed=1, scale=0.4).write(tmp_path / "drafter.gguf")
    base = TinyModel(seed=2, scale=0.4).write(tmp_path / "base.gguf")
    texts = []
    for how in ("off", "on"):
        settings = ModelSettings(device_signal=how, **SETTINGS)
        with Pair.load(drafter, base, drafter_settings=settings, base_settings=settings) as pair:
            prompts = ("hello", "help me", "a b c")
            texts.append(
                [pair.generate(prompt, OPTIONS.with_changes(**more)).text for prompt in prompts for more in HOW]
            )
            used = [one.context.signal.n_passes for one in (pair.drafter, pair.base) if one.context.signal]
            assert len(used) == (2 if how == "on" else 0) and all(used)
    assert texts[0] == texts[1]


@pytest.mark.parametrize("batch", [64, 256])
def test_the_plan_counts_the_copies_that_samplers_read(tmp_path, batch, caplog):
    """llama.cpp reserves a second copy of all logits of a pass, and four of the rows that come back."""
    path = TinyModel(words=tuple(f"w{i}" for i in range(8000))).write(tmp_path / "wide.gguf")
    settings = ModelSettings(device_signal="on", **{**SETTINGS, "batch": batch})
    caplog.set_level(logging.DEBUG, "edge_wsd.llama")
    with Model.load(path, settings) as model, Context(model, settings) as context:
        context.sequence().score([1, 2], [3])
    reserved = re.findall(r"CPU compute buffer size = +([0-9.]+) MiB", caplog.text)
    planned = model_memory(path, settings).host
    assert planned.compute / 2**20 == pytest.approx(float(reserved[-1]), rel=0.1, abs=1)
    assert planned.logits == 4 * model_memory(path, replace(settings, device_signal="off")).host.logits


def test_rows_of_a_pass_that_llama_cpp_computes_in_parts_are_asked_about_their_own_tokens(path):
    settings = {**SETTINGS, "batch": 512}
    with Model.load(path, ModelSettings(**settings)) as model:
        host, device = (Context(model, ModelSettings(device_signal=how, **settings)) for how in ("off", "on"))
        text, proposed = [3] * (device.micro_batch - 20), list(range(40))
        require_equal(host.sequence().score(text, proposed), device.sequence().score(text, proposed))


def test_one_logit_that_is_not_a_number_is_found(tmp_path):
    """The most probable token may be sound all the same."""
    tiny = TinyModel(seed=5, scale=0.5)
    for tensor in tiny.tensors:
        if tensor.name == "output.weight":
            data = np.full(tensor.n_elements, 0.1, np.float32)
            data[: tiny.n_embd] = np.nan
            tensor.data = data.tobytes()
    path = tiny.write(tmp_path / "nan.gguf")
    settings = ModelSettings(device_signal="on", **SETTINGS)
    with Model.load(path, settings) as model, Context(model, settings) as context, pytest.raises(LogitsError):
        context.sequence().score([1, 2], [3])


def test_a_proposed_token_outside_the_vocabulary_is_named(path):
    """In the last row of a pass it is asked about before it is read: llama.cpp would end the process at it."""
    settings = ModelSettings(device_signal="on", **{**SETTINGS, "batch": 8})
    with Model.load(path, settings) as model, Context(model, settings) as context:
        for token in (context.n_vocab, -2):
            sequence = context.sequence()
            with pytest.raises((ValueError, VocabularyError), match=r"target|vocabulary"):
                sequence.score([1], [2, 3, token, *[4] * 7])
            sequence.close()
        context.sequence().score([1], [2])


def test_where_llama_cpp_takes_no_samplers_logits_are_read(path, monkeypatch):
    """As with tensors split over several devices."""
    monkeypatch.setattr("edge_wsd.llama.device_signal.llama_cpp.llama_set_sampler", lambda *_: False)
    settings = ModelSettings(device_signal="on", **SETTINGS)
    with Model.load(path, settings) as model, Context(model, settings) as context:
        assert context.signal is None
        assert context.sequence().score([1], [2]).n_rows == 2


@pytest.mark.parametrize("is_attached", [True, False])
def test_an_interrupt_in_a_callback_is_raised_and_not_taken_for_a_missing_operation(contexts, monkeypatch, is_attached):
    host, device = contexts
    one, other = host.sequence(), device.sequence()
    if is_attached:
        require_equal(one.score([1], [2]), other.score([1], [2]))

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("edge_wsd.llama.device_signal._numbers", interrupted)
        with pytest.raises(KeyboardInterrupt):
            other.score([1], [2, 3])
    one.cut(0)
    other.cut(0)
    n_before = device.signal.n_passes
    require_equal(one.score([1], [2]), other.score([1], [2]))
    assert device.signal.n_passes == n_before + 1


def test_two_errors_in_a_row_leave_no_token_unasked(contexts, monkeypatch):
    """The second one once went for the first, and what the rows were asked about stayed whatever lay in memory."""
    sequence = contexts[1].sequence()
    with monkeypatch.context() as patch:
        patch.setattr(type(contexts[1].signal), "_fill", lambda *_: 1 // 0)
        sequences = [contexts[1].sequence() for _ in range(3)]
        pieces = [Piece(each, [1, 2], [3, -1]) for each in sequences]
        with pytest.raises(ZeroDivisionError):
            contexts[1].run(pieces, [Scores(contexts[1]) for _ in pieces])
    assert sequence.score([1], [2]).n_rows == 2
