"""Settings tried on the scores of a draft: against the rule run token by token, and what is concluded from many."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from edge_wsd.calibration.calibration import Calibrator
from edge_wsd.calibration.draft import ScoredDraft, scoring_options
from edge_wsd.calibration.draft_signal import DraftSignal
from edge_wsd.calibration.nudged import nudge_row, nudged
from edge_wsd.calibration.settings import SettingGrid, WindowSetting
from edge_wsd.calibration.sweep import sweep
from edge_wsd.calibration.verdict import judge_pair
from edge_wsd.decoding.events import Alternative, Reply, Switched, Token
from edge_wsd.decoding.options import Options
from edge_wsd.errors import CalibrationError, OptionError
from edge_wsd.llama.vocabulary_verdict import VocabularyVerdict


def draft_of(probabilities, ended="draft_ended", repeated=None):
    n = len(probabilities)
    logprobs = tuple(math.log(p) if p else -math.inf for p in probabilities)
    choices = tuple(zip(range(n), logprobs, strict=True))
    repeated = tuple(repeated or [False] * n)
    return ScoredDraft(("x",) * n, tuple(range(n)), logprobs, (b" x",) * n, choices, repeated, ended)


def drawn(seed, *, repeats=False):
    """A draft of which the base is sure now and then."""
    dice = random.Random(seed)
    n = dice.randrange(1, 40)
    probabilities = [dice.choice([1.0, 0.99, 0.9, 0.7, 0.2, 0.0][: dice.randrange(2, 7)]) for _ in range(n)]
    repeated = [repeats and dice.random() < 0.3 for _ in range(n)]
    return draft_of(probabilities, dice.choice(["draft_ended", "draft_limit", None]), repeated)


def by_hand(draft, setting):
    """The published rule, one product after the other: the first window of counted tokens that is sure enough."""
    window: list[float] = []
    confidence = None
    for i, logprob in enumerate(draft.logprobs):
        if not (setting.ignore_repeated and draft.repeated[i]):
            window = [*window, math.exp(logprob)][-setting.window :]
        if len(window) == setting.window:
            confidence = math.prod(window) ** (1 / setting.window)
            is_end_of_reply = draft.ended is None and i == len(draft) - 1
            if confidence >= setting.threshold - 1e-9 and not is_end_of_reply:
                return i, "confident", confidence
    return None if draft.ended is None else (len(draft) - 1, draft.ended, confidence)


@pytest.mark.parametrize("repeats", [False, True])
def test_the_switch_is_that_of_the_rule_by_hand(repeats):
    grid, reasons = SettingGrid(), set()
    for seed in range(150):
        draft = drawn(seed, repeats=repeats)
        for setting in grid.settings(ignore_repeated=repeats):
            found, expected = draft.switch(setting), by_hand(draft, setting)
            assert (found is None) == (expected is None)
            if found is not None:
                assert (found.index, found.reason) == expected[:2]
                assert found.confidence == pytest.approx(expected[2])
            reasons.add(found and found.reason)
    assert reasons == {"confident", "draft_ended", "draft_limit", None}


def test_a_repeated_token_leaves_the_confidence_as_it_was():
    draft = draft_of([0.5, 0.5, 1.0, 1.0, 0.5], repeated=[False, False, True, True, False])
    assert draft.confidences(window=2, ignore_repeated=True) == pytest.approx([None, 0.5, 0.5, 0.5, 0.5])
    assert draft.confidences(window=2) == pytest.approx([None, 0.5, 0.5**0.5, 1.0, 0.5**0.5])


def test_an_empty_draft_switches_where_it_ended():
    assert draft_of([]).switch(WindowSetting()) == Switched(-1, "draft_ended", None)
    assert draft_of([], ended=None).switch(WindowSetting()) is None


def test_a_draft_is_what_the_drafter_wrote_and_the_base_scored():
    best = (Alternative(5, "Yes", b"Yes", -0.4),)
    tokens = (
        Token(0, 7, "Sure", "drafter", -0.5, False, b"Sure", best),
        Token(1, 8, "!", "drafter", -0.1, True, b"!", best),
        Token(2, 9, " ls", "base", -0.2, None, b" ls", best),
    )
    reply = Reply("Sure! ls", tokens, (None, None, None), "stop", Switched(1, "draft_ended", None))
    assert ScoredDraft.of(reply) == ScoredDraft(
        ("Sure", "!"), (7, 8), (-0.5, -0.1), (b"Sure", b"!"), ((5, -0.4), (5, -0.4)), (False, True), "draft_ended"
    )
    unscored = replace(reply, tokens=(replace(tokens[0], logprob=None),), switch=None)
    assert len(ScoredDraft.of(unscored)) == 0


def words(pieces, choices):
    """A draft of tokens 0, 1, ...; at each position the base chooses the token with the probability."""
    n = len(pieces)
    own = tuple((token, math.log(p)) for token, p in choices)
    return ScoredDraft(("",) * n, tuple(range(n)), (-1.0,) * n, tuple(pieces), own, (False,) * n, "draft_ended")


def test_where_the_base_is_unsure_a_whole_word_is_the_drafters():
    pieces = [b"Hel", b"lo", b" ", b"wor", b"ld", b" now"]
    choices = [(0, 0.3), (1, 0.1), (2, 0.2), (3, 0.9), (4, 0.9), (5, 0.5)]
    known = nudged(words(pieces, choices), 0.4)
    assert known.sources == ("drafter",) * 5 + ("base",) and known.n_words == 2
    assert nudged(words(pieces, choices), 0.05).sources == ("base",) * 6


def test_behind_another_choice_of_the_base_nothing_is_known():
    known = nudged(words([b"a", b" b", b" c"], [(0, 0.9), (9, 0.9), (2, 0.1)]), 0.4)
    assert known.sources == ("base",) and known.as_dict(0.4)["whole"] is False
    row = nudge_row(0.4, [words([b"a", b" b"], [(0, 0.9), (1, 0.1)]), words([b"a", b" b"], [(0, 0.9), (9, 0.9)])])
    assert (row.n_whole, row.known_share, row.drafted_share) == (1, 0.75, pytest.approx(1 / 3))


def test_white_space_in_several_tokens_goes_with_the_word_behind_it():
    known = nudged(words([b"a", b" ", b" b", b" c"], [(0, 0.9), (1, 0.1), (2, 0.1), (3, 0.9)]), 0.4)
    assert known.sources == ("base", "drafter", "drafter", "base") and known.n_words == 1


def test_a_word_without_end_is_cut_as_the_drafter_cuts_it():
    known = nudged(words([b"a"] * 20, [(0, 0.1)] * 16 + [(16, 0.9)] + [(99, 0.9)] * 3), 0.4)
    assert known.sources == ("drafter",) * 16 + ("base",)


def test_scoring_keeps_what_decides_the_draft():
    given = Options(temperature=0.7, seed=3, max_draft=20, max_tokens=30, switch_at=4, stop=("x",))
    changed = {"rule": "never", "window": 1, "ignore_repeated": True, "switch_at": None, "top_logprobs": 1}
    assert scoring_options(given) == replace(given, **changed)


def test_a_grid_is_in_order_without_doubles_and_checked():
    grid = SettingGrid(thresholds=(0.9, 0.5, 0.9), windows=(6, 3))
    assert [(s.threshold, s.window) for s in grid.settings(ignore_repeated=False)] == [
        (0.5, 3), (0.5, 6), (0.9, 3), (0.9, 6)
    ]  # fmt: skip
    with pytest.raises(OptionError, match="threshold must be between 0 and 1"):
        SettingGrid(thresholds=(1.5,))
    with pytest.raises(OptionError, match="window"):
        SettingGrid(windows=(0,))


def test_a_row_counts_switches_and_what_is_kept():
    drafts = [draft_of([0.1, 0.9, 0.9, 0.1]), draft_of([0.9, 0.9, 0.9, 0.9]), draft_of([0.1, 0.1])]
    row = sweep(drafts, SettingGrid((0.8,), (2,)))[0]
    assert (row.n, row.n_confident, row.n_at_once, row.switch_tokens) == (3, 2, 1, 2.5)
    assert row.drafted_share == 0.75 and row.mean_drafted_share == pytest.approx((0.75 + 0.5 + 1.0) / 3)
    assert sweep(drafts[2:], SettingGrid((0.8,), (3,)))[0].switch_tokens is None


def judged(drafts):
    return judge_pair(sweep(drafts, SettingGrid()))


def test_the_recommended_setting_is_the_most_demanding_that_meets_the_rule():
    """Sure from the fifth token on: the longest window passes at half of the draft, the highest threshold likewise."""
    verdict = judged([draft_of([0.3] * 4 + [1.0] * 36)] * 10)
    assert (verdict.quality, verdict.recommended) == ("good", WindowSetting(0.95, 12))
    shorter = judged([draft_of([0.3] * 4 + [1.0] * 16)] * 10)  # twelve sure tokens end behind the middle
    assert shorter.recommended == WindowSetting(0.95, 6)
    less_sure = judged([draft_of([0.3] * 4 + [0.85] * 36)] * 10)
    assert less_sure.recommended == WindowSetting(0.8, 12)


def test_a_setting_that_fails_in_every_fifth_draft_is_not_recommended():
    sure, less_sure = draft_of([0.3] * 4 + [1.0] * 36), draft_of([0.3] * 4 + [0.85] * 36)
    assert judged([sure] * 8 + [less_sure] * 2).recommended == WindowSetting(0.8, 12)
    assert judged([sure] * 9 + [less_sure]).recommended == WindowSetting(0.95, 12)


def test_poor_pairs_are_told_with_the_reason():
    seldom = judged([draft_of([0.3] * 40)] * 6 + [draft_of([1.0] * 40)] * 4)
    assert (seldom.quality, seldom.is_poor, seldom.recommended) == ("seldom", True, None)
    assert "at most 40 % of the drafts (threshold 0.5, window 3)" in seldom.reason
    at_once = judged([draft_of([1.0] * 40)] * 9 + [draft_of([0.3] * 10 + [1.0] * 30)])
    assert (at_once.quality, at_once.is_poor, at_once.recommended) == ("at_once", True, None)
    assert "in 90 % of the drafts" in at_once.reason
    late = judged([draft_of([0.3] * 30 + [1.0] * 10)] * 10)
    assert (late.quality, late.is_poor, late.recommended) == ("undecided", False, None)
    assert "threshold 0.5, window 3, takes over in 100 % of the drafts and keeps 80 % of the draft" in late.reason


def test_an_impossible_token_is_null_in_json_and_probability_0():
    found = DraftSignal(draft_of([0.0, 1.0]), WindowSetting(0.8, 1), None).as_dict(SettingGrid((0.8,), (1, 2)))
    assert found["draft"][0]["logprob"] is None and found["draft"][0]["probability"] == 0.0
    assert [other["switch"] and other["switch"]["index"] for other in found["others"]] == [1, 1] * 2


class NoPair:
    """Answers nothing: what is asked of it fails."""

    parallel = 1
    options = Options()
    vocabulary = VocabularyVerdict("identical", "")

    def session(self, **_given):
        raise CalibrationError("this pair is not asked")


def test_without_a_draft_the_reason_is_told():
    with pytest.raises(CalibrationError, match="there are no prompts"):
        Calibrator(NoPair(), []).run()
    with pytest.raises(CalibrationError, match="the first: this pair is not asked"):
        Calibrator(NoPair(), ["hello"]).run()
    given = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "Sure"}]
    with pytest.raises(CalibrationError, match="the first: it ends with an assistant message"):
        Calibrator(NoPair(), [given]).run()
