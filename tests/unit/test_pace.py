"""How much to propose after the switch: enough where it pays, nothing where it does not."""

import itertools

from edge_wsd.decoding.pace import Pace


def settle(pace, *, step_s, pass_s, acceptance, rounds=80):
    """Feed rounds of a machine with these costs; returns the last k values."""
    chosen = []
    for index in range(rounds):
        k = pace.next()
        accepted = k if acceptance == 1 else min(k, int(acceptance * (k + 1) + (index % 3) / 3))
        pace.record(k, n_proposed=k, n_accepted=accepted, propose_s=k * step_s, pass_s=pass_s(k + 1))
        chosen.append(k)
    return chosen


def test_where_batches_are_free_and_everything_is_accepted_it_proposes_all_it_may():
    assert settle(Pace(16), step_s=0.001, pass_s=lambda n: 0.02, acceptance=1)[-10:] == [16] * 10


def test_where_a_batch_costs_as_much_as_its_tokens_it_stops_proposing():
    chosen = settle(Pace(16), step_s=0.005, pass_s=lambda n: 0.01 * n, acceptance=1)
    assert chosen[-20:].count(0) >= 18


def test_where_nothing_is_accepted_it_stops_and_tries_again_ever_more_rarely():
    chosen = settle(Pace(8), step_s=0.002, pass_s=lambda n: 0.02, acceptance=0, rounds=400)
    tried = [i for i, k in enumerate(chosen) if k]
    gaps = [b - a for a, b in itertools.pairwise(tried)]
    assert len(tried) > 3 and gaps[-1] > 2 * gaps[2]


def test_it_comes_back_when_proposals_are_accepted_again():
    pace = Pace(8)
    settle(pace, step_s=0.001, pass_s=lambda n: 0.02, acceptance=0, rounds=100)
    assert settle(pace, step_s=0.001, pass_s=lambda n: 0.02, acceptance=1, rounds=300)[-5:] == [8] * 5


def test_a_limit_of_one_is_kept():
    assert max(settle(Pace(1), step_s=0.001, pass_s=lambda n: 0.02, acceptance=1)) == 1


def test_a_drafter_that_has_nothing_to_say_is_not_asked_for_ever():
    pace = Pace(8)
    asked = []
    for _ in range(200):
        asked.append(pace.next())
        pace.record(asked[-1], n_proposed=0, n_accepted=0, propose_s=0.01, pass_s=0.02)
    assert asked.count(0) > 150
