"""How far to draft before the base scores it: nearly as fast as the best fixed chunk, whatever passes cost."""

import random

import pytest

from edge_wsd.decoding.ahead import Switches, how_far
from edge_wsd.decoding.costs import Costs
from tests.unit.test_weak_to_strong import Bench

MOST, WINDOW = 32, 6
BASES = {"flat": lambda n: 1 + 0.01 * n, "cpu": lambda n: 0.6 + 0.4 * n, "linear": lambda n: 1.0 * n}


def costs_of(base_s, step_s):
    costs = Costs()
    for _ in range(3):
        costs.took("drafter", n_tokens=1, n_rows=1, n_replies=1, seconds=step_s)
        for n in range(1, MOST + 1):
            costs.took("base", n_tokens=n, n_rows=n, n_replies=1, seconds=base_s(n))
    return costs


def seconds_of_a_token(chunk, base_s, step_s, chance, acceptance):
    """Over many beginnings of replies, up to the switch and what was accepted behind it. `chunk` of what is scored."""
    dice, seconds, n_tokens = random.Random(1), 0.0, 0
    for _ in range(400):
        n_scored, switched = 0, False
        while not switched:
            n = chunk(n_scored)
            seconds += n * step_s + base_s(n)
            for _ in range(n):
                if switched and dice.random() >= acceptance:
                    break
                n_scored += 1
                switched = switched or (n_scored >= WINDOW and dice.random() < chance)
        n_tokens += n_scored
    return seconds / n_tokens


@pytest.mark.parametrize("acceptance", [0.3, 0.9])
@pytest.mark.parametrize("chance", [0.01, 0.1, 0.4])
@pytest.mark.parametrize("step_s", [0.1, 0.6])
@pytest.mark.parametrize("base", BASES)
def test_it_is_nearly_as_fast_as_the_best_fixed_chunk(base, step_s, chance, acceptance):
    base_s = BASES[base]
    costs = costs_of(base_s, step_s)

    def adaptive(n_scored):
        certain = max(WINDOW - n_scored, 1)
        return how_far(MOST, costs, certain=certain, chance=chance, acceptance=acceptance)

    case = base_s, step_s, chance, acceptance
    best = min(seconds_of_a_token(lambda _, n=n: n, *case) for n in (1, 2, 4, 6, 8, 12, 16, 32))
    assert seconds_of_a_token(adaptive, *case) <= 1.05 * best


def test_what_is_certain_is_drafted_in_one_go_where_passes_are_dear():
    costs = costs_of(BASES["flat"], 0.05)
    assert how_far(MOST, costs, certain=20, chance=1.0, acceptance=0.0) == 20


def test_nothing_is_said_as_long_as_nothing_is_known():
    assert how_far(MOST, Costs(), certain=6, chance=0.1, acceptance=0.5) is None


def test_switches_are_counted_per_token_at_which_they_could_be():
    switches = Switches()
    before = switches.chance
    for _ in range(40):
        switches.count(9, switched=False)
        switches.count(1, switched=True)
    assert before < switches.chance == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("seed", range(20))
def test_how_far_is_drafted_changes_nothing_but_speed(seed):
    """Whatever was learnt before; the switch and the text are those of the published algorithm."""
    dice = random.Random(seed)
    bench = Bench(seed, threshold=0.3)
    step_s, base_s = dice.uniform(0.01, 1), BASES[dice.choice(list(BASES))]
    bench.state.experience.costs = costs_of(base_s, step_s)
    bench.state.experience.switches = Switches(dice.uniform(0, 50), 50)
    bench.run()
    assert bench.writer.ids == bench.published()[0]


def test_the_switches_of_a_reply_are_learnt():
    """All tokens were once taken for places where the switch could be, also those that fill the window."""
    reasons = set()
    for seed in range(20):
        bench = Bench(seed, chunk=4).run()
        n, n_tokens = bench.state.experience.switches.snapshot()
        reason = None if bench.switch is None else bench.switch.reason
        reasons.add(reason)
        assert n == (reason == "confident")
        assert n_tokens <= max(0, bench.meter.n_until_switch - bench.options.window + 1)
    assert "confident" in reasons and len(reasons) > 1


def test_a_forced_switch_tells_nothing_of_confidence():
    """A benchmark of forced switches taught the pair that it hardly ever switches by itself."""
    bench = Bench(1, chunk=4, switch_at=6).run()
    assert bench.switch.reason == "forced" and bench.state.experience.switches.snapshot() == [0.0, 0.0]
