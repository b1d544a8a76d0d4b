"""Handing a draft over between vocabularies: by ids where they are the same, through text where they are not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_wsd.decoding.bridge import SameVocabulary, ThroughText, anchor_of, tokenize_after
from edge_wsd.decoding.drafter import Drafter
from edge_wsd.decoding.meter import Meter
from edge_wsd.decoding.options import Options
from edge_wsd.decoding.signal import ConfidenceWindow
from edge_wsd.decoding.weak_to_strong import Reader, weak_to_strong
from edge_wsd.decoding.writer import ReplyWriter
from tests.fakes import FakeModel, FakeSequence, FakeVocabulary

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


def test_a_word_is_not_handed_over_before_it_has_ended():
    draft = ThroughText(DRAFTER, BASE).draft("\n", strip=True)
    lengths = []
    for token in DRAFTER.tokenize("abc abc"):
        draft.push(token)
        lengths.append(b"".join(map(BASE.piece, draft.tokens)))
    assert lengths[-1] == b"abc" and set(lengths) == {b"", b"abc"}
    draft.flush()
    assert b"".join(map(BASE.piece, draft.tokens)) == b"abc abc"


def test_an_incomplete_character_is_held_back():
    draft = ThroughText(DRAFTER, BASE).draft("\n", strip=True)
    for token in DRAFTER.tokenize("a é"):
        draft.push(token)
    assert draft.tokens == BASE.tokenize("a")


@given(TEXTS)
def test_a_reply_goes_back_to_the_drafter_as_the_whole_text_cut_anew(text):
    bridge = ThroughText(DRAFTER, BASE)
    assert bridge.to_drafter(BASE.tokenize(text), "\n") == tokenize_after(DRAFTER, "\n", text)


def test_a_token_of_the_padded_tail_cannot_be_handed_over():
    bridge = SameVocabulary(BASE, FakeVocabulary(BASE.pieces[:-3]))
    assert bridge.knows(BASE.n_tokens - 4) and not bridge.knows(BASE.n_tokens - 3)


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


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 4, 16]), st.booleans())
def test_the_reply_across_vocabularies_is_that_of_the_published_algorithm(seed, chunk, speculation):
    options = Options(max_tokens=25, threshold=0.35, window=3, max_draft=16, chunk=chunk, speculation=speculation)
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
        ThroughText(DRAFTER, BASE),
        anchor="\n",
        base_anchor="\n",
        max_draft=options.max_draft,
        n_ctx=1000,
    )
    events = list(weak_to_strong(drafter, Reader(base, prompt, []), options, writer, Meter(), rule))

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
