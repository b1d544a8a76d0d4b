"""The switch rule against the published table and against its own definition."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_wsd.decoding.signal import ConfidenceWindow, switch_index

GOLDEN = [
    ([], 0.8, 6, None),
    ([1.0] * 5, 0.8, 6, None),
    ([1.0] * 6, 0.8, 6, 5),
    ([0.1] + [0.9] * 6, 0.8, 6, 6),
    ([0.2] * 4 + [0.95] * 10, 0.8, 6, 9),
    ([0.79] * 10, 0.8, 6, None),
    ([1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1], 0.8, 6, 9),
    ([0.25] + [1.0] * 6, 0.8, 6, 6),
    ([0.5, 0.9], 0.8, 1, 1),
    ([0.9, 0.5], 0.8, 1, 0),
    ([0.6] * 8, 0.6, 2, 1),
]


def logs(probabilities):
    return [math.log(p) if p > 0 else -math.inf for p in probabilities]


@pytest.mark.parametrize(("probabilities", "threshold", "window", "expected"), GOLDEN)
def test_the_published_cases_hold(probabilities, threshold, window, expected):
    assert switch_index(logs(probabilities), threshold=threshold, window=window) == expected


def test_the_defaults_are_the_published_ones():
    assert switch_index(logs([0.81] * 6)) == 5
    assert switch_index(logs([0.79] * 6)) is None
    assert switch_index(logs([1.0] * 5)) is None


@given(st.lists(st.floats(0.001, 1.0), max_size=40), st.floats(0.05, 1.0), st.integers(1, 8))
def test_the_switch_is_the_first_window_whose_product_reaches_the_threshold(probabilities, threshold, window):
    def passes(i):
        return math.prod(probabilities[i - window + 1 : i + 1]) >= (threshold * (1 - 1e-12)) ** window

    borderline = [
        i
        for i in range(window - 1, len(probabilities))
        if abs(math.prod(probabilities[i - window + 1 : i + 1]) ** (1 / window) - threshold) < 1e-8
    ]
    expected = next((i for i in range(window - 1, len(probabilities)) if passes(i)), None)
    found = switch_index(logs(probabilities), threshold=threshold, window=window)
    assert found == expected or found in borderline


@given(st.lists(st.floats(0.001, 1.0), max_size=30), st.lists(st.integers(1, 7), max_size=12))
def test_it_does_not_matter_in_which_portions_the_tokens_come(probabilities, portions):
    whole, parts = ConfidenceWindow(threshold=0.5, window=3), ConfidenceWindow(threshold=0.5, window=3)
    whole.extend(logs(probabilities))
    start = 0
    for n in [*portions, len(probabilities)]:
        parts.extend(logs(probabilities[start : start + n]))
        start += n
    assert (parts.index, parts.confidences) == (whole.index, whole.confidences)


def test_cutting_forgets_a_switch_behind_the_cut_and_keeps_one_before_it():
    rule = ConfidenceWindow(threshold=0.8, window=2)
    rule.extend(logs([0.1, 0.9, 0.9, 0.1]))
    assert rule.index == 2
    rule.cut(3)
    assert rule.index == 2
    rule.cut(2)
    assert rule.index is None
    rule.extend(logs([0.1, 0.9, 0.9]))
    assert rule.index == 4


def test_an_impossible_token_makes_the_confidence_zero():
    rule = ConfidenceWindow(threshold=0.1, window=2)
    rule.extend([-math.inf, 0.0])
    assert rule.confidences == [None, 0.0]


@pytest.mark.parametrize("seed", range(30))
def test_the_rule_passes_at_the_earliest_token_that_it_can_and_never_before(seed):
    """What is certain to be kept is drafted without asking the base, so this must never be too late."""
    dice = random.Random(seed)
    threshold, window = dice.choice([0.0, 0.5, 0.8, 1.0]), dice.randint(1, 7)
    logprobs = [math.log(dice.choice([0.999, 0.6, 0.05])) for _ in range(dice.randint(0, 12))]
    rule = ConfidenceWindow(threshold=threshold, window=window)
    for n in range(len(logprobs) + 1):
        if rule.index is None:
            n_more = rule.earliest()
            assert switch_index([*logprobs[:n], *[0.0] * n_more], threshold=threshold, window=window) == n + n_more - 1
        rule.extend(logprobs[n : n + 1])
