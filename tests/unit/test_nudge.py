"""Nudging against the rule run the slow way: a pass for every token of the base, one word of the drafter at a time."""

import math

import pytest

from edge_wsd.decoding.bridge import SameVocabulary
from edge_wsd.decoding.drafter import Drafter
from edge_wsd.decoding.events import Scored, Switched, Token
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.nudge_reply import NudgeReply
from edge_wsd.decoding.options import Options
from edge_wsd.decoding.proposal import Proposal
from edge_wsd.decoding.reply_state import PromptedModel
from edge_wsd.decoding.weak_to_strong import weak_to_strong
from edge_wsd.decoding.writer import ReplyWriter
from edge_wsd.errors import OptionError
from tests.fakes import END, FakeModel, FakeSampler, FakeSequence, FakeVocabulary, drive

WORDS = FakeVocabulary([b"", b" a", b" be", b"c", b"d", b" e", b"f", b"g", b"\n"])
DRAFTER_PROMPT, BASE_PROMPT = [3, 1, 2], [2, 5, 4, 1]
N_SEEDS = 40


class HalfDumb(SameVocabulary):
    """Words that begin with one of these tokens are nothing in the base's vocabulary."""

    dumb = frozenset([2, 5, 7])

    def echo(self, anchor):
        echo = super().echo(anchor)
        to_base = echo.to_base
        echo.to_base = lambda drafted, chances, *, strip=False: (
            Proposal() if drafted and drafted[0] in self.dumb else to_base(drafted, chances, strip=strip)
        )
        return echo


class Bench:
    def __init__(self, seed, *, chunk=8, speculation=True, sampler=None, bridge=SameVocabulary, **given):
        options = {"rule": "nudge", "nudge_below": 0.8, "max_tokens": 40, **given}
        self.options = Options(chunk=chunk, speculation=speculation, **options)
        self.drafter_model = FakeModel(WORDS.n_tokens, seed=2 * seed, common=seed, agreement=0.6)
        self.base_model = FakeModel(WORDS.n_tokens, seed=2 * seed + 1, common=seed, agreement=0.6)
        self.base, self.meter = FakeSequence(self.base_model), Meter()
        self.writer = ReplyWriter(WORDS, max_tokens=self.options.max_tokens)
        self.dumb = getattr(bridge, "dumb", frozenset())
        bridge = bridge(WORDS, WORDS)
        drafter = Drafter(
            FakeSequence(self.drafter_model), list(DRAFTER_PROMPT), WORDS, bridge, bridge.draft("", strip=True),
            anchor="", sampler=sampler, max_draft=self.options.max_draft, n_ctx=1000,
        )  # fmt: skip
        finisher = PromptedModel(self.base, list(BASE_PROMPT), [])
        state = NudgeReply(finisher, self.options, self.writer, self.meter, drafter, strip=False)
        self.events = list(drive(weak_to_strong(state)))

    def the_slow_way(self):
        """Ids and who wrote each. `n_hand_overs` are those of this way."""
        ids, sources, n_drafted, self.n_hand_overs = [], [], 0, 0
        while len(ids) < self.options.max_tokens:
            row = self.base_model.logprobs((*BASE_PROMPT, *ids))
            if max(row) >= math.log(self.options.nudge_below) or n_drafted >= self.options.max_draft:
                new, source = [max(range(len(row)), key=row.__getitem__)], "base"
            else:
                new, source = self.word(ids), "drafter"
                self.n_hand_overs += 1
                if new and new[0] in self.dumb:
                    new, source = [max(range(len(row)), key=row.__getitem__)], "base"
                else:
                    new = new[: self.options.max_draft - n_drafted]
                    n_drafted += len(new)
            if not new or new == [END]:
                break
            ids, sources = ids + new, sources + [source] * len(new)
        return ids[: self.options.max_tokens], sources[: self.options.max_tokens]

    def word(self, ids):
        word = []
        while len(word) < 16 and (token := self.drafter_model.greedy((*DRAFTER_PROMPT, *ids, *word))) != END:
            has_begun = any(not WORDS.piece(each).isspace() for each in word)
            if has_begun and WORDS.piece(token)[:1].isspace():
                break
            word.append(token)
        return word


@pytest.mark.parametrize("speculation", [True, False])
@pytest.mark.parametrize("chunk", [1, 4, 16])
@pytest.mark.parametrize("seed", range(N_SEEDS))
def test_the_reply_is_that_of_the_rule_run_the_slow_way(seed, chunk, speculation):
    bench = Bench(seed, chunk=chunk, speculation=speculation)
    ids, sources = bench.the_slow_way()
    assert bench.writer.ids == ids
    assert [token.source for token in bench.writer.tokens] == sources


@pytest.mark.parametrize("max_draft", [1, 2, 5])
@pytest.mark.parametrize("speculation", [True, False])
@pytest.mark.parametrize("seed", range(N_SEEDS))
def test_what_the_drafter_only_proposes_does_not_count_as_draft(seed, speculation, max_draft):
    """After so many proposals no word was drafted any more, and the text depended on measured times."""
    bench = Bench(seed, speculation=speculation, max_draft=max_draft)
    ids, sources = bench.the_slow_way()
    assert bench.writer.ids == ids
    assert [token.source for token in bench.writer.tokens] == sources
    assert sources.count("drafter") <= max_draft


@pytest.mark.parametrize("speculation", [True, False])
@pytest.mark.parametrize("seed", range(N_SEEDS))
def test_where_a_word_is_nothing_in_the_bases_vocabulary_the_base_writes_a_token_however_unsure(seed, speculation):
    """Behind another word the base was asked twice, hesitated after all, and the word was written again."""
    bench = Bench(seed, speculation=speculation, bridge=HalfDumb)
    ids, sources = bench.the_slow_way()
    assert bench.writer.ids == ids
    assert [token.source for token in bench.writer.tokens] == sources
    assert bench.meter.n_hand_overs == bench.n_hand_overs


def test_the_cases_above_have_the_base_and_the_drafter_in_turns():
    benches = [Bench(seed) for seed in range(N_SEEDS)]
    assert max(bench.meter.n_hand_overs for bench in benches) >= 3
    assert {bench.writer.finish for bench in benches} == {"stop", "length"}
    assert any(token.source == "base" for bench in benches for token in bench.writer.tokens)


def test_every_take_over_and_what_the_base_thinks_of_each_word_are_told():
    for seed in range(N_SEEDS):
        bench = Bench(seed)
        scored = [event for event in bench.events if isinstance(event, Scored)]
        tokens = bench.writer.tokens
        told = {event.first + i for event in scored for i in range(len(event.logprobs))}
        assert told >= {token.position for token in tokens if token.source == "drafter"}
        for at, token in enumerate(tokens):
            row = bench.base_model.logprobs((*BASE_PROMPT, *bench.writer.ids[:at]))
            assert token.logprob == pytest.approx(row[token.id])
        switches = [event.index for event in bench.events if isinstance(event, Switched)]
        sources = [token.source for token in tokens]
        expected = [i for i in range(len(tokens) - 1) if sources[i : i + 2] == ["drafter", "base"]]
        assert switches[: len(expected)] == expected and len(switches) <= len(expected) + 1
        assert [event.position for event in bench.events if isinstance(event, Token)] == list(range(len(tokens)))


def test_the_drafter_is_asked_for_no_word_behind_max_draft_tokens():
    for seed in range(N_SEEDS):
        bench = Bench(seed, max_draft=5, speculation=False)
        ids, sources = bench.the_slow_way()
        assert (bench.writer.ids, [token.source for token in bench.writer.tokens]) == (ids, sources)


def test_the_drafters_sampler_is_told_of_its_words_and_not_of_the_token_behind_one():
    """The first token of the next word, which only shows where a word ends, was once counted by the penalties."""
    for seed in range(N_SEEDS):
        sampler = FakeSampler(seed)
        tokens = Bench(seed, sampler=sampler).writer.tokens
        drafted = [token.id for token in tokens if token.source == "drafter"]
        assert sampler.accepted[: len(drafted)] == drafted and len(sampler.accepted) <= len(drafted) + 16


class Scripted(FakeModel):
    """What it writes behind a text depends on the length of that alone."""

    def __init__(self, tokens):
        super().__init__(WORDS.n_tokens, seed=0)
        self.by_length = tokens

    def logprobs(self, history):
        return [0.0 if token == self.by_length[len(history)] else -20.0 for token in range(self.n_tokens)]


def test_the_stop_string_of_a_reply_is_the_one_at_which_its_drafter_ended_last():
    """A stop token behind a word was told as the end of a reply that ended with an end token much later."""
    bridge, stop = SameVocabulary(WORDS, WORDS), 7
    drafter = Drafter(
        FakeSequence(Scripted({1: 1, 2: stop, 3: END, 4: stop})), [3], WORDS, bridge, bridge.draft("", strip=True),
        anchor="", stop_tokens={stop: "<stop>"}, max_draft=10, n_ctx=100,
    )  # fmt: skip
    told = []
    for reply in ([], [1, 2], [1, 2, 2]):
        assert list(drive(drafter.word(reply, strip=False))) == []
        told.append((drafter.ended, drafter.stop))
    assert told[1:] == [("draft_ended", None), ("draft_ended", "<stop>")] and told[0][0] is None


def test_a_switch_cannot_be_forced():
    with pytest.raises(OptionError, match="switch_at"):
        Options(rule="nudge", switch_at=3)
