"""Times and rates of a reply, by a clock that moves only when told to."""

from types import SimpleNamespace

import pytest

from edge_wsd.decoding import meter as meter_module
from edge_wsd.decoding import writer as writer_module
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.options import Options
from edge_wsd.decoding.reply_state import PromptedModel, ReplyState
from edge_wsd.decoding.weak_to_strong import weak_to_strong
from edge_wsd.decoding.writer import ReplyWriter
from tests.fakes import FakeModel, FakeSequence, FakeVocabulary, drive
from tests.unit.test_weak_to_strong import Bench

PASS_S, STEP_S = 1.0, 0.1
WORDS = FakeVocabulary([b"", *(f"w{i}.".encode() for i in range(1, 9))])


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    for module in (meter_module, writer_module):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def takes(sequence, clock, seconds):
    """Makes every pass of `sequence` take `seconds`."""
    read = sequence.read

    def slow(asked):
        clock.now += seconds
        return read(asked)

    sequence.read = slow


def measured(bench, clock):
    takes(bench.base, clock, PASS_S)
    takes(bench.drafter, clock, STEP_S)
    bench.meter.started_s = bench.meter._drafting_since_s = clock.now
    return statistics(bench.run())


def statistics(bench):
    n_draft = sum(token.source == "drafter" for token in bench.writer.tokens)
    return bench.meter.statistics(
        n_tokens=len(bench.writer.tokens), n_draft=n_draft, first_shown_s=bench.writer.first_shown_s
    )


def test_tokens_that_were_scored_before_the_switch_are_no_speed_behind_it(clock):
    """They came for free behind the switch: a reply that ended there told of 18677 tokens per second."""
    for seed in range(60):
        bench = Bench(seed, chunk=16, agreement=1.0, threshold=0.05, speculation=False)
        stats = measured(bench, clock)
        if bench.switch is None or bench.writer.finish == "stop":
            continue
        # Without speculation each further token takes a pass of the base, and nothing else.
        assert stats.base_tps == pytest.approx(1 / PASS_S)
        assert stats.draft_tps == pytest.approx(stats.n_draft / (16 * STEP_S + PASS_S))
        return
    pytest.fail("no reply with a switch")


def test_a_reply_that_needs_no_pass_behind_the_switch_has_no_rate_there(clock):
    for seed in range(60):
        bench = Bench(seed, chunk=16, agreement=1.0, threshold=0.05, max_tokens=12)
        stats = measured(bench, clock)
        if bench.switch is not None and stats.n_draft < 12:
            assert stats.base_tps is None and stats.draft_tps > 0 and bench.meter.base_passes == 1
            return
    pytest.fail("no reply that ends in the round of its switch")


def test_the_first_text_comes_in_the_time_of_the_drafter_and_the_whole_time_is_that_of_all_passes(clock):
    bench = Bench(3, threshold=0.05, speculation=False)
    stats = measured(bench, clock)
    assert stats.ttft_s == pytest.approx(STEP_S)
    passes = STEP_S * len(bench.drafter.batches) + PASS_S * len(bench.base.batches)
    assert stats.total_s == pytest.approx(passes)


@pytest.mark.parametrize("source", ["base", "drafter"])
def test_of_one_model_alone_the_first_token_comes_with_the_prompt(clock, source):
    sequence, writer, meter = FakeSequence(FakeModel(9, seed=5)), ReplyWriter(WORDS, max_tokens=12), Meter(clock.now)
    takes(sequence, clock, PASS_S)
    state = ReplyState(PromptedModel(sequence, [1, 2], [], source), Options(), writer, meter)
    list(drive(weak_to_strong(state)))
    n = len(writer.tokens)
    stats = meter.statistics(n_tokens=n, n_draft=n if source == "drafter" else 0)
    rates = (None, 1 / PASS_S) if source == "base" else (n / (n * PASS_S), None)
    assert n == 12 and (stats.draft_tps, stats.base_tps) == pytest.approx(rates)
