"""Sequences over a real llama.cpp context: what the ledger says is what the model has read."""

import threading
from dataclasses import replace
from itertools import pairwise

import numpy as np
import psutil
import pytest

from edge_wsd._native import CancelFlag
from edge_wsd.errors import (
    Cancelled,
    ClosedError,
    ContextFullError,
    DecodeError,
    LogitsError,
    ModelLoadError,
    OptionError,
    VocabularyError,
)
from edge_wsd.llama.binding import llama_cpp
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.sampler import Sampler
from edge_wsd.llama.sequence import Sequence
from edge_wsd.llama.settings import ModelSettings
from tests.devices import CLOSE
from tests.other_architectures import hybrid, mamba, sliding_window
from tests.tiny_models import TinyModel

SETTINGS = ModelSettings(context_length=256, batch=32, kv_type="f32", threads=1, flash_attention="off")
PROMPT = [260, *range(5, 45)]
PROPOSED = [7, 99, 12, 200, 31]


MAKERS = {
    "attention": lambda: TinyModel(scale=0.5),
    "sliding window": sliding_window,
    "recurrent": mamba,
    "hybrid": hybrid,
}


@pytest.fixture(scope="module", params=list(MAKERS))
def model(request, tmp_path_factory):
    path = MAKERS[request.param]().write(tmp_path_factory.mktemp("model") / f"{request.param}.gguf")
    with Model.load(path) as loaded:
        assert loaded.can_cut == (request.param not in ("recurrent", "hybrid"))
        yield loaded


@pytest.fixture
def context(model):
    with Context(model, SETTINGS, n_sequences=3) as context:
        yield context


def one_by_one(sequence, prompt, proposed):
    """Log-probabilities from the plainest use: a token, a look, the next token."""
    sequence.clear()
    sequence.extend(prompt[:-1])
    found = []
    for last, token in pairwise([prompt[-1], *proposed]):
        row = sequence.logits([last])[0].astype(np.float64)
        found.append(row[token] - np.log(np.exp(row - row.max()).sum()) - row.max())
    return found


def test_a_batch_scores_what_single_steps_score(context):
    single = one_by_one(context.sequence(), PROMPT, PROPOSED)
    scores = context.sequence().score(PROMPT, PROPOSED)
    assert scores.logprobs == pytest.approx(single, abs=CLOSE)


@pytest.mark.parametrize("n_proposed", [1, 5, 20, 31])
def test_rows_are_never_lost_where_a_prompt_is_longer_than_a_batch(context, n_proposed):
    proposed = [(7 * i) % 250 for i in range(n_proposed)]
    for n_prompt in (1, 31, 32, 33, 41):
        single = one_by_one(context_sequence := context.sequence(), PROMPT[:n_prompt], proposed)
        context_sequence.clear()
        assert context_sequence.score(PROMPT[:n_prompt], proposed).logprobs == pytest.approx(single, abs=CLOSE)
        context_sequence.close()


def test_the_own_choice_is_the_most_probable_token(context):
    sequence = context.sequence()
    token, logprob = sequence.score(PROMPT, []).choose(0)
    others = [sequence_logprob(context, PROMPT, other) for other in range(0, context.n_vocab, 17)]
    assert logprob >= max(others)
    assert sequence_logprob(context, PROMPT, token) == pytest.approx(logprob, abs=CLOSE)


def sequence_logprob(context, prompt, token):
    sequence = context.sequence()
    try:
        return sequence.score(prompt, [token]).logprobs[0]
    finally:
        sequence.close()


def test_after_a_cut_the_rest_is_as_if_never_read(context):
    sequence = context.sequence()
    expected = sequence.score(PROMPT, PROPOSED).logprobs
    sequence.score([50, 51, 52], [53, 54])
    for kept in (len(PROMPT) - 1, 20, 0):
        sequence.cut(kept)
        assert sequence.tokens == (PROMPT[:kept] if context.model.can_cut else [])
        found = sequence.score(PROMPT[len(sequence.tokens) :], PROPOSED).logprobs
        assert found == pytest.approx(expected, abs=CLOSE)


def test_a_cut_may_go_back_further_than_any_window(model):
    with Context(model, replace(SETTINGS, context_length=1024)) as context:
        sequence = context.sequence()
        expected = one_by_one(sequence, PROMPT, PROPOSED)
        sequence.extend(PROMPT * 20)
        sequence.cut(len(PROMPT) - 1)
        found = sequence.score(PROMPT[len(sequence.tokens) :], PROPOSED).logprobs
        assert found == pytest.approx(expected, abs=CLOSE)


def test_another_sequence_does_not_disturb_what_follows_the_last_token(context):
    first, second = context.sequence(), context.sequence()
    expected = first.score(PROMPT, PROPOSED).logprobs
    first.cut(0)
    first.extend(PROMPT[:-1])
    second.score(PROMPT[:9], [1, 2, 3])
    assert first.score(PROMPT[-1:], PROPOSED).logprobs == pytest.approx(expected, abs=CLOSE)


def test_a_saved_sequence_continues_where_it_was(context):
    first, second = context.sequence(), context.sequence()
    first.extend(PROMPT)
    state = first.save()
    expected = first.score([3], PROPOSED).logprobs
    second.extend([9, 8, 7])
    second.restore(state)
    assert second.tokens == PROMPT
    assert second.score([3], PROPOSED).logprobs == pytest.approx(expected, abs=CLOSE)


def test_a_state_of_another_model_is_refused_and_leaves_the_sequence_usable(context):
    sequence = context.sequence()
    sequence.extend(PROMPT)
    state = sequence.save()
    broken = type(state)(state.tokens, b"\x01" * 40)
    with pytest.raises(DecodeError, match="does not fit"):
        sequence.restore(broken)
    assert sequence.tokens == []
    sequence.extend(PROMPT)


def test_a_copy_continues_like_the_original(context):
    first, second = context.sequence(), context.sequence()
    first.extend(PROMPT)
    first.copy_to(second)
    assert second.tokens == PROMPT
    assert second.score([3], PROPOSED).logprobs == pytest.approx(first.score([3], PROPOSED).logprobs, abs=CLOSE)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("n_behind", [0, 6])
def test_a_copy_begins_where_the_original_can_be_cut_back_to(model, n_behind, exact):
    """Of a memory that cannot be cut a part was never copied, though there was a checkpoint to begin at."""
    with Context(model, replace(SETTINGS, exact=exact, parallel=3), n_sequences=3) as context:
        expected = one_by_one(context.sequence(), PROMPT, PROPOSED)
        first, second = context.sequence(), context.sequence()
        first.extend(PROMPT[:-1])
        first.checkpoint()
        first.extend([9, 8, 7, 6, 5, 4][:n_behind])
        assert first.kept(len(PROMPT) - 1) == len(PROMPT) - 1
        shared = first.shared(len(PROMPT) - 1)
        first.copy_to(second, len(PROMPT) - 1)
        before = first.tokens[:]
        # Of what is behind a window only the end is copied, and that not where passes go back to a whole block.
        assert shared == (0 if model.sliding_window and (exact or n_behind) else len(PROMPT) - 1)
        assert second.tokens == PROMPT[:shared]
        assert second.score(PROMPT[len(second.tokens) :], PROPOSED).logprobs == pytest.approx(expected, abs=CLOSE)
        assert first.tokens == before
        first.cut(len(PROMPT) - 1)
        assert first.score(PROMPT[-1:], PROPOSED).logprobs == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize("n", range(0, 47, 5))
def test_a_cut_keeps_what_was_said_before(context, n):
    sequence = context.sequence()
    sequence.extend(PROMPT[:20])
    sequence.checkpoint()
    sequence.extend(PROMPT[20:])
    kept = sequence.kept(n)
    assert kept == (min(n, 41) if context.model.can_cut or n >= 41 else 20 if n >= 20 else 0)
    sequence.cut(n)
    assert sequence.tokens == PROMPT[:kept]


def test_a_checkpoint_that_cannot_be_returned_to_leaves_the_sequence_empty(context, monkeypatch):
    """The ledger said the checkpoint's text, and memory held more: the next reply that began like it went on there."""
    if context.model.can_cut:
        pytest.skip("has no checkpoints")
    sequence, remove = context.sequence(), Sequence._remove_from
    expected = one_by_one(sequence, PROMPT, PROPOSED)
    sequence.clear()
    sequence.extend(PROMPT[:20])
    sequence.checkpoint()
    sequence.extend(PROMPT[20:])
    with monkeypatch.context() as patch:
        patch.setattr(Sequence, "_remove_from", lambda sequence, n: n == 0 and remove(sequence, n))
        with pytest.raises(DecodeError, match="checkpoint"):
            sequence.cut(25)
    assert sequence.tokens == []
    assert sequence.score(PROMPT, PROPOSED).logprobs == pytest.approx(expected, abs=CLOSE)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("n_more", [0, 12])
@pytest.mark.parametrize("n", [0, 10, 30, 39, 40, 44])
def test_what_was_restored_is_cut_back_only_to_where_its_numbers_hold(model, n, n_more, exact):
    """Of a sliding window llama.cpp saves only what the last token sees: behind a cut tokens were missing, unheard."""
    text = [*PROMPT, *range(60, 60 + n_more)]
    with Context(model, replace(SETTINGS, exact=exact, parallel=3), n_sequences=3) as context:
        first, second, third = (context.sequence() for _ in range(3))
        first.extend(PROMPT)
        state = first.save()
        if state.fewest and exact and model.can_cut:
            with pytest.raises(DecodeError, match="sliding window"):
                second.restore(state)
            assert second.tokens == []
            return
        second.restore(state)
        second.extend(text[len(PROMPT) :])
        kept = second.kept(n)
        if model.can_cut and (not model.sliding_window or n >= len(PROMPT) - 1):
            assert kept == min(n, len(text))
        shared = second.shared(n)
        assert shared == kept or (model.sliding_window and shared < kept)
        second.copy_to(third, n)
        second.cut(n)
        assert (second.tokens, third.tokens) == (text[:kept], text[:shared])
        expected = one_by_one(first, [*text, 3], PROPOSED)
        for sequence in (second, third):
            follow = [*text[len(sequence.tokens) :], 3]
            assert sequence.score(follow, PROPOSED).logprobs == pytest.approx(expected, abs=CLOSE)


def test_a_state_restored_where_passes_are_exact_has_the_same_numbers_to_the_last_bit(model):
    with Context(model, replace(SETTINGS, exact=True, parallel=2), n_sequences=2) as context:
        first, second = context.sequence(), context.sequence()
        first.extend(PROMPT)
        state = first.save()
        if not model.sliding_window:
            second.extend([9, 8, 7])
            second.restore(state)
            assert second.score([3], PROPOSED).logprobs == first.score([3], PROPOSED).logprobs


def test_a_text_longer_than_the_context_is_refused_before_anything_is_decoded(context):
    sequence = context.sequence()
    sequence.extend(PROMPT)
    with pytest.raises(ContextFullError, match="shorten") as caught:
        sequence.extend([5] * context.n_ctx)
    assert (caught.value.needed, caught.value.available) == (context.n_ctx + len(PROMPT), context.n_ctx)
    assert sequence.tokens == PROMPT


@pytest.mark.parametrize("token", [-1, 10**6, 2**31 - 1])
def test_an_id_outside_the_vocabulary_never_reaches_llama_cpp(context, token):
    sequence = context.sequence()
    with pytest.raises(VocabularyError, match="outside the vocabulary"):
        sequence.extend([1, token])
    with pytest.raises(VocabularyError, match="outside the vocabulary"):
        context.model.vocab.piece(token)
    assert sequence.tokens == []


def test_cancelling_leaves_a_true_ledger_and_a_working_context(context):
    flag, sequence = CancelFlag(), context.sequence()
    context.watch(flag)
    sequence.extend(PROMPT[:7])
    flag.set()
    with pytest.raises(Cancelled):
        sequence.extend(PROMPT[7:])
    assert sequence.tokens == PROMPT[:7]
    flag.clear()
    found = sequence.score(PROMPT[7:], PROPOSED).logprobs
    assert found == pytest.approx(one_by_one(context.sequence(), PROMPT, PROPOSED), abs=CLOSE)


def test_cancelling_from_another_thread_stops_a_long_prompt(model):
    with Context(model, ModelSettings(context_length=4096, batch=8, threads=1), n_sequences=1) as context:
        flag, sequence = CancelFlag(), context.sequence()
        context.watch(flag)
        started = threading.Event()

        def cancel_soon():
            started.wait()
            while not sequence.tokens:
                pass
            flag.set()

        thread = threading.Thread(target=cancel_soon)
        thread.start()
        started.set()
        with pytest.raises(Cancelled):
            sequence.extend((PROMPT * 100)[:4000])
        thread.join()
        # What was half computed cannot be taken out of a memory that cannot be cut, which is then empty.
        assert len(sequence.tokens) < 4000 and (sequence.tokens or not model.can_cut)
        assert sequence.tokens == (PROMPT * 100)[: len(sequence.tokens)]


def test_nothing_can_be_scored_behind_what_was_read_before(context):
    """Its row of logits is no longer there."""
    sequence = context.sequence()
    for _ in range(2):
        with pytest.raises(OptionError, match="at least one token"):
            sequence.score([], [1])
        sequence.extend(PROMPT)


def test_a_context_gives_no_more_sequences_than_it_has_and_takes_them_back(context):
    taken = [context.sequence() for _ in range(3)]
    with pytest.raises(OptionError, match="in use"):
        context.sequence()
    taken[1].close()
    assert context.sequence().tokens == []


def drawn(scores, sampler, rows):
    scores.sampler = sampler
    return [scores.choose(row) for row in rows]


def test_drawing_is_seeded_and_follows_the_probabilities(context):
    sequence = context.sequence()
    draws = {}
    for seed in range(2):
        for repeat in range(2):
            sampler = Sampler(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=seed)
            sequence.clear()
            scores = sequence.score(PROMPT, PROPOSED)
            draws[seed, repeat] = [token for token, _ in drawn(scores, sampler, range(len(PROPOSED) + 1))]
            sampler.close()
    assert draws[0, 0] == draws[0, 1] and draws[1, 0] == draws[1, 1] and draws[0, 0] != draws[1, 0]
    only = Sampler(temperature=1.0, top_k=1, top_p=1.0, min_p=0.0, seed=7)
    rows = range(len(PROPOSED) + 1)
    assert drawn(scores, only, rows) == drawn(scores, None, rows)
    [(token, logprob)] = drawn(scores, Sampler(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=3), [2])
    assert logprob == pytest.approx(sequence_logprob(context, PROMPT + PROPOSED[:2], token), abs=CLOSE)


def test_a_temperature_close_to_0_draws_the_most_probable_token(context):
    """llama.cpp divided the logits by it, which overflowed, and took the last token of the vocabulary."""
    sequence = context.sequence()
    scores = sequence.score(PROMPT, PROPOSED)
    for temperature in (1e-45, 1e-40, 1e-38, 1e-30, 1e-6):
        cold = Sampler(temperature=temperature, top_k=0, top_p=1.0, min_p=0.0, seed=0)
        assert drawn(scores, cold, range(6)) == drawn(scores, None, range(6))
        cold.close()


def test_a_model_whose_numbers_overflow_is_named_with_what_to_do(tmp_path):
    tiny = TinyModel()
    for tensor in tiny.tensors:
        if tensor.name == "output_norm.weight":
            tensor.data = np.full(tiny.n_embd, np.nan, np.float32).tobytes()
    with Model.load(tiny.write(tmp_path / "nan.gguf")) as model, Context(model, SETTINGS) as context:
        sequence = context.sequence()
        with pytest.raises(LogitsError, match=r"nan\.gguf: .*row 0 of 6: .* are NaN.*check the file"):
            sequence.score(PROMPT, PROPOSED)
        with pytest.raises(LogitsError, match=r"nan\.gguf: "):
            sequence.score([1], [])


def test_drawing_after_another_decode_is_an_error_and_not_a_wrong_token(context):
    sequence = context.sequence()
    scores = sequence.score(PROMPT, PROPOSED)
    sequence.extend([1])
    with pytest.raises(DecodeError, match="logits are gone"):
        drawn(scores, Sampler(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=0), [0])


def test_loading_and_closing_many_times_leaves_nothing_behind(model):
    process = psutil.Process()

    def cycle(n):
        for _ in range(n):
            with Model.load(model.path) as again, Context(again, SETTINGS) as context:
                context.sequence().extend(PROMPT)
        return process.memory_info().rss

    before = cycle(5)
    assert cycle(30) - before < 8_000_000


def test_closing_twice_is_harmless(model):
    again = Model.load(model.path)
    context = Context(again, SETTINGS)
    for _ in range(2):
        context.close()
        again.close()
    with pytest.raises(ClosedError, match="is closed"):
        again.vocab.tokenize("hello")


def test_a_file_that_is_no_model_is_named_with_llama_cpps_reason(tmp_path):
    path = tmp_path / "text.gguf"
    path.write_text("not a model")
    with pytest.raises(ModelLoadError, match=r"text\.gguf: llama\.cpp cannot load this model: .*magic"):
        Model.load(path)


def test_an_exception_in_the_callers_progress_comes_back_to_the_caller(model):
    def progress(fraction):
        raise RuntimeError("stop here")

    with pytest.raises(RuntimeError, match="stop here"):
        Model.load(model.path, progress=progress)


def test_who_listens_is_told_the_whole_time_of_passes_that_nobody_waits_for(model, context, monkeypatch):
    """On a GPU a decode returns before it is computed: the bench said that a prompt was read at 80,000 tokens/s."""
    waited = []
    monkeypatch.setattr(llama_cpp, "llama_synchronize", waited.append)
    sequence = context.sequence()
    for on_gpu, listener, n in [(False, lambda *_: None, 0), (True, None, 0), (True, lambda *_: None, 1)]:
        monkeypatch.setattr(model, "on_gpu", on_gpu)
        context.on_pass = listener
        sequence.extend([5, 6, 7])
        assert len(waited) == n
