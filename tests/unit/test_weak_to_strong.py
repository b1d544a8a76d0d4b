"""The loop against the published algorithm run the slow way, over models that are a fixed function of their input."""

import math
from dataclasses import replace

import pytest

from edge_wsd.decoding.bridge import SameVocabulary
from edge_wsd.decoding.common_prefix import common_prefix
from edge_wsd.decoding.drafter import Drafter
from edge_wsd.decoding.events import Scored, Switched, Token
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.ngram import SURE_ENOUGH, SURER_THAN_A_DRAFTER
from edge_wsd.decoding.options import Options
from edge_wsd.decoding.pace import Round
from edge_wsd.decoding.reply_state import PromptedModel, ReplyState
from edge_wsd.decoding.signal import ConfidenceWindow, switch_index
from edge_wsd.decoding.weak_to_strong import weak_to_strong
from edge_wsd.decoding.window_reply import WindowReply
from edge_wsd.decoding.writer import ReplyWriter
from tests.fakes import END, FakeModel, FakeSampler, FakeSequence, FakeVocabulary, drive

WORDS = FakeVocabulary([b"", *(f"w{i}.".encode() for i in range(1, 9))])
DRAFTER_PROMPT, BASE_PROMPT = [3, 1, 2], [2, 5, 4, 1]
N_SEEDS = 40
DEFAULTS = {"max_tokens": 30, "threshold": 0.4, "window": 3, "max_draft": 20}


class Bench:
    """One reply over a fake pair; keeps everything a test may want to look at."""

    def __init__(self, seed, agreement=0.7, opening=(), samplers=(None, None), stops=(), memory=FakeSequence, **given):
        self.options = Options(**{**DEFAULTS, **given})
        self.drafter_model = FakeModel(WORDS.n_tokens, seed=2 * seed, common=seed, agreement=agreement)
        self.base_model = FakeModel(WORDS.n_tokens, seed=2 * seed + 1, common=seed, agreement=agreement)
        self.drafter, self.base = memory(self.drafter_model), memory(self.base_model)
        self.writer = ReplyWriter(WORDS, max_tokens=self.options.max_tokens, stops=stops)
        self.rule = ConfidenceWindow(threshold=self.options.threshold, window=self.options.window)
        self.meter = Meter()
        finisher = PromptedModel(self.base, list(BASE_PROMPT), list(opening), sampler=samplers[1])
        self.drafter_of_loop = Drafter(
            self.drafter,
            [*DRAFTER_PROMPT, *opening],
            WORDS,
            bridge := SameVocabulary(WORDS, WORDS),
            bridge.draft("", strip=not opening),
            anchor="",
            sampler=samplers[0],
            max_draft=self.options.max_draft,
            n_ctx=1000,
        )
        self.state = WindowReply(finisher, self.options, self.writer, self.meter, self.drafter_of_loop, self.rule)
        self.loop = drive(weak_to_strong(self.state))
        self.events = []

    def run(self):
        self.events = list(self.loop)
        return self

    @property
    def switch(self):
        return next((event for event in self.events if isinstance(event, Switched)), None)

    def published(self):
        """Draft everything, score once, cut, continue greedily."""
        draft = []
        while len(draft) < self.options.max_draft:
            token = self.drafter_model.greedy((*DRAFTER_PROMPT, *draft))
            if token == END:
                break
            draft.append(token)
        scores = [self.base_model.logprobs((*BASE_PROMPT, *draft[:i]))[token] for i, token in enumerate(draft)]
        index = switch_index(scores, threshold=self.options.threshold, window=self.options.window)
        text = draft if index is None else draft[: index + 1]
        while len(text) < self.options.max_tokens:
            token = self.base_model.greedy((*BASE_PROMPT, *text))
            if token == END:
                break
            text.append(token)
        return text[: self.options.max_tokens], index, scores


@pytest.mark.parametrize("speculation", [True, False])
@pytest.mark.parametrize("chunk", [1, 2, 4, 16])
@pytest.mark.parametrize("seed", range(N_SEEDS))
def test_the_reply_is_that_of_the_published_algorithm(seed, chunk, speculation):
    bench = Bench(seed, chunk=chunk, speculation=speculation).run()
    text, index, scores = bench.published()
    assert bench.writer.ids == text
    assert bench.rule.logprobs == pytest.approx(scores[: len(bench.rule.logprobs)])
    if bench.switch is None:
        assert bench.writer.finish == "length" and len(text) == bench.options.max_tokens
    elif bench.switch.reason == "confident":
        assert bench.switch.index == index
    else:
        assert index is None


def test_the_cases_above_contain_every_kind_of_ending():
    benches = [Bench(seed, chunk=4).run() for seed in range(N_SEEDS)]
    reasons = {bench.switch.reason for bench in benches if bench.switch}
    assert reasons == {"confident", "draft_limit", "draft_ended"}
    assert {bench.writer.finish for bench in benches} == {"stop", "length"}


@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_a_draft_that_ends_is_kept_whole_and_the_base_goes_on(chunk):
    for seed in range(200):
        bench = Bench(seed, chunk=chunk, threshold=1.0).run()
        if bench.switch and bench.switch.reason == "draft_ended":
            text, index, _ = bench.published()
            assert index is None and bench.writer.ids == text
            assert [token.source for token in bench.writer.tokens].count("drafter") == bench.switch.index + 1
            return
    pytest.fail("no draft ended by itself")


@pytest.mark.parametrize("chunk", [1, 4, None])
@pytest.mark.parametrize("seed", range(N_SEEDS))
def test_with_the_rule_never_the_whole_draft_is_scored_and_the_base_writes_nothing(seed, chunk):
    bench = Bench(seed, chunk=chunk, rule="never", window=1, threshold=0.0).run()
    draft, _, scores = Bench(seed, threshold=1.0).published()
    assert bench.writer.ids == draft[: len(scores)]
    assert [token.logprob for token in bench.writer.tokens] == pytest.approx(scores)
    ends_itself = len(scores) < bench.options.max_draft
    assert bench.switch.reason == ("draft_ended" if ends_itself else "draft_limit")
    assert bench.writer.finish == ("stop" if ends_itself else "length")
    assert bench.state.experience.switches.chance == Bench(seed).state.experience.switches.chance


def test_with_the_rule_never_nothing_is_left_unscored_where_the_length_ends_the_draft():
    bench = Bench(3, chunk=4, rule="never", window=1, max_tokens=7).run()
    assert bench.writer.finish == "length" and bench.switch is None
    assert len(bench.writer.tokens) == 7 and all(token.logprob is not None for token in bench.writer.tokens)


def test_the_first_batch_is_the_prompt_and_the_first_drafted_tokens():
    bench = Bench(1, chunk=5).run()
    assert bench.base.batches[0] == (len(BASE_PROMPT), 5)


def test_the_first_window_of_tokens_is_shown_before_the_base_has_read_anything():
    bench = Bench(1, chunk=8, window=6)
    shown = 0
    for event in bench.loop:
        if bench.base.batches:
            break
        assert isinstance(event, Token) and event.source == "drafter"
        shown += 1
    assert shown == 6


def test_what_was_drafted_behind_the_switch_is_judged_without_another_pass():
    for seed in range(50):
        bench = Bench(seed, chunk=16, agreement=1.0, threshold=0.05, speculation=False).run()
        if bench.switch.index < 8 and bench.writer.finish == "length":
            # One pass scored 16 tokens, and those behind the switch were its own choices; each other token costs one.
            assert bench.meter.base_passes == 1 + bench.options.max_tokens - 16
            assert all(event.source == "base" for event in bench.writer.tokens[bench.switch.index + 1 :])
            assert bench.meter.n_accepted == bench.meter.n_drafted == 16
            return
    pytest.fail("no early switch")


def test_with_full_agreement_speculation_needs_fewer_passes_for_the_same_text():
    fast = Bench(2, agreement=1.0, chunk=4).run()
    slow = Bench(2, agreement=1.0, chunk=4, speculation=False).run()
    assert fast.writer.ids == slow.writer.ids
    assert fast.meter.base_passes < slow.meter.base_passes
    assert fast.meter.n_accepted > slow.meter.n_accepted


def test_without_speculation_the_drafter_rests_after_the_switch():
    bench = Bench(3, speculation=False)
    for event in bench.loop:
        if isinstance(event, Switched):
            n = len(bench.drafter.batches)
    assert len(bench.drafter.batches) == n


@pytest.mark.parametrize("n", [0, 1, 2, 5, 11])
@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_a_forced_switch_comes_exactly_there(n, chunk):
    bench = Bench(4, chunk=chunk, switch_at=n, threshold=0.01).run()
    assert (bench.switch.index, bench.switch.reason) == (n - 1, "forced")
    assert [token.source for token in bench.writer.tokens].count("drafter") == n
    history = [*BASE_PROMPT, *bench.writer.ids[:n]]
    for token in bench.writer.ids[n:]:
        assert token == bench.base_model.greedy(tuple(history))
        history.append(token)


@pytest.mark.parametrize("max_tokens", [1, 2, 3, 7, 8, 9])
def test_the_longest_reply_is_exact(max_tokens):
    bench = Bench(7, max_tokens=max_tokens, chunk=8).run()
    text, _, _ = bench.published()
    assert len(text) == max_tokens
    assert bench.writer.ids == text and bench.writer.finish == "length"


def test_every_drafted_token_is_scored_once_and_in_order():
    bench = Bench(5, chunk=4).run()
    scored = [event for event in bench.events if isinstance(event, Scored)]
    assert [event.first for event in scored] == [sum(len(e.logprobs) for e in scored[:i]) for i in range(len(scored))]
    told = [x for event in scored for x in event.logprobs]
    assert told == bench.rule.logprobs[: len(told)] and len(told) == bench.switch.index + 1


@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_sampling_gives_the_same_text_for_every_chunk_and_with_speculation_or_without(chunk):
    texts = set()
    for speculation in (True, False):
        samplers = FakeSampler(1), FakeSampler(2)
        bench = Bench(6, chunk=chunk, speculation=speculation, samplers=samplers, temperature=1.0).run()
        texts.add(tuple(bench.writer.ids))
    reference = Bench(6, chunk=2, samplers=(FakeSampler(1), FakeSampler(2)), temperature=1.0).run()
    assert texts == {tuple(reference.writer.ids)}


@pytest.mark.parametrize("chunk", [1, 4, 16])
@pytest.mark.parametrize("seed", range(8))
def test_each_sampler_is_told_of_every_token_once_and_in_order(seed, chunk):
    """Penalties and grammars need it: proposals that did not stand are none of the reply's."""
    samplers = FakeSampler(1), FakeSampler(2)
    bench = Bench(seed, chunk=chunk, samplers=samplers, temperature=1.0).run()
    if bench.switch:
        n_told = len(samplers[1].accepted)
        assert samplers[1].accepted == bench.writer.ids[:n_told] and n_told >= len(bench.writer.ids)
        assert samplers[1].drafted == bench.writer.ids[: bench.switch.index + 1]
    n_draft = [token.source for token in bench.writer.tokens].count("drafter")
    assert samplers[0].accepted[:n_draft] == bench.writer.ids[:n_draft]


@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_a_given_beginning_counts_in_the_window_and_is_never_cut(chunk):
    opening = [4, 7, 1, 3]
    bench = Bench(8, chunk=chunk, opening=opening, threshold=0.0).run()
    # Threshold 0 passes as soon as the window is full, which it is inside the beginning: nothing is drafted.
    assert (bench.switch.index, bench.switch.reason) == (-1, "confident")
    history = [*BASE_PROMPT, *opening]
    for token in bench.writer.ids:
        assert token == bench.base_model.greedy(tuple(history))
        history.append(token)
    scores = [bench.base_model.logprobs((*BASE_PROMPT, *opening[:i]))[token] for i, token in enumerate(opening)]
    assert bench.rule.logprobs[:4] == pytest.approx(scores)


def test_a_given_beginning_shorter_than_the_window_is_completed_by_the_draft():
    bench = Bench(9, opening=[4, 7], threshold=0.0, window=3).run()
    assert bench.switch.index == 0


def test_a_stop_string_ends_the_reply_wherever_it_stands():
    free = Bench(10, max_tokens=12).run()
    for position in range(10):
        stop = WORDS.piece(free.writer.ids[position]).decode()[:-1]
        bench = Bench(10, max_tokens=12, stops=[stop]).run()
        assert bench.writer.text == free.writer.text[: free.writer.text.index(stop)]
        assert (bench.writer.finish, bench.writer.stop) == ("stop", stop)


@pytest.mark.parametrize("speculation", [True, False])
@pytest.mark.parametrize("chunk", [1, 4, 16])
def test_both_memories_hold_what_was_written_and_no_more_than_a_proposal(chunk, speculation):
    """It once looked at the base alone, and not at how much it held beyond the reply."""
    for seed in range(N_SEEDS):
        bench = Bench(seed, chunk=chunk, agreement=0.6, speculation=speculation)
        most = max(chunk, bench.options.window)
        n_draft = 0
        for event in bench.loop:
            n_draft = event.index + 1 if isinstance(event, Switched) else n_draft
            for memory, prompt in ((bench.base, BASE_PROMPT), (bench.drafter, DRAFTER_PROMPT)):
                n_true = common_prefix(memory.tokens, [*prompt, *bench.writer.ids])
                assert len(memory.tokens) - n_true <= most
        if n_draft:
            # All but the newest token, which is read with the next pass; the drafter may rest after the switch.
            assert (
                common_prefix(bench.base.tokens, [*BASE_PROMPT, *bench.writer.ids])
                >= len(BASE_PROMPT) + len(bench.writer.ids) - 1
            )
            held = common_prefix(bench.drafter.tokens, [*DRAFTER_PROMPT, *bench.writer.ids])
            assert held >= len(DRAFTER_PROMPT) + n_draft - 1


def test_one_model_alone_writes_its_greedy_text():
    model = FakeModel(WORDS.n_tokens, seed=5)
    sequence, writer = FakeSequence(model), ReplyWriter(WORDS, max_tokens=12)
    state = ReplyState(PromptedModel(sequence, list(BASE_PROMPT), []), Options(), writer, Meter())
    list(drive(weak_to_strong(state)))
    history = list(BASE_PROMPT)
    for token in writer.ids:
        assert token == model.greedy(tuple(history))
        history.append(token)
    assert writer.finish == ("length" if len(writer.ids) == 12 else "stop")
    assert all(math.isfinite(token.logprob) for token in writer.tokens)


PROPOSERS = ["drafter", "ngram", "both"]


@pytest.mark.parametrize("proposers", PROPOSERS)
@pytest.mark.parametrize("chunk", [1, 4, 16])
@pytest.mark.parametrize("seed", range(N_SEEDS))
def test_whoever_proposes_the_reply_is_that_of_the_published_algorithm(seed, chunk, proposers):
    bench = Bench(seed, chunk=chunk, proposers=proposers).run()
    assert bench.writer.ids == bench.published()[0]


@pytest.mark.parametrize("proposers", PROPOSERS)
def test_statistics_tell_who_proposed_and_what_was_accepted(proposers):
    known = {"drafter", "ngram"} if proposers == "both" else {proposers}
    accepted = set()
    for seed in range(N_SEEDS):
        meter = Bench(seed, chunk=4, max_tokens=80, proposers=proposers).run().meter
        for name, n_proposed in meter.n_proposed.items():
            assert 0 <= meter.n_proposed_accepted[name] <= n_proposed
            assert name in known or n_proposed == 0
            accepted |= {name} if meter.n_proposed_accepted[name] else set()
        assert meter.n_accepted <= meter.n_drafted
        plain = Bench(seed, chunk=4, max_tokens=80, proposers=proposers, speculation=False).run().meter
        assert sum(plain.n_proposed.values()) == sum(plain.n_proposed_accepted.values()) == 0
        assert meter.n_drafted - plain.n_drafted == meter.n_proposed["drafter"]
        assert meter.n_accepted - plain.n_accepted == meter.n_proposed_accepted["drafter"]
    assert accepted == known


def test_one_model_alone_needs_fewer_passes_for_a_text_that_repeats_itself():
    """What follows is a function of the last tokens, so each long enough text comes to repeat itself."""
    seed = next(seed for seed in range(50) if END not in endless(seed, 60))
    texts, n_passes = set(), {}
    for proposers in PROPOSERS:
        sequence, writer = FakeSequence(FakeModel(3, seed=seed)), ReplyWriter(WORDS, max_tokens=60)
        state = ReplyState(PromptedModel(sequence, [1, 2], []), Options(proposers=proposers), writer, meter := Meter())
        list(drive(weak_to_strong(state)))
        texts.add(tuple(writer.ids))
        n_passes[proposers] = len(sequence.batches)
        assert meter.base_passes == len(sequence.batches)
    assert len(texts) == 1 and n_passes["drafter"] == len(texts.pop())
    assert n_passes["ngram"] == n_passes["both"] < n_passes["drafter"]


def test_lookup_knows_the_given_beginning_of_a_reply():
    seed = next(seed for seed in range(50) if END not in endless(seed, 60))
    known, n_passes = endless(seed, 60)[2:32], []
    for prompt, opening in (([1, 2, *known], []), ([1, 2], known)):
        sequence, writer = FakeSequence(FakeModel(3, seed=seed)), ReplyWriter(WORDS, max_tokens=30)
        state = ReplyState(PromptedModel(sequence, prompt, opening), Options(proposers="ngram"), writer, Meter())
        list(drive(weak_to_strong(state)))
        n_passes.append(len(sequence.batches))
    assert n_passes[0] == n_passes[1] < 30


def test_a_match_that_is_rarely_right_takes_no_place_in_a_pass():
    for prompt, expected in (([1, 2, 3, 1], []), ([1, 2, 3, 4, 1, 2, 3], [4])):
        sequence, writer = FakeSequence(FakeModel(9, seed=1)), ReplyWriter(WORDS, max_tokens=60)
        state = ReplyState(PromptedModel(sequence, prompt, []), Options(proposers="ngram"), writer, Meter())
        with pytest.raises(StopIteration) as end:
            next(state.propose())
        assert end.value.value[:1] == expected
        assert not expected or state._asked.stop_below >= SURE_ENOUGH, "or its pace took the bound for the text's end"


def endless(seed, n):
    """The greedy text of a small model, whatever ends it."""
    history = [1, 2]
    while len(history) < 2 + n:
        history.append(FakeModel(3, seed=seed).greedy(tuple(history)))
    return history


class Spy:
    """A proposer that keeps what it was asked and what it said."""

    def __init__(self, proposer):
        self._proposer = proposer
        self.bounds, self.proposals = [], []

    @property
    def seconds(self):
        return self._proposer.seconds

    def propose(self, reply, n, stop_below=0.0):
        self.bounds.append(stop_below)
        proposal = yield from self._proposer.propose(reply, n, stop_below)
        self.proposals.append(proposal)
        return proposal


def test_the_experience_with_proposals_is_that_of_whoever_made_them():
    for proposers in PROPOSERS:
        known = {"drafter", "ngram"} if proposers == "both" else {proposers}
        learnt = set()
        for seed in range(N_SEEDS):
            experience = Bench(seed, proposers=proposers, max_tokens=80).run().state.experience
            learnt |= {name for name, of in experience.proposals.items() if sum(of.acceptance.tried)}
        assert learnt == known


@pytest.mark.parametrize(
    ("proposers", "of_drafter", "of_lookup", "expected"),
    [
        ("both", Round(8), Round(8), SURER_THAN_A_DRAFTER),
        ("both", Round(0), Round(8), SURE_ENOUGH),
        ("ngram", Round(8), Round(8), SURE_ENOUGH),
        ("both", Round(8), Round(8, 0.95), 0.95),
    ],
)
def test_where_a_drafter_would_propose_a_match_must_be_surer(proposers, of_drafter, of_lookup, expected):
    """Lookup proposes instead of the drafter, wherever it finds something."""
    bench = Bench(3, max_tokens=60, switch_at=2, proposers=proposers)
    state, spy = bench.state, Spy(bench.state._proposers["ngram"])
    state._proposers["ngram"] = spy
    for name, round_ in (("drafter", of_drafter), ("ngram", of_lookup)):
        if name in state._paces:
            state._paces[name].next = lambda round_=round_: round_
    bench.run()
    assert set(spy.bounds) == {expected}


def test_the_drafter_is_asked_to_stop_where_its_pace_says_so():
    bench = Bench(3, max_tokens=60, switch_at=2)
    state, spy = bench.state, Spy(bench.drafter_of_loop)
    state._proposers["drafter"] = spy
    state._paces["drafter"].next = lambda: Round(8, 0.35)
    bench.run()
    assert set(spy.bounds) == {0.35}
    said = [chance for proposal in spy.proposals for chance in proposal.chances]
    assert said and min(said) >= 0.35
    tried = state.experience.proposals["drafter"].acceptance.tried
    assert sum(tried[:-1]) > 0, "they once counted as if the drafter had been certain of each"


def test_a_drafter_stops_proposing_where_it_is_unsure_itself(monkeypatch):
    def proposal(**given):
        with pytest.raises(StopIteration) as end:
            next(drive(drafter.propose([], 8, **given)))
        return end.value.value

    bench = Bench(1)
    drafter = bench.drafter_of_loop
    whole, history = proposal(), list(DRAFTER_PROMPT)
    for token, chance in zip(whole.tokens, whole.chances, strict=True):
        assert chance == pytest.approx(math.exp(bench.drafter_model.logprobs(tuple(history))[token]))
        history.append(token)
    assert len(whole.tokens) > 2
    asked = next(drafter.propose([1], 8, 0.3))
    assert asked.onward.stop_below == 0.3, "or steps that are taken natively would go on"
    for bound in whole.chances:
        n_sure = next((i for i, chance in enumerate(whole.chances) if chance < bound * 0.999), len(whole.chances))
        stopped = proposal(stop_below=bound * 0.999)
        assert stopped.tokens == whole.tokens[:n_sure] and stopped.unsure == (n_sure < len(whole.tokens))
    assert not whole.unsure and proposal(stop_below=1.0).unsure
    monkeypatch.setattr(drafter._vocabulary, "is_end", lambda token: True)  # to end is not to be unsure
    assert proposal(stop_below=0.001) == replace(whole, tokens=[], chances=[])


class Hasty:
    """A draft that hands over wrong tokens, and finds that out when it is asked to make sure or has ended."""

    def __init__(self, draft, wrong_at):
        self._draft, self._wrong_at = draft, wrong_at

    @property
    def tokens(self):
        tokens = list(self._draft.tokens)
        for at in self._wrong_at:
            if at < len(tokens):
                tokens[at] = 1 + tokens[at] % 8
        return tokens

    def push(self, token):
        return self._draft.push(token)

    def settle(self):
        changed = min([*self._wrong_at, len(self._draft.tokens)])
        self._wrong_at = ()
        return changed

    def flush(self):
        return min(self.settle(), self._draft.flush())


@pytest.mark.parametrize("chunk", [1, 3, 8])
def test_a_draft_that_was_cut_too_soon_is_read_again_before_anything_is_made_of_it(chunk):
    """Only what the base said of the right tokens may switch, be kept, or count against the longest reply."""
    for seed in range(N_SEEDS):
        for options in ({}, {"switch_at": 5}, {"max_tokens": 4}, {"threshold": 1.0}):
            honest = Bench(seed, chunk=chunk, **options).run()
            bench = Bench(seed, chunk=chunk, **options)
            bench.drafter_of_loop.draft = Hasty(bench.drafter_of_loop.draft, wrong_at=(3, 4))
            bench.run()
            kept = [event.index for event in bench.events if isinstance(event, Switched)]
            assert bench.rule.logprobs[: len(honest.rule.logprobs)] == pytest.approx(honest.rule.logprobs)
            assert bench.writer.ids == honest.writer.ids
            assert kept == ([honest.switch.index] if honest.switch else [])
