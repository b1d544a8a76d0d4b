"""Steps taken in native code over a real context: the same texts, numbers and ledgers as one pass after the other."""

import time

import pytest

from edge_wsd._native import CancelFlag
from edge_wsd.decoding.protocols import Onward, Pass
from edge_wsd.engine.task import Job
from edge_wsd.errors import Cancelled, DecodeError, LogitsError
from edge_wsd.llama.context import Context
from edge_wsd.llama.model import Model
from edge_wsd.llama.sampler import Sampler
from edge_wsd.llama.scores import Scores
from edge_wsd.llama.sequence import Going, Piece
from edge_wsd.llama.settings import ModelSettings
from tests.devices import CLOSE
from tests.other_architectures import mamba
from tests.tiny_models import TinyModel

SETTINGS = ModelSettings(context_length=64, batch=64, kv_type="f32", threads=1, flash_attention="off")
PROMPTS = [[260, *range(5, 25)], [260, 7, 99, 12], [260, *range(40, 60, 3)]]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    with Model.load(TinyModel(scale=0.5).write(tmp_path_factory.mktemp("model") / "tiny.gguf")) as loaded:
        yield loaded


@pytest.fixture
def context(model):
    with Context(model, SETTINGS, n_sequences=3) as context:
        yield context


def begun(context, prompts, most=12, stops=(), stop_below=0.0):
    """The prompts read, with one row behind each."""
    going = [Going(context.sequence(), Scores(context), most, stops, stop_below) for _ in prompts]
    pieces = [Piece(one.sequence, list(prompt), [-1]) for one, prompt in zip(going, prompts, strict=True)]
    context.run(pieces, [one.scores for one in going])
    return going


def chosen(one):
    return [one.scores.choose(row) for row in range(one.scores.n_rows)]


def step_by_step(context, prompt, n):
    """The same by plain passes."""
    sequence, new, found = context.sequence(), list(prompt), []
    for _ in range(n):
        found.append(sequence.score(new, []).choose(0))
        new = [found[-1][0]]
    sequence.close()
    return found


def test_several_texts_go_on_as_each_does_alone_in_plain_passes(model, context):
    with Context(model, SETTINGS) as another:
        expected = [step_by_step(another, prompt, 13) for prompt in PROMPTS]
    going = begun(context, PROMPTS)
    assert context.go_on(going, CancelFlag()) == 12
    for one, prompt, plain in zip(going, PROMPTS, expected, strict=True):
        assert [token for token, _ in chosen(one)] == [token for token, _ in plain]
        assert [p for _, p in chosen(one)] == pytest.approx([p for _, p in plain], abs=CLOSE)
        assert one.sequence.tokens == prompt + [token for token, _ in plain[:-1]]
        assert one.scores.logprobs == []


def test_the_memory_behind_the_steps_is_that_of_the_ledger(context):
    (one,) = begun(context, PROMPTS[:1])
    context.go_on([one], CancelFlag())
    after = one.sequence.score([chosen(one)[-1][0]], [])
    fresh = context.sequence().score(one.sequence.tokens, [])
    assert after.choose(0) == (fresh.choose(0)[0], pytest.approx(fresh.choose(0)[1], abs=CLOSE))


def test_all_stop_with_the_first_that_comes_to_a_stop_token(context):
    stop = step_by_step(context, PROMPTS[1], 5)[-1][0]
    first = [token for token, _ in step_by_step(context, PROMPTS[1], 5)].index(stop)
    going = begun(context, PROMPTS[:2], stops=[stop])
    assert context.go_on(going, CancelFlag()) <= first
    assert any(chosen(one)[-1][0] == stop for one in going)


def test_nothing_follows_an_improbable_choice(context):
    (one,) = begun(context, PROMPTS[:1], stop_below=1.0)
    assert context.go_on([one], CancelFlag()) == 0
    assert one.sequence.tokens == PROMPTS[0] and one.scores.n_rows == 1


def test_a_context_is_filled_to_its_last_token_and_no_further(context):
    (one,) = begun(context, PROMPTS[:1], most=500)
    assert context.go_on([one], CancelFlag()) == 64 - len(PROMPTS[0])
    assert len(one.sequence.tokens) == 64


def test_a_cancelled_decode_ends_the_steps_and_the_next_pass_says_so(context):
    (one,) = begun(context, PROMPTS[:1])
    flag = CancelFlag()
    context.watch(flag)
    flag.set()
    assert context.go_on([one], CancelFlag()) == 0
    assert one.sequence.tokens == PROMPTS[0]
    with pytest.raises(Cancelled):
        one.sequence.score([chosen(one)[0][0]], [])


def test_a_flag_that_is_set_meanwhile_ends_the_steps(context):
    (one,) = begun(context, PROMPTS[:1])
    flag = CancelFlag()
    flag.set()
    assert context.go_on([one], flag) == 0


def test_what_is_no_probability_empties_the_context(model, context, monkeypatch):
    (one,) = begun(context, PROMPTS[:1])

    def damaged(*_):
        raise LogitsError("a NaN")

    monkeypatch.setattr(context._steps, "take", damaged)
    with pytest.raises(LogitsError, match=r"tiny\.gguf: the model computes no probabilities"):
        context.go_on([one], CancelFlag())
    assert one.sequence.tokens == []


@pytest.mark.parametrize("kind", ["exact", "recurrent"])
def test_no_steps_where_passes_are_over_blocks_or_memory_needs_checkpoints(tmp_path, model, kind):
    path = model.path if kind == "exact" else mamba().write(tmp_path / "mamba.gguf")
    settings = ModelSettings(context_length=64, threads=1, exact=kind == "exact")
    with Model.load(path) as loaded, Context(loaded, settings) as context:
        (one,) = begun(context, PROMPTS[:1])
        assert context.go_on([one], CancelFlag()) == 0
        assert one.sequence.tokens == PROMPTS[0]


def test_a_text_goes_on_behind_the_last_of_several_rows(context):
    one = Going(context.sequence(), Scores(context), 3, (), 0.0)
    text = PROMPTS[0]
    context.run([Piece(one.sequence, list(text), [*text[-2:], -1])], [one.scores])
    assert one.scores.n_rows == 3
    context.go_on([one], CancelFlag())
    assert chosen(one)[2:] == [
        (token, pytest.approx(logprob, abs=CLOSE)) for token, logprob in step_by_step(context, text, 4)
    ]


def test_texts_that_want_less_end_the_steps_of_all(context):
    """Each has limits of its own: the shortest and the strictest hold."""
    going = begun(context, PROMPTS[:2], most=12)
    shorter = Going(going[1].sequence, going[1].scores, 3, (), 0.0)
    assert context.go_on([going[0], shorter], CancelFlag()) == 3
    stricter = Going(going[1].sequence, going[1].scores, 12, (), 1.0)
    assert context.go_on([going[0], stricter], CancelFlag()) == 0
    assert context.go_on([stricter, going[0]], CancelFlag()) == 0


def drawn_from(context, prompt):
    """A text with a row in llama.cpp's buffer, to be drawn from."""
    sequence, scores = context.sequence(), Scores(context)
    scores.sampler = Sampler(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=3)
    context.run([Piece(sequence, list(prompt), [-1])], [scores])
    scores.choose(0)
    return scores


@pytest.mark.parametrize("fails", [False, True])
def test_behind_steps_nothing_is_drawn_from_rows_that_they_have_overwritten(context, fails):
    """Also behind a single one that has failed."""
    (one,) = begun(context, PROMPTS[:1])
    older = drawn_from(context, PROMPTS[1])
    flag = CancelFlag()
    context.watch(flag)
    if fails:
        flag.set()
    assert context.go_on([one], CancelFlag()) == (0 if fails else 12)
    with pytest.raises(DecodeError, match="these logits are gone"):
        older.choose(0)


def test_a_token_that_a_failed_decode_has_read_is_in_the_ledger(context, monkeypatch):
    (one,) = begun(context, PROMPTS[:1])
    take = context._steps.take
    monkeypatch.setattr(context._steps, "take", lambda *arguments: (take(*arguments)[0][:-1], 2))
    assert context.go_on([one], CancelFlag()) == 11
    assert len(one.sequence.tokens) == len(PROMPTS[0]) + 12
    fresh = context.sequence().score([*one.sequence.tokens, 5], [])
    assert one.sequence.score([5], []).choose(0) == (fresh.choose(0)[0], pytest.approx(fresh.choose(0)[1], abs=CLOSE))


class Choice:
    """Notes what it is told of passes."""

    n = 1

    def __init__(self):
        self.took_s: list[float] = []

    def took(self, seconds, _cpu_seconds):
        self.took_s.append(seconds)


def test_steps_count_for_the_choice_of_threads_and_texts_share_their_time(context, monkeypatch):
    going = begun(context, PROMPTS[:2])
    monkeypatch.setattr(context._threads, "_choice", choice := Choice())
    n_tokens = []
    monkeypatch.setattr(context._threads, "set_for", lambda _, n: n_tokens.append(n))
    before, began = sum(one.scores.seconds for one in going), time.perf_counter()
    assert context.go_on(going, CancelFlag()) == 12
    elapsed = time.perf_counter() - began
    assert n_tokens == [2]
    assert len(choice.took_s) == 12 and 0 < sum(choice.took_s) <= elapsed
    assert sum(one.scores.seconds for one in going) - before <= elapsed


@pytest.mark.parametrize("draws", [False, True])
def test_only_a_pass_that_is_read_and_draws_nothing_goes_on(context, draws):
    sampler = Sampler(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=3) if draws else None
    job = Job(Pass(context.sequence(), PROMPTS[0], [], sampler, onward=Onward(3, {7: "stop"}, 0.25)))
    assert job.going() is None
    context.run([job.next_piece(64)], [job.scores])
    going = job.going()
    assert (going is None) == draws
    assert going is None or (going.most, list(going.stops), going.stop_below) == (3, [7], 0.25)
