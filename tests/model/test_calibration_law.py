"""What is predicted from the scores of one draft is what a real answer with the same options does."""

from __future__ import annotations

import pytest

from edge_wsd import ModelSettings, Options, Pair
from edge_wsd.calibration.calibration import Calibrator
from edge_wsd.calibration.draft import ScoredDraft, scoring_options
from edge_wsd.calibration.nudged import nudged
from edge_wsd.calibration.settings import SettingGrid

EXACT = ModelSettings(gpu_layers=0, threads=1, exact=True)
QUESTIONS = ("How do I delete the file notes.txt?", "hello", "How do I unpack archive.tar.gz?")
GRID = SettingGrid(thresholds=(0.5, 0.9, 1.0), windows=(1, 6, 12))
HOW = {
    "greedy": Options(max_tokens=120),
    "drawn": Options(max_tokens=60, temperature=0.9, seed=5),
    "length": Options(max_tokens=8),
    "short draft": Options(max_tokens=40, max_draft=7),
}


@pytest.fixture(scope="module", params=["demo", "other vocabulary"])
def pair(request):
    loading = {"drafter_settings": EXACT, "base_settings": EXACT, "parallel": 3}
    with Pair.demo(other_vocabulary=request.param != "demo", **loading) as pair:
        yield pair


@pytest.mark.parametrize("how", HOW)
def test_the_predicted_switch_is_that_of_a_real_answer(how, pair):
    seen = set()
    for question in QUESTIONS[: 2 if how == "greedy" else 1]:
        draft = ScoredDraft.of(pair.generate(question, scoring_options(HOW[how])))
        for ignore_repeated in (False, True):
            for setting in GRID.settings(ignore_repeated=ignore_repeated):
                real = pair.generate(
                    question,
                    HOW[how],
                    threshold=setting.threshold,
                    window=setting.window,
                    ignore_repeated=ignore_repeated,
                ).switch
                predicted = draft.switch(setting)
                assert (predicted and (predicted.index, predicted.reason)) == (real and (real.index, real.reason))
                if real is not None:
                    assert predicted.confidence == pytest.approx(real.confidence)
                seen.add(real and real.reason)
    assert "confident" in seen and len(seen) > 1


def test_the_scores_are_those_of_reading_the_draft_token_by_token(pair):
    draft = ScoredDraft.of(pair.generate(QUESTIONS[0], scoring_options(HOW["greedy"])))
    assert draft.ended == "draft_ended"
    slow = pair.generate(QUESTIONS[0], HOW["greedy"], switch_at=(n := len(draft) - 1), chunk=1, speculation=False)
    assert [token.id for token in slow.tokens[:n]] == list(draft.ids[:n])
    assert [token.logprob for token in slow.tokens[:n]] == pytest.approx(list(draft.logprobs[:n]))


def test_a_calibration_scores_each_prompt_once_whatever_is_swept(pair):
    asked = []

    def prompt_of(question):
        asked.append(question)
        return question

    work = Calibrator(pair, QUESTIONS, prompt_of, options=HOW["greedy"])
    assert list(work) == list(QUESTIONS)
    found = work.result(GRID)
    assert asked == list(QUESTIONS)
    expected = [ScoredDraft.of(pair.generate(question, scoring_options(HOW["greedy"]))) for question in QUESTIONS]
    assert [draft.ids for draft in found.drafts] == [draft.ids for draft in expected]
    assert len(found.rows) == 2 * 3 * 3 and found.failures == () and found.n_empty == 0
    for row in found.rows:
        switches = [draft.switch(row.setting) for draft in expected]
        assert row.n_confident == sum(switch is not None and switch.reason == "confident" for switch in switches)
    assert [row.nudge_below for row in found.nudges] == list(GRID.nudges if pair.vocabulary.same else ())


def test_a_prompt_that_cannot_be_answered_is_a_failure_of_its_own(pair):
    prompts = ["hello", "", "long " * 5000]
    found = Calibrator(pair, prompts, options=HOW["length"]).run()
    assert len(found.drafts) == 1 and [prompt for prompt, _ in found.failures] == prompts[1:]


def test_a_calibration_that_is_stopped_tells_of_what_there_is(pair):
    work = Calibrator(pair, QUESTIONS)
    for _ in work:
        work.cancel()
    assert len(work.result().drafts) == 1


def test_what_is_known_of_nudging_is_what_it_does_and_then_it_writes_another_word(nudge_pair):
    shares = set()
    for question in ("hello", "How do I list files by size?"):
        draft = ScoredDraft.of(nudge_pair.generate(question, scoring_options(HOW["greedy"])))
        for nudge_below in (0.1, 0.4, 0.95, 1.0):
            known = nudged(draft, nudge_below)
            real = nudge_pair.generate(question, HOW["greedy"], rule="nudge", nudge_below=nudge_below)
            n = known.n_known
            assert [token.id for token in real.tokens[:n]] == list(draft.ids[:n])
            assert tuple(token.source for token in real.tokens[:n]) == known.sources
            if n < len(draft):
                assert [token.id for token in real.tokens[: n + 1]] != list(draft.ids[: n + 1])
                assert real.stats.n_hand_overs >= known.n_words
            shares.add(n / len(draft))
    assert 1.0 in shares and len(shares) > 2


@pytest.fixture(scope="module")
def nudge_pair():
    with Pair.demo(drafter_settings=EXACT, base_settings=EXACT) as pair:
        yield pair
