"""Handing a draft over between vocabularies: by ids where they are the same, through text where they are not."""

import codecs
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_wsd.decoding.bridge import SameVocabulary, ThroughText, anchor_of, split_behind
from edge_wsd.decoding.drafter import Drafter
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.options import Options
from edge_wsd.decoding.recut import LONGEST_HOLD, Recut, tokenize_after
from edge_wsd.decoding.reply_state import PromptedModel, ReplyState
from edge_wsd.decoding.signal import ConfidenceWindow
from edge_wsd.decoding.weak_to_strong import weak_to_strong
from edge_wsd.decoding.window_reply import WindowReply
from edge_wsd.decoding.writer import ReplyWriter
from tests.fakes import END, FakeModel, FakeSequence, FakeVocabulary, drive

BYTES = [bytes([b]) for b in range(256)]
# Longest match has no pre-tokens, so later text often changes earlier tokens: the hard case on purpose.
BASE = FakeVocabulary(
    [b"", *BYTES, b"ab", b"abc", b"bca", b" a", b" ab", b"c a", b"a b", "é".encode(), b"\n\n", b" \n"]
)
DRAFTER = FakeVocabulary([b"", *BYTES, b"a ", b"bc", b"ca", b"c ", b" b", b"ba", b"b\n"])
TEXTS = st.text(alphabet="abc é\n", max_size=40)


def drafted(bridge, tokens, *, strip=True, flush=True):
    """The draft after all tokens, rebuilt from what each push says has changed."""
    draft, known = bridge.draft("\n", strip=strip), []
    for token in tokens:
        changed = draft.push(token)
        assert known[:changed] == draft.tokens[:changed]
        known = list(draft.tokens)
    if flush:
        changed = draft.flush()
        assert known[:changed] == draft.tokens[:changed]
    return draft.tokens


@given(TEXTS)
def test_through_text_the_draft_is_the_stripped_text_cut_at_once(text):
    tokens = drafted(ThroughText(DRAFTER, BASE), DRAFTER.tokenize(text))
    assert tokens == tokenize_after(BASE, "\n", text.strip())


@given(TEXTS)
def test_through_text_a_given_beginning_keeps_the_space_behind_it(text):
    tokens = drafted(ThroughText(DRAFTER, BASE), DRAFTER.tokenize(text), strip=False)
    assert tokens == tokenize_after(BASE, "\n", text.rstrip())


@given(TEXTS)
def test_with_the_same_vocabulary_ids_pass_and_only_white_space_at_the_ends_goes(text):
    tokens = drafted(SameVocabulary(BASE, BASE), BASE.tokenize(text))
    assert b"".join(map(BASE.piece, tokens)).decode() == text.strip()
    inner = BASE.tokenize(text)
    if text == text.strip():
        assert tokens == inner


def test_white_space_is_not_handed_over_before_a_word_follows():
    draft = SameVocabulary(BASE, BASE).draft("\n", strip=True)
    a, newline = BASE.tokenize("a")[0], BASE.tokenize("\n")[0]
    lengths = []
    for token in (newline, a, newline, newline, a):
        draft.push(token)
        lengths.append(len(draft.tokens))
    assert lengths == [0, 1, 1, 1, 4]


def test_text_is_not_handed_over_before_a_place_where_no_token_joins():
    draft = ThroughText(DRAFTER, BASE).draft("\n", strip=True)
    handed_over = []
    for token in DRAFTER.tokenize("abca abcb"):
        draft.push(token)
        handed_over.append(b"".join(map(BASE.piece, draft.tokens)))
    # "a a" is joined by "a b" of the base only across a space, "c" and "b" by nothing.
    assert handed_over[-1] == b"abca abc" and set(handed_over) == {b"", b"abca abc"}
    draft.flush()
    assert b"".join(map(BASE.piece, draft.tokens)) == b"abca abcb"


def test_an_incomplete_character_is_held_back():
    draft = ThroughText(DRAFTER, BASE).draft("\n", strip=True)
    first, second = [DRAFTER.pieces.index(bytes([byte])) for byte in "é".encode()]
    for token in (*DRAFTER.tokenize("a"), first):
        draft.push(token)
    assert draft.tokens == []
    draft.push(second)
    assert draft.tokens == BASE.tokenize("a")


def test_a_language_without_spaces_is_handed_over_as_it_is_written():
    """It was held back up to the first space: nothing was shown nor scored before a draft in Japanese ended."""
    text = "吾輩は猫である"
    base = FakeVocabulary([b"", *BYTES, "である".encode()])
    draft = ThroughText(DRAFTER, base).draft("\n", strip=True)
    shown = []
    for token in DRAFTER.tokenize(text):
        draft.push(token)
        shown.append(b"".join(map(base.piece, draft.tokens)).decode())
    assert [shown[3 * n + 2] for n in range(len(text))] == [
        "",
        "吾",
        "吾輩",
        "吾輩は",
        "吾輩は猫",
        "吾輩は猫",
        "吾輩は猫",
    ]


@pytest.mark.parametrize("character", ["a", "7", " ", "\n", "é"])
def test_no_more_than_a_bound_is_held_back_whatever_is_written(character):
    """A run without a certain cut was held back whole: nothing was scored and `max_tokens` was passed."""
    run = FakeVocabulary([b"", *BYTES, *(character.encode() * n for n in (2, 4, 8))])
    for bridge in (ThroughText(DRAFTER, run), SameVocabulary(run, run)):
        draft = bridge.draft("\n", strip=False)
        for n, token in enumerate(
            run.tokenize("x") + [run.pieces.index(bytes([byte])) for byte in (character * 400).encode()]
        ):
            draft.push(token)
            held = n + 1 - len(b"".join(map(run.piece, draft.tokens)))
            assert held <= len(character.encode()) * (2 * LONGEST_HOLD + 1)


class FromTheRight(FakeVocabulary):
    """Digits counted from the right, as some tokenizers do: each new one moves all cuts of the number."""

    def tokenize(self, text, *, special=False, bos=False):
        return [t for word in re.split(r"(\d+)", text) for t in self._groups(word)]

    def _groups(self, word):
        head = len(word) % 3 if word.isdigit() else 0
        return super().tokenize(word[:head]) + super().tokenize(word[head:])


def test_what_was_handed_over_too_soon_is_found_before_anything_is_made_of_it():
    base = FromTheRight([b"", *BYTES, *(f"{n:03}".encode() for n in range(1000))])
    recut = Recut(base, "\n")
    recut.add(b"1234567890" * 9)
    known = list(recut.tokens)
    recut.add(b"1")
    assert known == recut.tokens[: len(known)] and known
    changed = recut.settle()
    assert changed < len(known)
    assert recut.tokens == base.tokenize("1234567890" * 9 + "1")[: len(recut.tokens)]


@given(TEXTS, st.lists(st.integers(1, 5)))
def test_what_is_handed_over_is_a_beginning_of_the_whole_text_cut_at_once(text, sizes):
    recut, data, whole = Recut(BASE, "\n"), text.encode(), tokenize_after(BASE, "\n", text)
    for size in [*sizes, len(data)]:
        recut.add(data[:size])
        data = data[size:]
        assert recut.tokens == whole[: len(recut.tokens)]
    assert recut.settle() == len(recut.tokens)
    assert recut.tokens + recut.held() == whole


class Counting(FakeVocabulary):
    n_characters = 0

    def tokenize(self, text, *, special=False, bos=False):
        self.n_characters += len(text)
        return super().tokenize(text, special=special, bos=bos)


@pytest.mark.parametrize("hand_over", ["settle", "flush"])
def test_a_hand_over_costs_as_much_behind_a_long_draft_as_behind_a_short_one(hand_over):
    """Every one tokenised the whole draft, and behind a flush every token did."""
    base = Counting(BASE.pieces)
    recut, n_characters = Recut(base, "\n"), []
    for word in ["abca", " abcb", " ca"] * 30:
        recut.add(word.encode())
        getattr(recut, hand_over)()
        n_characters.append(base.n_characters)
    assert n_characters[-1] - n_characters[59] <= 1.1 * (n_characters[59] - n_characters[29])
    recut.flush()
    assert recut.tokens == tokenize_after(BASE, "\n", "abca abcb ca" * 30)


@given(st.lists(st.tuples(TEXTS, st.booleans()), max_size=6))
def test_what_is_settled_in_between_changes_nothing(parts):
    text = "".join(part for part, _ in parts)
    recut = Recut(BASE, "\n")
    for part, settles in parts:
        recut.add(part.encode())
        known = list(recut.tokens)
        if settles:
            changed = recut.settle()
            assert known[:changed] == recut.tokens[:changed]
    recut.flush()
    assert recut.tokens == tokenize_after(BASE, "\n", text.rstrip())


@given(TEXTS, st.lists(st.integers(1, 9)))
def test_a_reply_goes_back_to_the_drafter_as_the_whole_text_cut_anew(text, sizes):
    echo, reply = ThroughText(DRAFTER, BASE).echo("\n"), BASE.tokenize(text)
    end = 0
    for size in [*sizes, len(reply)]:
        end += size
        so_far = b"".join(map(BASE.piece, reply[:end])).decode()
        assert echo.tokens(reply[:end]) == tokenize_after(DRAFTER, "\n", so_far)
    assert echo.tokens(reply[:1]) == tokenize_after(DRAFTER, "\n", b"".join(map(BASE.piece, reply[:1])).decode())


def proposal_behind(reply, drafted, chances=None, *, strip=False):
    """What becomes of drafted pieces behind a reply of the base."""
    echo = ThroughText(DRAFTER, BASE).echo("\n")
    echo.tokens(reply)
    return echo.to_base(spoken(DRAFTER, drafted), chances or [1.0] * len(drafted), strip=strip)


@given(TEXTS, st.integers(0, 40))
def test_a_proposal_is_split_as_the_base_splits_the_whole_text(text, n):
    """It was split as if it stood alone, and so differed from what the base writes wherever a word was divided."""
    whole = BASE.tokenize(text)
    reply, rest = whole[:n], whole[n:]
    data = b"".join(map(BASE.piece, rest))
    n_unfinished = len(b"".join(map(BASE.piece, reply))) - len(text_of(reply).encode())
    half = b"".join(map(BASE.piece, reply))[-n_unfinished:] if n_unfinished else b""
    assert split_behind(BASE, reply, half + data, n_unfinished) == rest


def text_of(tokens):
    return b"".join(map(BASE.piece, tokens)).decode(errors="ignore")


@pytest.mark.parametrize("n", range(20))
def test_a_character_that_the_reply_has_begun_is_finished_by_the_proposal(n):
    """The drafter, who cannot read half a character, writes it anew: its first byte was proposed a second time.

    The end of the reply that is split again must not begin within a character either.
    """
    first, second = (bytes([byte]) for byte in "ß".encode())
    reply = spoken(BASE, [first, second, *[b"a"] * n, first])
    proposal = proposal_behind(reply, [first, second, b"c"], [0.5, 0.4, 0.3])
    assert proposal.tokens == spoken(BASE, [second, b"c"]) and proposal.chances == [0.2, 0.3]
    assert proposal_behind(reply, [b"c", b"bc", b"a "]).tokens == []


def test_no_proposal_begins_or_ends_within_a_character():
    first, second = (bytes([byte]) for byte in "é".encode())  # which is one token, if the base splits it
    assert proposal_behind(spoken(BASE, [b"a"]), [b"c", first]).tokens == spoken(BASE, [b"c"])
    assert proposal_behind(spoken(BASE, [b"a", first]), [first, second, b"c"]).tokens == []


def test_behind_a_cut_of_the_bases_own_the_proposal_is_split_by_itself():
    reply = spoken(BASE, [b"a"])  # the vocabulary has "abc", yet the base has ended a token here
    assert proposal_behind(reply, [b"bc", b"a "]).tokens == tokenize_after(BASE, "\n", "bca ")


def test_each_drafted_token_counts_in_the_chance_of_one_token_of_the_base():
    proposal = proposal_behind(spoken(BASE, [b"c"]), [b"a", b"bc", b" b"], [0.5, 0.4, 0.3])
    assert proposal.tokens == spoken(BASE, [b"abc", b" ", b"b"])
    assert proposal.chances == pytest.approx([0.2, 0.3, 1.0])


@pytest.mark.parametrize("bridge", [SameVocabulary(BASE, BASE), ThroughText(BASE, BASE)], ids=["same", "through text"])
def test_white_space_in_front_of_a_first_word_is_dropped_and_its_chance_counts(bridge):
    word = spoken(BASE, [b" ", b" a", b"b"])
    stripped = bridge.echo("\n").to_base(word, [0.5, 0.4, 0.3], strip=True)
    assert stripped.tokens == spoken(BASE, [b"ab"]) and stripped.chances == pytest.approx([0.06])
    assert b"".join(map(BASE.piece, bridge.echo("\n").to_base(word, [1.0] * 3).tokens)) == b"  ab"


@pytest.mark.parametrize(("strip", "expected"), [(True, [b"ab"]), (False, [b" ", b" ab"])])
def test_the_first_word_of_a_reply_loses_the_space_in_front(strip, expected):
    bridge = ThroughText(BASE, BASE)
    drafter = Drafter(
        FakeSequence(Script(BASE.n_tokens, spoken(BASE, [b" ", b" a", b"b", b"\n\n"]))), [1], BASE, bridge,
        bridge.draft("\n", strip=True), anchor="\n", max_draft=9, n_ctx=1000,
    )  # fmt: skip
    with pytest.raises(StopIteration) as end:
        next(drive(drafter.word([], strip=strip)))
    assert end.value.value == spoken(BASE, expected)


HALVES = [b"\xc3", b"\xa9", b"a", b" "]
REPLIES = st.lists(st.sampled_from([*BASE.pieces[1:257:8], *BASE.pieces[257:], *HALVES]), max_size=24)
DRAFTS = st.lists(st.sampled_from([*DRAFTER.pieces[257:], *HALVES]), max_size=6)


@given(REPLIES, DRAFTS)
def test_a_proposal_is_what_the_drafter_wrote_however_the_reply_was_split(reply, drafted):
    """Words of the drafter are split this way too, and are kept as they are: no byte may be lost, added or changed."""
    echo = ThroughText(DRAFTER, BASE).echo("\n")
    echo.tokens(spoken(BASE, reply))
    n_unfinished = echo._recut.n_unfinished
    before, data = b"".join(reply), b"".join(drafted)
    proposed = b"".join(map(BASE.piece, echo.to_base(spoken(DRAFTER, drafted), [1.0] * len(drafted)).tokens))
    whole = before[: len(before) - n_unfinished] + data
    assert not proposed or (before + proposed).decode(errors="replace") == _as_text(whole)
    if n_unfinished == 0 and data.decode(errors="ignore").encode() == data:
        assert proposed == data


def _as_text(data):
    """Without an incomplete character at the end."""
    return codecs.getincrementaldecoder("utf-8")(errors="replace").decode(data)


LONGER = FakeVocabulary([*BASE.pieces, b"", b""])


def test_tokens_of_the_padded_tail_are_handed_over_to_neither_side():
    """The base's tail ended the process of a reply in its middle; the drafter's own ended its draft."""
    tail, word = LONGER.n_tokens - 1, BASE.tokenize("ab")
    drafter_longer, base_longer = SameVocabulary(LONGER, BASE), SameVocabulary(BASE, LONGER)
    draft = drafter_longer.draft("\n", strip=True)
    for token in (tail, *word, tail, *word):
        draft.push(token)
    assert draft.tokens == word + word
    proposal = drafter_longer.echo("\n").to_base([*word, tail, *word], [0.5, 0.1, 0.25])
    assert (proposal.tokens, proposal.chances) == (word + word, [0.5, 0.25])
    assert base_longer.echo("\n").tokens([*word, tail, *word]) == word + word


def test_a_reply_that_was_taken_back_leaves_nothing_in_the_drafters_tokens():
    tail, (word, other) = LONGER.n_tokens - 1, BASE.tokenize("a") + BASE.tokenize("c")
    reply = [word, tail, word]
    for bridge, vocabulary in ((SameVocabulary(BASE, LONGER), BASE), (ThroughText(DRAFTER, LONGER), DRAFTER)):
        echo = bridge.echo("\n")
        for so_far in (reply, [*reply, other], reply, [word, other, tail], [], [other]):
            text = b"".join(map(LONGER.piece, so_far)).decode()
            assert echo.tokens(list(so_far)) == vocabulary.tokenize(text)


def test_a_token_of_the_drafters_tail_does_not_end_its_draft():
    tail, word = LONGER.n_tokens - 1, BASE.tokenize("ab")[0]
    bridge = SameVocabulary(LONGER, BASE)
    drafter = Drafter(
        FakeSequence(Script(LONGER.n_tokens, [word, tail, word, 0])), [word], LONGER, bridge,
        bridge.draft("\n", strip=True), anchor="\n", max_draft=10, n_ctx=100,
    )  # fmt: skip
    while not drafter.ended:
        list(drive(drafter.step()))
    assert drafter.draft.tokens == [word, word] and drafter.ended == "draft_ended"


class Script(FakeModel):
    """Says the same tokens in the same order, whatever stands before them."""

    def __init__(self, n_tokens, tokens):
        super().__init__(n_tokens, seed=0)
        self._tokens = tokens

    def logprobs(self, history):
        row = [-60.0] * self.n_tokens
        row[self._tokens[(len(history) - 1) % len(self._tokens)]] = 0.0
        return row


@pytest.mark.parametrize(
    ("prompt", "anchor"), [("\n\n[User]\nhi\n\n[Assistant]\n", "\n"), ("x\nAssistant:", "\nAssistant:"), ("hi", "hi")]
)
def test_the_anchor_is_the_last_line_of_the_prompt(prompt, anchor):
    assert anchor_of(prompt) == anchor


def spoken(vocabulary, pieces):
    """The ids of `pieces`, for models that only speak these."""
    return [vocabulary.pieces.index(piece) for piece in pieces]


class Speaker(FakeModel):
    """A fake model that says only some tokens, so that two vocabularies share what is said."""

    def __init__(self, n_tokens, said, *, seed):
        super().__init__(n_tokens, seed=seed)
        self._said = said

    def logprobs(self, history):
        inner = FakeModel(len(self._said), seed=self.seed).logprobs(history)
        row = [-60.0] * self.n_tokens
        for token, logprob in zip(self._said, inner, strict=True):
            row[token] = logprob
        return row


@pytest.mark.parametrize("max_tokens", [5, 12, 40])
def test_a_reply_without_spaces_is_shown_scored_and_ended_as_it_is_written(max_tokens):
    """Its first word came with the end of the draft, nothing was scored before, and `max_tokens` was passed."""
    text = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。"
    base_words = FakeVocabulary([b"", *BYTES, *map(str.encode, ["である", "名前", "生れ", "まだ", "。"])])
    spoken_tokens = [DRAFTER.pieces.index(bytes([byte])) for byte in text.encode()]
    sequence = FakeSequence(Script(DRAFTER.n_tokens, spoken_tokens))
    bridge = ThroughText(DRAFTER, base_words)
    drafter = Drafter(
        sequence, [1], DRAFTER, bridge, bridge.draft("\n", strip=True), anchor="\n", max_draft=500, n_ctx=1000
    )
    base = FakeSequence(FakeModel(base_words.n_tokens, seed=1))
    options = Options(max_tokens=max_tokens, threshold=1.0, chunk=4)
    writer = ReplyWriter(base_words, max_tokens=max_tokens)
    rule = ConfidenceWindow(threshold=options.threshold, window=options.window)
    n_drafted_at_first_text = None
    reply = WindowReply(PromptedModel(base, [1], []), options, writer, Meter(), drafter, rule)
    for event in drive(weak_to_strong(reply)):
        if n_drafted_at_first_text is None and getattr(event, "text", ""):
            n_drafted_at_first_text = drafter.n_drafted
    assert n_drafted_at_first_text <= 3 * 2  # bytes of two characters
    assert len(writer.ids) == max_tokens and writer.finish == "length"
    assert text.encode().startswith(b"".join(map(base_words.piece, writer.ids)))
    assert drafter.n_drafted <= 3 * LONGEST_HOLD + sum(len(base_words.piece(token)) for token in writer.ids)
    assert len(rule.logprobs) == (max_tokens if max_tokens > options.window else 0)  # before, none could switch


def test_what_is_told_of_a_draft_that_was_scored_and_then_split_anew_is_of_its_new_tokens():
    base_words = FromTheRight([b"", *BYTES, *(f"{n:03}".encode() for n in range(1000))])
    digits = [DRAFTER.pieces.index(b"%d" % (n % 10)) for n in range(91)]
    bridge = ThroughText(DRAFTER, base_words)
    drafter = Drafter(
        FakeSequence(Script(DRAFTER.n_tokens, [*digits, END])), [1], DRAFTER, bridge,
        bridge.draft("\n", strip=True), anchor="\n", max_draft=500, n_ctx=1000,
    )  # fmt: skip
    base = FakeSequence(FakeModel(base_words.n_tokens, seed=1))
    writer, options = ReplyWriter(base_words, max_tokens=200), Options(threshold=1.0, chunk=3, top_logprobs=2)
    rule = ConfidenceWindow(threshold=options.threshold, window=options.window)
    list(drive(weak_to_strong(WindowReply(PromptedModel(base, [1], []), options, writer, Meter(), drafter, rule))))
    assert base.cuts, "some of it was read again"
    for n, token in enumerate(writer.tokens):
        row = base.model.logprobs((1, *writer.ids[:n]))
        assert token.logprob == row[token.id]
        assert [one.logprob for one in token.top] == sorted(row, reverse=True)[:2]


def test_no_more_is_proposed_than_was_asked_for_however_many_tokens_the_text_becomes():
    """A pass that is larger than planned for may not fit into a batch."""
    bytes_only = FakeVocabulary([b"", *BYTES])
    words = spoken(DRAFTER, [b"a ", b"bc", b"ca"])
    bridge = ThroughText(DRAFTER, bytes_only)
    drafter = Drafter(
        FakeSequence(Script(DRAFTER.n_tokens, words)), [1], DRAFTER, bridge, bridge.draft("\n", strip=True),
        anchor="\n", max_draft=9, n_ctx=1000,
    )  # fmt: skip
    base, meter = FakeSequence(FakeModel(bytes_only.n_tokens, seed=1)), Meter()
    writer = ReplyWriter(bytes_only, max_tokens=30)
    state = ReplyState(PromptedModel(base, [1], []), Options(chunk=2), writer, meter, drafter)
    for _ in range(3):
        with pytest.raises(StopIteration) as end:
            next(drive(state.propose()))
        assert len(end.value.value) <= 3
    assert 0 < meter.n_proposed["drafter"] == meter.n_drafted <= 9


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 4, 16]), st.booleans())
def test_the_reply_across_vocabularies_is_that_of_the_published_algorithm(seed, chunk, speculation):
    how = {"chunk": chunk, "speculation": speculation, "top_logprobs": 2}
    options = Options(max_tokens=25, threshold=0.35, window=3, max_draft=16, **how)
    said = [b"", b"a", b"b", b"c", b" "]
    drafter_model = Speaker(DRAFTER.n_tokens, spoken(DRAFTER, [*said, b"bc", b"a "]), seed=seed)
    base_model = Speaker(BASE.n_tokens, spoken(BASE, [*said, b"abc", b" a"]), seed=seed + 1)
    prompt = BASE.tokenize("ab\n")

    base, rule = FakeSequence(base_model), ConfidenceWindow(threshold=options.threshold, window=options.window)
    writer = ReplyWriter(BASE, max_tokens=options.max_tokens)
    drafter = Drafter(
        FakeSequence(drafter_model),
        DRAFTER.tokenize("ab\n"),
        DRAFTER,
        bridge := ThroughText(DRAFTER, BASE),
        bridge.draft("\n", strip=True),
        anchor="\n",
        max_draft=options.max_draft,
        n_ctx=1000,
    )
    reply = WindowReply(PromptedModel(base, prompt, []), options, writer, Meter(), drafter, rule)
    events = list(drive(weak_to_strong(reply)))

    history, data = DRAFTER.tokenize("ab\n"), b""
    for _ in range(options.max_draft):
        token = drafter_model.greedy(tuple(history))
        if DRAFTER.is_end(token):
            break
        history.append(token)
        data += DRAFTER.piece(token)
    draft = tokenize_after(BASE, "\n", data.decode().strip())
    scores = [base_model.logprobs((*prompt, *draft[:i]))[token] for i, token in enumerate(draft)]
    expected_rule = ConfidenceWindow(threshold=options.threshold, window=options.window)
    expected_rule.extend(scores)
    text = draft if expected_rule.index is None else draft[: expected_rule.index + 1]
    while len(text) < options.max_tokens:
        token = base_model.greedy((*prompt, *text))
        if BASE.is_end(token):
            break
        text.append(token)

    assert writer.ids == text[: options.max_tokens]
    assert rule.logprobs == pytest.approx(scores[: len(rule.logprobs)])
    shown = "".join(event.text for event in events if hasattr(event, "text"))
    assert shown == writer.text == b"".join(map(BASE.piece, writer.ids)).decode()
    for n, token in enumerate(writer.tokens):  # also where some of the draft was split anew
        row = base_model.logprobs((*prompt, *writer.ids[:n]))
        assert token.logprob == row[token.id]
        assert [one.logprob for one in token.top] == sorted(row, reverse=True)[:2]
